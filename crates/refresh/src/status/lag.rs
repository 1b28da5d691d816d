//! How stale a dynamic table was over a stretch of time, from the history of its refreshes alone.
//!
//! Pure: rows and times in, figures out. It does not know the lake, nor where the rows come from.

use std::time::Duration;

use jiff::Timestamp;
use registry::{Refresh, RefreshAction, RefreshState};

/// How stale a dynamic table was over a stretch of time.
///
/// Lag is the time since the first commit that the content lacks: nothing as long as there is none, then a second more each second
/// until a refresh has published. What is known of it are the moments at which it was measured: at the beginning of each refresh
/// (`lag_before`), at its end (`lag_after`), and now. Between two refreshes the line therefore rises for its last part only, as
/// far as the second one says; through a refresh it goes on rising, until one that succeeded ends. One that failed changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LagStatistics {
    /// Where the stretch begins; it ends now.
    pub since: Timestamp,
    /// How much of it the lag is known for: not before the first content, for example.
    pub measured: Duration,
    /// The mean lag over the time measured.
    pub mean: Duration,
    /// The longest lag.
    pub maximum: Duration,
    /// For how long the lag was above the target, if there is one.
    pub above_target: Option<Duration>,
    /// The share of the time measured in which it was not above the target, from 0 to 1.
    pub within_target_ratio: Option<f64>,
}

/// The statistics of one table from `since` until `now`, or none if its lag is not known for any of that time. `refreshes` are its own, in any order;
/// those that began before `since` matter only if they ended after it. `lag_now` is its lag as it is now, `target` what it is held to.
#[must_use]
pub fn lag_statistics(
    refreshes: &[Refresh],
    since: Timestamp,
    now: Timestamp,
    lag_now: Option<Duration>,
    target: Option<Duration>,
) -> Option<LagStatistics> {
    let line = Line::new(refreshes, since, now, lag_now);
    let mut sums = Sums::default();
    for rise in &line.rises {
        sums.add(rise, target.map(|target| target.as_secs_f64()));
    }
    if sums.measured <= 0.0 {
        return None;
    }
    Some(LagStatistics {
        since,
        measured: seconds(sums.measured),
        mean: seconds(sums.area / sums.measured),
        maximum: seconds(sums.maximum),
        above_target: target.map(|_| seconds(sums.above)),
        within_target_ratio: target.map(|_| (1.0 - sums.above / sums.measured).clamp(0.0, 1.0)),
    })
}

/// A stretch in which the content lacks commits since `right_until`. All in seconds since the line's beginning.
#[derive(Clone, Copy, Debug)]
struct Rise {
    from: f64,
    to: f64,
    right_until: f64,
}

/// The lag over time.
struct Line {
    rises: Vec<Rise>,
    /// Up to where it is drawn, or known to be unknown.
    end: f64,
    /// Up to when the content that was published last was right for sure.
    seen_right: Option<f64>,
}

impl Line {
    fn new(refreshes: &[Refresh], since: Timestamp, now: Timestamp, lag_now: Option<Duration>) -> Self {
        let place = |time: Timestamp| time.duration_since(since).as_secs_f64();
        let mut line = Self { rises: Vec::new(), end: 0.0, seen_right: None };
        let mut refreshes: Vec<&Refresh> = refreshes.iter().collect();
        refreshes.sort_by_key(|refresh| (refresh.started_at, refresh.id));
        for refresh in refreshes {
            let started = place(refresh.started_at);
            let ended = refresh.completed_at.map_or(started, place).max(started);
            let lag = match refresh.action {
                // It found nothing that the content lacked.
                Some(RefreshAction::NoData) => Some(0.0),
                _ => refresh.lag_before_seconds,
            };
            if let Some(lag) = lag {
                line.rise_until(ended, started - lag);
            }
            if refresh.state == RefreshState::Succeeded {
                // Without a lag before there was no content before.
                line.end = line.end.max(ended);
                line.seen_right = Some(refresh.lag_after_seconds.map_or(started, |lag| ended - lag));
            }
        }
        if let Some(lag) = lag_now {
            let now = place(now);
            line.rise_until(now, now - lag.as_secs_f64());
        }
        line
    }

    fn rise_until(&mut self, to: f64, right_until: f64) {
        if to > self.end {
            let right_until = self.seen_right.map_or(right_until, |seen| seen.max(right_until));
            self.rises.push(Rise { from: self.end, to, right_until });
            self.end = to;
        }
    }
}

#[derive(Default)]
struct Sums {
    measured: f64,
    /// Lag times time.
    area: f64,
    maximum: f64,
    above: f64,
}

impl Sums {
    fn add(&mut self, rise: &Rise, target: Option<f64>) {
        let Rise { from, to, right_until } = *rise;
        self.measured += to - from;
        let first = (from - right_until).max(0.0);
        let last = (to - right_until).max(0.0);
        // From `first` to `last` at one second per second, whatever came before at zero.
        self.area += (last * last - first * first) / 2.0;
        self.maximum = self.maximum.max(last);
        if let Some(target) = target {
            self.above += (last - first.max(target)).max(0.0);
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
