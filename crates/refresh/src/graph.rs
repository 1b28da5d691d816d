//! Who reads what: dynamic tables and the tables and views below them, with the state of each.

use std::collections::{HashMap, HashSet};

use error::{Code, Error, Result};
use registry::SourceKind;
use sql::names::{ObjectName, TableName};

use crate::status::Status;
use crate::tables::DynamicTables;

/// Dynamic tables and what they read.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Tables and views first, by name; then dynamic tables, each behind those that it reads.
    pub nodes: Vec<GraphNode>,
    /// Who is read by whom, as positions among the nodes: (source, reader), in order.
    pub edges: Vec<(usize, usize)>,
}

/// A table, a view or a dynamic table.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its name.
    pub name: TableName,
    /// What it is.
    pub kind: SourceKind,
    /// Its state, if it is a dynamic table.
    pub status: Option<Status>,
}

impl DynamicTables {
    /// The graph of all dynamic tables; of one name, only what it reads and what reads it, directly or not.
    ///
    /// # Errors
    /// `QUERY` for a name that is neither a dynamic table nor read by one.
    pub fn graph(&self, name: Option<&ObjectName>) -> Result<Graph> {
        let overview = self.overview()?;
        let order: HashMap<_, _> = overview.schedule.graph().tables().iter().zip(0_usize..).collect();
        let mut tables: Vec<_> = overview.tables.iter().collect();
        tables.sort_by_key(|table| order.get(&table.definition.id));
        let plain = tables.iter().flat_map(|table| &table.sources).filter(|source| source.upstream.is_none());
        let mut nodes: Vec<GraphNode> =
            plain.map(|source| GraphNode { name: source.name.clone(), kind: source.kind, status: None }).collect();
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        nodes.dedup_by(|left, right| left.name == right.name);
        let statuses = self.statuses_of(&overview, &tables, None)?;
        nodes.extend(statuses.into_iter().map(|status| GraphNode {
            name: status.name.clone(),
            kind: SourceKind::DynamicTable,
            status: Some(status),
        }));
        let position: HashMap<&TableName, usize> = nodes.iter().map(|node| &node.name).zip(0..).collect();
        let mut edges: Vec<(usize, usize)> = tables
            .iter()
            .flat_map(|table| table.sources.iter().map(|source| (&source.name, &table.definition.name)))
            .filter_map(|(source, reader)| Some((*position.get(source)?, *position.get(reader)?)))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let graph = Graph { edges, nodes };
        let Some(name) = name else { return Ok(graph) };
        let name = self.resolve(name)?;
        let Some(centre) = graph.nodes.iter().position(|node| node.name == name) else {
            return Err(Error::new(Code::Query, format!("{name} is no dynamic table and none reads it"))
                .with_hint("`dynamic-tables graph` shows those that are there."));
        };
        Ok(graph.around(centre))
    }
}

impl Graph {
    /// This node, what it reads and what reads it, directly or not.
    fn around(&self, centre: usize) -> Self {
        let mut kept = self.reachable(centre, |(source, reader)| (reader, source));
        kept.extend(self.reachable(centre, |edge| edge));
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(|node| kept.contains(node)).collect();
        let renumbered: HashMap<usize, usize> = nodes.iter().copied().zip(0..).collect();
        let edge = |(source, reader): &(usize, usize)| Some((*renumbered.get(source)?, *renumbered.get(reader)?));
        Self {
            nodes: nodes.iter().map(|node| self.nodes[*node].clone()).collect(),
            edges: self.edges.iter().filter_map(edge).collect(),
        }
    }

    /// What can be reached along edges that `turned` may turn round, and the start itself.
    fn reachable(&self, start: usize, turned: impl Fn((usize, usize)) -> (usize, usize)) -> HashSet<usize> {
        let mut found = HashSet::from([start]);
        let mut waiting = vec![start];
        while let Some(node) = waiting.pop() {
            for (from, to) in self.edges.iter().map(|edge| turned(*edge)) {
                if from == node && found.insert(to) {
                    waiting.push(to);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(count: usize, edges: &[(usize, usize)]) -> Graph {
        let node = |number: usize| GraphNode {
            name: TableName::new("main", format!("t{number}")),
            kind: SourceKind::Table,
            status: None,
        };
        Graph { nodes: (0..count).map(node).collect(), edges: edges.to_vec() }
    }

    #[test]
    fn around_a_table_is_what_it_reads_and_what_reads_it() {
        // 0 -> 1 -> 3, 0 -> 2 -> 3, 4 -> 3, 1 -> 5
        let around = graph(6, &[(0, 1), (0, 2), (1, 3), (1, 5), (2, 3), (4, 3)]).around(1);
        let names: Vec<&str> = around.nodes.iter().map(|node| node.name.name.as_str()).collect();
        assert_eq!(names, ["t0", "t1", "t3", "t5"]);
        assert_eq!(around.edges, [(0, 1), (1, 2), (1, 3)]);
    }
}
