//! All dynamic tables as the scheduler sees them at one moment.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;

use crate::graph::{Cycle, Graph};
use crate::lag::{EffectiveLag, Lag, effective_lags};

/// What the scheduler needs to know of a dynamic table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<K> {
    /// Which one it is.
    pub id: K,
    /// The dynamic tables that it reads. Ids of tables that do not exist are ignored.
    pub upstream: Vec<K>,
    /// How stale it itself may be.
    pub lag: Lag,
    /// Whether scheduled refreshes are stopped; tables that read it then wait.
    pub suspended: bool,
    /// The time for which its content is right: the commit time of its data version, or the later time at which it was
    /// last seen that nothing it reads has changed. None if it never had any content.
    pub data_timestamp: Option<Timestamp>,
    /// How long a refresh is expected to take.
    pub expected_duration: Duration,
    /// After a failure: not again before this. It stays until a refresh succeeds.
    pub retry_at: Option<Timestamp>,
    /// The workers that refresh it are those that serve this queue.
    pub queue: String,
    /// When it was created, for its first content: how long it has waited counts like the age of content. If it is not
    /// known, the table is as urgent as one that has just used up its lag.
    pub wanted_since: Option<Timestamp>,
}

/// The queue of a table that names none.
pub const DEFAULT_QUEUE: &str = "default";

impl<K> Table<K> {
    /// A table that reads no other one and never had any content.
    pub fn new(id: K, lag: Lag) -> Self {
        Self {
            id,
            upstream: Vec::new(),
            lag,
            suspended: false,
            data_timestamp: None,
            expected_duration: Duration::ZERO,
            retry_at: None,
            queue: DEFAULT_QUEUE.to_owned(),
            wanted_since: None,
        }
    }
}

/// All dynamic tables, who reads whom, and what each is held to.
#[derive(Clone, Debug)]
pub struct Schedule<K> {
    graph: Graph<K>,
    /// In the order of the graph, as are the lags.
    tables: Vec<Table<K>>,
    lags: Vec<EffectiveLag<K>>,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// The schedule of these tables. If one is given twice the last is taken.
    pub fn new(tables: Vec<Table<K>>) -> Result<Self, Cycle<K>> {
        let graph = Graph::new(tables.iter().map(|table| (table.id.clone(), table.upstream.clone())))?;
        let mut by_id: HashMap<K, Table<K>> = tables.into_iter().map(|table| (table.id.clone(), table)).collect();
        let tables: Vec<Table<K>> = graph.tables().iter().filter_map(|id| by_id.remove(id)).collect();
        let lags = effective_lags(&graph, |position| (tables[position].lag, tables[position].suspended));
        Ok(Self { graph, tables, lags })
    }

    /// Who reads whom.
    pub fn graph(&self) -> &Graph<K> {
        &self.graph
    }

    /// What the table is held to.
    pub fn effective_lag(&self, id: &K) -> Option<&EffectiveLag<K>> {
        self.graph.position(id).map(|position| &self.lags[position])
    }

    /// The tables that come along with the one at this position because it reads them. Those whose scheduler is disabled
    /// are read as they are.
    pub(crate) fn taken_along_at(&self, position: usize) -> impl Iterator<Item = usize> {
        let upstream = self.graph.upstream_at(position).iter().copied();
        upstream.filter(|upstream| self.tables[*upstream].lag != Lag::Disabled)
    }

    pub(crate) fn tables(&self) -> &[Table<K>] {
        &self.tables
    }

    pub(crate) fn lags(&self) -> &[EffectiveLag<K>] {
        &self.lags
    }
}
