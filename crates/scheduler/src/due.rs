//! Which tables are to be refreshed now, why, and when to look again.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::lag::{EffectiveLag, Lag};
use crate::schedule::{Schedule, Table};

/// The time at which is decided, and how it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The worker's clock.
    pub now: Timestamp,
    /// How long the worker sleeps at most.
    pub poll_interval: Duration,
    /// The longest that a failed table is made to wait. A `retry_at` further away comes from a clock that was put back.
    pub longest_backoff: Duration,
}

impl Moment {
    /// Now, with a longest backoff of an hour.
    #[must_use]
    pub const fn new(now: Timestamp, poll_interval: Duration) -> Self {
        Self { now, poll_interval, longest_backoff: Duration::from_secs(3_600) }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<K> {
    /// The tables to refresh, each behind all it reads. Tables that depend on each other belong to one refresh group:
    /// see [`crate::Graph::groups`].
    pub due: Vec<Due<K>>,
    /// The tables that would be due but cannot be refreshed now.
    pub skipped: Vec<Skipped<K>>,
    /// When the next of the other tables will be due; none if none ever will.
    pub next: Option<Timestamp>,
}

/// A table to refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<K> {
    /// Which one.
    pub id: K,
    /// Why.
    pub reason: Reason<K>,
}

/// A table that would be due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped<K> {
    /// Which one.
    pub id: K,
    /// What it waits for.
    pub obstacle: Obstacle<K>,
}

/// Why a table is refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<K> {
    /// It never had any content.
    Initialize,
    /// It has to start now to keep its effective lag.
    Lag {
        /// Since when it is due.
        due_at: Timestamp,
    },
    /// Its last refresh failed and the wait is over.
    Retry,
    /// Its data timestamp lies further ahead than its lag: the clock was put back.
    ClockPutBack,
    /// A table that reads it is refreshed, and both go to the same data version.
    Needed {
        /// That table.
        by: K,
    },
    /// Its lag is `DOWNSTREAM`, nothing asks for it, and a table that it reads is refreshed.
    Follows {
        /// That table.
        upstream: K,
    },
}

/// What keeps a table from being refreshed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle<K> {
    /// A table that it reads, directly or not, is suspended.
    Suspended {
        /// That table.
        upstream: K,
    },
    /// A table whose scheduler is disabled, which it reads directly or not, never had any content.
    Empty {
        /// That table.
        upstream: K,
    },
    /// It, or a table that it reads directly or not, has failed and is to be tried again later.
    Retry {
        /// The table that failed.
        table: K,
        /// Not before this.
        at: Timestamp,
    },
}

impl<K> Decision<K> {
    /// How long the worker may sleep: not at all if something is due, until the next table is due, at most one poll
    /// interval.
    #[must_use]
    pub fn sleep(&self, moment: &Moment) -> Duration {
        if !self.due.is_empty() {
            return Duration::ZERO;
        }
        let until_next =
            self.next.map(|next| Duration::try_from(next.duration_since(moment.now)).unwrap_or_default());
        until_next.map_or(moment.poll_interval, |until_next| until_next.min(moment.poll_interval))
    }
}

/// When a table with this data timestamp has to start its refresh so that it ends within the lag: the lag less what the
/// refresh takes and less a margin for the worker's being busy or asleep (the poll interval, but at most a tenth of the
/// lag: a worker sleeps no longer than until the next table is due). Never before the data timestamp itself.
#[must_use]
pub(crate) fn due_at(
    data_timestamp: Timestamp,
    lag: Duration,
    expected: Duration,
    poll_interval: Duration,
) -> Timestamp {
    let margin = poll_interval.min(lag / 10);
    let slack = lag.saturating_sub(expected).saturating_sub(margin);
    data_timestamp.checked_add(slack).unwrap_or(Timestamp::MAX)
}

/// Where a table stands by itself, whatever the others do.
enum Turn<K> {
    Now(Reason<K>),
    At(Timestamp),
    /// Only with others, or not at all.
    Never,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// What to do now.
    pub fn due(&self, moment: &Moment) -> Decision<K> {
        let obstacles = self.obstacles(moment);
        let mut round = Round { schedule: self, obstacles: &obstacles, reasons: vec![None; obstacles.len()] };
        let mut hindered = vec![false; obstacles.len()];
        let mut next: Option<Timestamp> = None;
        for (position, obstacle) in obstacles.iter().enumerate() {
            let look_again = match (self.turn(position, moment), obstacle) {
                (Turn::Now(reason), None) => {
                    round.reasons[position] = Some(reason);
                    None
                }
                (Turn::Now(_), Some(_)) => {
                    hindered[position] = !self.tables()[position].suspended;
                    obstacle.as_ref().and_then(Obstacle::until)
                }
                (Turn::At(at), None) => Some(at),
                (Turn::At(at), Some(obstacle)) => obstacle.until().map(|until| until.max(at)),
                (Turn::Never, _) => None,
            };
            next = [next, look_again].into_iter().flatten().min();
        }
        round.take_others_along(&mut hindered);
        let reasons = round.reasons;
        let ids = || self.tables().iter().map(|table| table.id.clone());
        let due = ids().zip(reasons).filter_map(|(id, reason)| Some(Due { id, reason: reason? })).collect();
        let skipped = ids().zip(obstacles).zip(hindered).filter(|(_, hindered)| *hindered);
        let skipped = skipped.filter_map(|((id, obstacle), _)| Some(Skipped { id, obstacle: obstacle? })).collect();
        Decision { due, skipped, next }
    }

    fn turn(&self, position: usize, moment: &Moment) -> Turn<K> {
        let table = &self.tables()[position];
        let lag = &self.lags()[position];
        let Some(duration) = lag.duration() else {
            return Turn::Never;
        };
        let Some(data_timestamp) = table.data_timestamp else {
            return Turn::Now(Reason::Initialize);
        };
        if matches!(lag, EffectiveLag::Follows { .. }) {
            return Turn::Never;
        }
        let ahead = Duration::try_from(data_timestamp.duration_since(moment.now)).unwrap_or_default();
        if ahead > duration {
            return Turn::Now(Reason::ClockPutBack);
        }
        let due_at = due_at(data_timestamp, duration, table.expected_duration, moment.poll_interval);
        if due_at > moment.now {
            Turn::At(due_at)
        } else if table.retry_at.is_some() {
            Turn::Now(Reason::Retry)
        } else {
            Turn::Now(Reason::Lag { due_at })
        }
    }

    /// What hinders each table: itself, or the first of the tables it reads that is hindered.
    fn obstacles(&self, moment: &Moment) -> Vec<Option<Obstacle<K>>> {
        let mut obstacles: Vec<Option<Obstacle<K>>> = Vec::with_capacity(self.tables().len());
        for (position, table) in self.tables().iter().enumerate() {
            let mut worst = own_obstacle(table, moment);
            for upstream in self.graph().upstream_at(position) {
                let source = &self.tables()[*upstream];
                let found = match source.lag {
                    Lag::Disabled if source.data_timestamp.is_none() => {
                        Some(Obstacle::Empty { upstream: source.id.clone() })
                    }
                    // Read as it is: whatever hinders it hinders nobody else.
                    Lag::Disabled => None,
                    Lag::Within(_) | Lag::Downstream => obstacles[*upstream].clone(),
                };
                worst = worse(worst, found);
            }
            obstacles.push(worst);
        }
        obstacles
    }
}

fn own_obstacle<K: Clone>(table: &Table<K>, moment: &Moment) -> Option<Obstacle<K>> {
    if table.suspended {
        return Some(Obstacle::Suspended { upstream: table.id.clone() });
    }
    let at = table.retry_at.filter(|at| *at > moment.now)?;
    let wait = Duration::try_from(at.duration_since(moment.now)).unwrap_or_default();
    (wait <= moment.longest_backoff).then(|| Obstacle::Retry { table: table.id.clone(), at })
}

/// The one that lasts longer; the first if both last as long.
fn worse<K>(first: Option<Obstacle<K>>, second: Option<Obstacle<K>>) -> Option<Obstacle<K>> {
    match (&first, &second) {
        (_, None) => first,
        (None, _) => second,
        (Some(Obstacle::Retry { at, .. }), Some(other)) if other.until().is_none_or(|until| until > *at) => second,
        _ => first,
    }
}

impl<K> Obstacle<K> {
    /// When it goes away by itself.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Retry { at, .. } => Some(*at),
            Self::Suspended { .. } | Self::Empty { .. } => None,
        }
    }
}

/// One decision in the making.
struct Round<'a, K> {
    schedule: &'a Schedule<K>,
    obstacles: &'a [Option<Obstacle<K>>],
    reasons: Vec<Option<Reason<K>>>,
}

impl<K: Clone + Eq + Hash> Round<'_, K> {
    /// Adds the tables that the due ones read, and those that follow due ones, until nothing is to be added.
    fn take_others_along(&mut self, hindered: &mut [bool]) {
        let mut waiting: Vec<usize> =
            (0..self.reasons.len()).filter(|table| self.reasons[*table].is_some()).collect();
        let mut next = 0;
        while let Some(table) = waiting.get(next).copied() {
            next += 1;
            let id = &self.schedule.tables()[table].id;
            for upstream in self.schedule.graph().upstream_at(table).iter().copied() {
                let is_read_as_it_is = self.schedule.tables()[upstream].lag == Lag::Disabled;
                if self.reasons[upstream].is_none() && !is_read_as_it_is {
                    self.reasons[upstream] = Some(Reason::Needed { by: id.clone() });
                    waiting.push(upstream);
                }
            }
            for reader in self.schedule.graph().downstream_at(table).iter().copied() {
                let follows = matches!(self.schedule.lags()[reader], EffectiveLag::Follows { .. });
                if !follows || self.reasons[reader].is_some() {
                    continue;
                }
                if self.obstacles[reader].is_some() {
                    hindered[reader] = !self.schedule.tables()[reader].suspended;
                } else {
                    self.reasons[reader] = Some(Reason::Follows { upstream: id.clone() });
                    waiting.push(reader);
                }
            }
        }
    }
}

impl<K: fmt::Display> fmt::Display for Reason<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initialize => f.write_str("it never had any content"),
            Self::Lag { due_at } => write!(f, "its target lag: due since {due_at:.0}"),
            Self::Retry => f.write_str("its last refresh failed and the wait is over"),
            Self::ClockPutBack => f.write_str("its data timestamp lies in the future: the clock was put back"),
            Self::Needed { by } => write!(f, "{by} reads it and is refreshed"),
            Self::Follows { upstream } => write!(f, "it follows {upstream}, which is refreshed"),
        }
    }
}

impl<K: fmt::Display> fmt::Display for Obstacle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended { upstream } => write!(f, "{upstream} is suspended"),
            Self::Empty { upstream } => write!(f, "{upstream} never had any content and its scheduler is disabled"),
            Self::Retry { table, at } => write!(f, "{table} has failed and is tried again at {at:.0}"),
        }
    }
}

#[cfg(test)]
mod tests;
