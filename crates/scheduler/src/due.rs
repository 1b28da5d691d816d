//! Which tables are to be refreshed now, why, and when to look again.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::lag::{EffectiveLag, Lag};
use crate::schedule::{Schedule, Table};
use crate::start::{Aim, Standing, starts};

/// The time at which is decided, and how it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The worker's clock.
    pub now: Timestamp,
    /// How long the worker sleeps at most.
    pub poll_interval: Duration,
    /// The longest that a failed table is made to wait. A `retry_at` further away comes from a clock that was put back.
    pub longest_backoff: Duration,
    /// How many batches all workers together run at a time, if that is known. Tables then start earlier where so many
    /// have to end at about the same time that they do not fit beside each other.
    pub batches_at_a_time: Option<usize>,
}

impl Moment {
    /// Now, with a longest backoff of an hour, and without knowing the other workers.
    #[must_use]
    pub const fn new(now: Timestamp, poll_interval: Duration) -> Self {
        Self { now, poll_interval, longest_backoff: Duration::from_secs(3_600), batches_at_a_time: None }
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
    /// When to look again for the other tables: when the next of them is due, or its wait after a failure is over. None
    /// is due before; none if none ever will be.
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
        if self.due.is_empty() { self.sleep_beside_taken(moment, moment.poll_interval) } else { Duration::ZERO }
    }

    /// How long the worker may sleep if it can take none of what is due, because others have taken it: as long as if
    /// nothing were due, but at most `pause`. It is woken when something is released; the pause is for the case that
    /// nobody lives to do so.
    #[must_use]
    pub fn sleep_beside_taken(&self, moment: &Moment, pause: Duration) -> Duration {
        let until_next =
            self.next.map(|next| Duration::try_from(next.duration_since(moment.now)).unwrap_or_default());
        until_next.into_iter().fold(moment.poll_interval.min(pause), Duration::min)
    }
}

/// Where a table stands by itself, whatever the others do.
enum Turn<K> {
    Now(Reason<K>),
    Aims(Aim),
    /// Only with others, or not at all.
    Never,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// What to do now. Takes time in proportion to the tables and who reads whom, but for the sorting.
    pub fn due(&self, moment: &Moment) -> Decision<K> {
        let obstacles = self.obstacles(moment);
        let failing = self.failing_since();
        let turns: Vec<Turn<K>> = (0..obstacles.len()).map(|position| self.turn(position, moment)).collect();
        let standing = |position: usize| match &turns[position] {
            Turn::Aims(aim) if obstacles[position].is_some() || failing[position].is_some() => Standing::Alone(*aim),
            Turn::Aims(aim) => Standing::Shares(*aim),
            Turn::Now(_) | Turn::Never => Standing::None,
        };
        let standings: Vec<Standing> = (0..turns.len()).map(standing).collect();
        let starts = starts(self, &standings, |position| obstacles[position].is_some(), moment.batches_at_a_time);
        let mut round = Round { schedule: self, obstacles: &obstacles, reasons: vec![None; obstacles.len()] };
        let mut hindered = vec![false; obstacles.len()];
        let mut next: Option<Timestamp> = None;
        for (position, turn) in turns.into_iter().enumerate() {
            let (reason, start) = match (turn, starts[position]) {
                (Turn::Now(reason), _) => (Some(reason), None),
                (Turn::Aims(_), Some(start)) if start <= moment.now => {
                    let failed = self.tables()[position].retry_at.is_some();
                    (Some(if failed { Reason::Retry } else { Reason::Lag { due_at: start } }), None)
                }
                (Turn::Aims(_), start) => (None, start),
                // A follower whose wait is over comes along again, and its group takes longer.
                (Turn::Never, _) if matches!(self.lags()[position], EffectiveLag::Follows { .. }) => (None, None),
                (Turn::Never, _) => continue,
            };
            let look_again = match &obstacles[position] {
                Some(obstacle) => {
                    hindered[position] = reason.is_some() && !self.tables()[position].suspended;
                    obstacle.until()
                }
                None => {
                    round.reasons[position] = reason;
                    start
                }
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
        Turn::Aims(Aim::new(data_timestamp, duration, moment.poll_interval))
    }

    /// Since when each table may be tried again that has failed or reads one that has, directly or not: the last of these
    /// times. None of a table for which nothing has failed.
    pub(crate) fn failing_since(&self) -> Vec<Option<Timestamp>> {
        let mut since: Vec<Option<Timestamp>> = Vec::with_capacity(self.tables().len());
        for (position, table) in self.tables().iter().enumerate() {
            let upstream = self.taken_along_at(position).filter_map(|upstream| since[upstream]).max();
            since.push(table.retry_at.max(upstream));
        }
        since
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
            for upstream in self.schedule.taken_along_at(table) {
                if self.reasons[upstream].is_none() {
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
