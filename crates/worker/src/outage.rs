//! The time between the moment when the lake or the registry cannot be used and the moment when both can again.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use error::Error;

/// The pauses between two tries grow from the one to the other, each by a random part longer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An outage says when it begins and when it is over, and nothing in between.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Instant,
    tries: u32,
    announced: bool,
    pauses: ExponentialBackoff,
}

impl Outage {
    pub(crate) fn begin(error: &Error) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter();
        let mut outage = Self { since: Instant::now(), tries: 0, announced: false, pauses: pauses.build() };
        // What may pass, such as a file that another process has locked, has often passed at the second look.
        if error.is_transient() {
            tracing::debug!(%error, "looking again");
        } else {
            outage.announce(error);
        }
        outage
    }

    pub(crate) fn goes_on(&mut self, error: &Error) {
        self.tries += 1;
        if self.announced {
            tracing::debug!(tries = self.tries, %error, "still away");
        } else {
            self.announce(error);
        }
    }

    fn announce(&mut self, error: &Error) {
        self.announced = true;
        let (code, hint) = (error.code().as_str(), error.hint());
        if error.is_transient() {
            tracing::warn!(code, %error, hint, "the lake or the registry is away, trying again until it is back");
        } else {
            tracing::error!(code, %error, hint, "the lake or the registry cannot be used, trying again until it can");
        }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(LONGEST_PAUSE)
    }

    pub(crate) fn end(self) {
        if self.announced {
            tracing::info!(
                after_s = self.since.elapsed().as_secs(),
                tries = self.tries,
                "lake and registry are back"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use error::Code;

    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_never_end() {
        let mut outage = Outage::begin(&Error::new(Code::Connection, "gone"));
        let first = outage.pause();
        assert!((SHORTEST_PAUSE..=SHORTEST_PAUSE * 2).contains(&first), "{first:?}");
        let later: Vec<Duration> = (0..50).map(|_| outage.pause()).collect();
        assert!(later[20..].iter().all(|pause| (LONGEST_PAUSE..=LONGEST_PAUSE * 2).contains(pause)), "{later:?}");
    }
}
