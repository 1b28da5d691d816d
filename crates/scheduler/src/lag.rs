//! The effective lag: what a table is asked for by itself and by those that read it.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::graph::Graph;

/// What a table itself demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// `TARGET_LAG = '5 minutes'`
    Within(Duration),
    /// `TARGET_LAG = DOWNSTREAM`
    Downstream,
    /// `SCHEDULER = DISABLE`: refreshed by hand only. Other tables read what it holds, as if it were a plain table: it is
    /// not refreshed on their account and keeps none of them from being refreshed.
    Disabled,
}

/// What a table is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectiveLag<K> {
    /// Never staler than this.
    Within {
        /// The smallest lag that is asked of it.
        lag: Duration,
        /// The table that reads it and asks for this; none if it asks itself.
        asked_by: Option<K>,
    },
    /// Refreshed whenever one of the dynamic tables it reads is.
    Follows {
        /// The smallest lag of those.
        lag: Duration,
    },
    /// Not refreshed by the scheduler.
    Unscheduled(Unscheduled),
}

/// Why the scheduler never refreshes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscheduled {
    /// Its scheduler is disabled.
    Disabled,
    /// `DOWNSTREAM`, and all tables that read it are suspended or not scheduled themselves.
    NothingAsks,
    /// `DOWNSTREAM`, nothing that reads it demands a lag, and it reads no dynamic table that it could follow.
    NothingToFollow,
    /// `DOWNSTREAM`, nothing that reads it demands a lag, and none of the dynamic tables it reads is scheduled.
    UpstreamUnscheduled,
}

impl<K> EffectiveLag<K> {
    /// The lag, if the table is scheduled.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match self {
            Self::Within { lag, .. } | Self::Follows { lag } => Some(*lag),
            Self::Unscheduled(_) => None,
        }
    }
}

impl fmt::Display for Unscheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "its scheduler is disabled: it is refreshed by hand only",
            Self::NothingAsks => {
                "its target lag is DOWNSTREAM and every dynamic table that reads it is suspended or not scheduled itself"
            }
            Self::NothingToFollow => {
                "its target lag is DOWNSTREAM, no dynamic table asks it for a lag, and it reads none that it could follow"
            }
            Self::UpstreamUnscheduled => {
                "its target lag is DOWNSTREAM, no dynamic table asks it for a lag, and none that it reads is scheduled"
            }
        })
    }
}

/// The effective lag of every table, in the order of the graph. `demand` gives what a table demands itself and whether
/// it is suspended: a suspended table asks nothing of others.
///
/// A table that is refreshed takes those it reads along, and those that follow it. So the smallest lags are handed out
/// first, each to all tables that come along with its own, and what a table gets first is its effective lag.
pub(crate) fn effective_lags<K: Clone + Eq + Hash>(
    graph: &Graph<K>,
    demand: impl Fn(usize) -> (Lag, bool),
) -> Vec<EffectiveLag<K>> {
    let roles = roles(graph, &demand);
    let mut own: Vec<(Duration, usize)> = Vec::new();
    for table in 0..roles.len() {
        if let (Lag::Within(lag), _) = demand(table) {
            own.push((lag, table));
        }
    }
    own.sort_unstable();
    let mut given: Vec<Option<(Duration, Origin)>> = vec![None; roles.len()];
    for (lag, first) in own {
        if given[first].is_some() {
            continue;
        }
        given[first] = Some((lag, Origin::Own));
        let mut waiting = vec![first];
        while let Some(table) = waiting.pop() {
            if demand(table).1 {
                continue;
            }
            for upstream in graph.upstream_at(table).iter().copied() {
                if given[upstream].is_none() && roles[upstream] != Role::Disabled {
                    given[upstream] = Some((lag, Origin::AskedBy(table)));
                    waiting.push(upstream);
                }
            }
            for reader in graph.downstream_at(table).iter().copied() {
                if given[reader].is_none() && roles[reader] == Role::Follows {
                    given[reader] = Some((lag, Origin::Followed));
                    waiting.push(reader);
                }
            }
        }
    }
    let effective = |table: usize| match (given[table], roles[table]) {
        (_, Role::Disabled) => EffectiveLag::Unscheduled(Unscheduled::Disabled),
        (Some((lag, Origin::Followed)), _) => EffectiveLag::Follows { lag },
        (Some((lag, Origin::AskedBy(reader))), _) if demand(table).0 != Lag::Within(lag) => {
            EffectiveLag::Within { lag, asked_by: Some(graph.tables()[reader].clone()) }
        }
        (Some((lag, _)), _) => EffectiveLag::Within { lag, asked_by: None },
        (None, Role::Follows) if graph.upstream_at(table).is_empty() => {
            EffectiveLag::Unscheduled(Unscheduled::NothingToFollow)
        }
        (None, Role::Follows) => EffectiveLag::Unscheduled(Unscheduled::UpstreamUnscheduled),
        (None, _) => EffectiveLag::Unscheduled(Unscheduled::NothingAsks),
    };
    (0..roles.len()).map(effective).collect()
}

/// Where an effective lag comes from.
#[derive(Clone, Copy)]
enum Origin {
    Own,
    /// By the table at this position, which reads it.
    AskedBy(usize),
    Followed,
}

/// What a table does for those around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has a lag of its own or one that a reader asks for, and asks those it reads for as much.
    Asks,
    /// It is `DOWNSTREAM` and no reader asks for a lag: it comes along with what it reads.
    Follows,
    /// It is `DOWNSTREAM` and its readers are all asleep.
    Idle,
    Disabled,
}

fn roles<K: Clone + Eq + Hash>(graph: &Graph<K>, demand: &impl Fn(usize) -> (Lag, bool)) -> Vec<Role> {
    let mut roles = vec![Role::Idle; graph.tables().len()];
    for table in (0..roles.len()).rev() {
        let readers = graph.downstream_at(table);
        let awake = || readers.iter().copied().filter(|reader| !demand(*reader).1);
        roles[table] = match demand(table).0 {
            Lag::Disabled => Role::Disabled,
            Lag::Within(_) => Role::Asks,
            Lag::Downstream if awake().any(|reader| roles[reader] == Role::Asks) => Role::Asks,
            // A reader that only follows asks for nothing: the table is as good as the end of the chain.
            Lag::Downstream if awake().any(|reader| roles[reader] == Role::Follows) => Role::Follows,
            Lag::Downstream if readers.is_empty() => Role::Follows,
            Lag::Downstream => Role::Idle,
        };
    }
    roles
}

#[cfg(test)]
mod tests;
