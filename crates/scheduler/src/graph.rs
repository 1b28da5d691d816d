//! Who reads whom, among dynamic tables only.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;

use error::{Code, Error};

/// The dynamic tables and who reads whom, without cycles.
///
/// Everything it lists is in topological order: a table stands behind all tables it reads, and where that leaves a
/// choice, in the order in which the tables were given.
#[derive(Clone, Debug)]
pub struct Graph<K> {
    /// In topological order.
    tables: Vec<K>,
    position: HashMap<K, usize>,
    /// The positions of the tables that each one reads, and of those that read it, ascending.
    upstream: Vec<Vec<usize>>,
    downstream: Vec<Vec<usize>>,
}

/// Tables that read each other in a circle: each reads the next, and the last is the first again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle<K> {
    /// The tables; at least two, the first and the last the same.
    pub path: Vec<K>,
}

impl<K: Clone + Eq + Hash> Graph<K> {
    /// The graph of these tables, each with the tables it reads. What is not itself among the tables is left out, so
    /// that plain sources may but need not be named. A table given twice reads what both say.
    pub fn new(tables: impl IntoIterator<Item = (K, Vec<K>)>) -> Result<Self, Cycle<K>> {
        let mut given: Vec<K> = Vec::new();
        let mut index: HashMap<K, usize> = HashMap::new();
        let mut named: Vec<Vec<K>> = Vec::new();
        for (table, reads) in tables {
            if let Some(known) = index.get(&table) {
                named[*known].extend(reads);
            } else {
                index.insert(table.clone(), given.len());
                given.push(table);
                named.push(reads);
            }
        }
        let mut upstream: Vec<Vec<usize>> = Vec::with_capacity(given.len());
        for reads in &named {
            let mut known: Vec<usize> = reads.iter().filter_map(|table| index.get(table).copied()).collect();
            known.sort_unstable();
            known.dedup();
            upstream.push(known);
        }
        let order = topological_order(&upstream).map_err(|stuck| Cycle {
            path: circle(&upstream, &stuck).into_iter().map(|table| given[table].clone()).collect(),
        })?;
        Ok(Self::in_order(&given, &upstream, &order))
    }

    fn in_order(given: &[K], upstream: &[Vec<usize>], order: &[usize]) -> Self {
        let mut rank = vec![0; order.len()];
        for (position, table) in order.iter().enumerate() {
            rank[*table] = position;
        }
        let tables: Vec<K> = order.iter().map(|table| given[*table].clone()).collect();
        let position = tables.iter().cloned().zip(0..).collect();
        let mut ranked_upstream: Vec<Vec<usize>> = Vec::with_capacity(order.len());
        let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
        for (reader, table) in order.iter().enumerate() {
            let mut reads: Vec<usize> = upstream[*table].iter().map(|read| rank[*read]).collect();
            reads.sort_unstable();
            for read in &reads {
                downstream[*read].push(reader);
            }
            ranked_upstream.push(reads);
        }
        Self { tables, position, upstream: ranked_upstream, downstream }
    }

    /// All tables.
    pub fn tables(&self) -> &[K] {
        &self.tables
    }

    /// Whether the table is one of them.
    pub fn contains(&self, table: &K) -> bool {
        self.position.contains_key(table)
    }

    /// The dynamic tables that this one reads itself.
    pub fn upstream(&self, table: &K) -> Vec<K> {
        self.position(table).map_or_else(Vec::new, |position| self.named(&self.upstream[position]))
    }

    /// The dynamic tables that read this one themselves.
    pub fn downstream(&self, table: &K) -> Vec<K> {
        self.position(table).map_or_else(Vec::new, |position| self.named(&self.downstream[position]))
    }

    /// The tables that these read, directly or not. One of these is among them only if another of these reads it.
    pub fn all_upstream<'a>(&self, of: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        self.reachable(of, &self.upstream)
    }

    /// The tables that read these, directly or not. One of these is among them only if it reads another of these.
    pub fn all_downstream<'a>(&self, of: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        self.reachable(of, &self.downstream)
    }

    /// These tables, each once, in topological order.
    pub fn sorted<'a>(&self, tables: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        let mut positions = self.positions(tables);
        positions.sort_unstable();
        positions.dedup();
        self.named(&positions)
    }

    /// The refresh groups of these tables: two are in one group if one reads the other, or through others of these.
    /// The groups stand in the order of their first tables.
    pub fn groups<'a>(&self, tables: impl IntoIterator<Item = &'a K>) -> Vec<Vec<K>>
    where
        K: 'a,
    {
        let groups = self.groups_at(self.positions(tables));
        groups.iter().map(|group| self.named(group)).collect()
    }

    /// The same by positions.
    pub(crate) fn groups_at(&self, mut positions: Vec<usize>) -> Vec<Vec<usize>> {
        positions.sort_unstable();
        positions.dedup();
        let mut wanted = vec![false; self.tables.len()];
        for position in &positions {
            wanted[*position] = true;
        }
        let mut group_of: Vec<Option<usize>> = vec![None; self.tables.len()];
        let mut members: Vec<Vec<usize>> = Vec::new();
        for first in positions {
            if group_of[first].is_some() {
                continue;
            }
            let group = members.len();
            group_of[first] = Some(group);
            let mut found = vec![first];
            let mut next = 0;
            while let Some(table) = found.get(next).copied() {
                next += 1;
                for neighbour in self.upstream[table].iter().chain(&self.downstream[table]).copied() {
                    if wanted[neighbour] && group_of[neighbour].is_none() {
                        group_of[neighbour] = Some(group);
                        found.push(neighbour);
                    }
                }
            }
            found.sort_unstable();
            members.push(found);
        }
        members
    }

    fn reachable<'a>(&self, of: impl IntoIterator<Item = &'a K>, edges: &[Vec<usize>]) -> Vec<K>
    where
        K: 'a,
    {
        let mut seen = vec![false; self.tables.len()];
        let mut waiting = self.positions(of);
        let mut expanded = vec![false; self.tables.len()];
        while let Some(table) = waiting.pop() {
            if std::mem::replace(&mut expanded[table], true) {
                continue;
            }
            for next in &edges[table] {
                seen[*next] = true;
                waiting.push(*next);
            }
        }
        (0..self.tables.len())
            .filter(|position| seen[*position])
            .map(|position| self.tables[position].clone())
            .collect()
    }

    fn named(&self, positions: &[usize]) -> Vec<K> {
        positions.iter().map(|position| self.tables[*position].clone()).collect()
    }

    fn positions<'a>(&self, tables: impl IntoIterator<Item = &'a K>) -> Vec<usize>
    where
        K: 'a,
    {
        tables.into_iter().filter_map(|table| self.position(table)).collect()
    }

    /// Where the table stands in the order.
    pub(crate) fn position(&self, table: &K) -> Option<usize> {
        self.position.get(table).copied()
    }

    pub(crate) fn upstream_at(&self, position: usize) -> &[usize] {
        &self.upstream[position]
    }

    pub(crate) fn downstream_at(&self, position: usize) -> &[usize] {
        &self.downstream[position]
    }
}

/// The order, or for each table whether it is stuck in or behind a circle.
fn topological_order(upstream: &[Vec<usize>]) -> Result<Vec<usize>, Vec<bool>> {
    let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); upstream.len()];
    let mut missing: Vec<usize> = Vec::with_capacity(upstream.len());
    for (reader, reads) in upstream.iter().enumerate() {
        missing.push(reads.len());
        for read in reads {
            downstream[*read].push(reader);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().enumerate().filter(|(_, count)| **count == 0).map(|(table, _)| Reverse(table)).collect();
    let mut order = Vec::with_capacity(upstream.len());
    while let Some(Reverse(table)) = ready.pop() {
        order.push(table);
        for reader in &downstream[table] {
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
    if order.len() == upstream.len() { Ok(order) } else { Err(missing.iter().map(|count| *count > 0).collect()) }
}

/// A circle among the stuck tables: each of them reads at least one of them, so that going from read to read comes round.
fn circle(upstream: &[Vec<usize>], stuck: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    let mut here = stuck.iter().position(|stuck| *stuck);
    while let Some(table) = here {
        if let Some(start) = place.get(&table) {
            path.push(table);
            return path.split_off(*start);
        }
        place.insert(table, path.len());
        path.push(table);
        here = upstream[table].iter().copied().find(|read| stuck[*read]);
    }
    path
}

impl<K> Cycle<K> {
    /// The same circle with other names for its tables, such as readable ones.
    pub fn map<T>(self, name: impl FnMut(K) -> T) -> Cycle<T> {
        Cycle { path: self.path.into_iter().map(name).collect() }
    }
}

impl<K: fmt::Display> fmt::Display for Cycle<K> {
    /// `main.a reads main.b reads main.a`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, table) in self.path.iter().enumerate() {
            let separator = if index == 0 { "" } else { " reads " };
            write!(f, "{separator}{table}")?;
        }
        Ok(())
    }
}

impl<K: fmt::Display> From<Cycle<K>> for Error {
    fn from(cycle: Cycle<K>) -> Self {
        Self::new(Code::Dependency, format!("dynamic tables would read each other in a circle: {cycle}"))
            .with_hint("Let one of them read the plain tables behind the other instead.")
    }
}

#[cfg(test)]
mod tests;
