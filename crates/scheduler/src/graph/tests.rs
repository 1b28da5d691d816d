#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn graph(edges: &[(&'static str, &[&'static str])]) -> Graph<&'static str> {
    Graph::new(edges.iter().map(|(table, reads)| (*table, reads.to_vec()))).unwrap()
}

fn diamond() -> Graph<&'static str> {
    graph(&[
        ("top", &["left", "right"]),
        ("left", &["base"]),
        ("right", &["base", "plain"]),
        ("base", &["plain"]),
        ("alone", &[]),
    ])
}

#[test]
fn order_is_topological_and_stable() {
    assert_eq!(diamond().tables(), ["base", "left", "right", "top", "alone"]);
    assert_eq!(graph(&[("c", &[]), ("b", &[]), ("a", &[])]).tables(), ["c", "b", "a"]);
}

#[test]
fn neighbours_and_closures() {
    let graph = diamond();
    assert_eq!(graph.upstream(&"top"), ["left", "right"]);
    assert_eq!(graph.upstream(&"right"), ["base"]);
    assert_eq!(graph.downstream(&"base"), ["left", "right"]);
    assert_eq!(graph.all_upstream([&"top"]), ["base", "left", "right"]);
    assert_eq!(graph.all_upstream([&"top", &"left"]), ["base", "left", "right"]);
    assert_eq!(graph.all_downstream([&"base"]), ["left", "right", "top"]);
    assert_eq!(graph.all_downstream([&"alone", &"unknown"]), Vec::<&str>::new());
    assert_eq!(graph.sorted([&"top", &"base", &"top"]), ["base", "top"]);
    assert!(graph.contains(&"top") && !graph.contains(&"plain"));
}

#[test]
fn groups_are_connected_through_each_other_only() {
    let graph = diamond();
    assert_eq!(graph.groups(graph.tables()), [vec!["base", "left", "right", "top"], vec!["alone"]]);
    assert_eq!(graph.groups([&"right", &"left"]), [["left"], ["right"]]);
    assert_eq!(graph.groups([&"top", &"left", &"right"]), [["left", "right", "top"]]);
    assert!(graph.groups([]).is_empty());
}

#[test]
fn a_circle_is_told_by_its_path() {
    let cycle = Graph::new([("a", vec!["b"]), ("b", vec!["c", "x"]), ("c", vec!["b"]), ("x", vec![])]).unwrap_err();
    assert_eq!(cycle.path, ["b", "c", "b"]);
    let own = Graph::new([("a", vec!["a"])]).unwrap_err();
    assert_eq!(own.to_string(), "a reads a");
    let error = Error::from(cycle.map(|name| format!("main.{name}")));
    assert_eq!(error.message(), "dynamic tables would read each other in a circle: main.b reads main.c reads main.b");
    assert_eq!(error.code(), Code::Dependency);
}

#[test]
fn a_table_given_twice_reads_what_both_say() {
    let graph = Graph::new([("a", vec!["b"]), ("a", vec!["c"]), ("b", vec![]), ("c", vec![])]).unwrap();
    assert_eq!(graph.upstream(&"a"), ["b", "c"]);
    assert_eq!(graph.tables().len(), 3);
}

#[test]
fn a_long_chain_needs_no_stack() {
    let last = 100_000;
    let chain =
        Graph::new((0..=last).map(|table| (table, if table == last { vec![] } else { vec![table + 1] }))).unwrap();
    assert_eq!(chain.tables().first(), Some(&last));
    assert_eq!(chain.all_upstream([&0]).len(), last);
    assert_eq!(chain.groups(chain.tables()).len(), 1);
    let ring = Graph::new((0..=last).map(|table| (table, vec![(table + 1) % (last + 1)]))).unwrap_err();
    assert_eq!(ring.path.len(), last + 2);
}

/// Tables 0..n in any order, each with the tables it reads, which may be anything.
fn any_graph() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    (1_u8..14).prop_flat_map(|count| {
        let reads = prop::collection::vec(prop::collection::vec(0..count + 2, 0..3), usize::from(count));
        let tables: Vec<u8> = (0..count).collect();
        (Just(tables).prop_shuffle(), reads).prop_map(|(tables, reads)| tables.into_iter().zip(reads).collect())
    })
}

/// The same without cycles: a table reads only those with a smaller number.
fn any_acyclic_graph() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    any_graph().prop_map(|mut tables| {
        for (table, reads) in &mut tables {
            reads.retain(|read| *read < *table);
        }
        tables
    })
}

/// By the definition: the closure of "reads" as pairs.
fn closure(tables: &[(u8, Vec<u8>)]) -> HashSet<(u8, u8)> {
    let known: HashSet<u8> = tables.iter().map(|(table, _)| *table).collect();
    let direct = |(table, reads): &(u8, Vec<u8>)| reads.iter().map(|read| (*table, *read)).collect::<Vec<_>>();
    let edges: Vec<(u8, u8)> = tables.iter().flat_map(direct).filter(|(_, read)| known.contains(read)).collect();
    let mut pairs: HashSet<(u8, u8)> = edges.iter().copied().collect();
    loop {
        let longer: Vec<(u8, u8)> = pairs
            .iter()
            .flat_map(|(a, b)| edges.iter().filter(move |(from, _)| from == b).map(move |(_, c)| (*a, *c)))
            .collect();
        let before = pairs.len();
        pairs.extend(longer);
        if pairs.len() == before {
            return pairs;
        }
    }
}

proptest! {
    #[test]
    fn a_graph_is_refused_exactly_if_a_table_reads_itself(tables in any_graph()) {
        let circular = closure(&tables).iter().any(|(reader, read)| reader == read);
        match Graph::new(tables.clone()) {
            Ok(_) => prop_assert!(!circular),
            Err(cycle) => {
                prop_assert!(circular && cycle.path.len() > 1 && cycle.path.first() == cycle.path.last());
                for step in cycle.path.windows(2) {
                    prop_assert!(tables.iter().any(|(table, reads)| *table == step[0] && reads.contains(&step[1])));
                }
                let distinct: HashSet<&u8> = cycle.path.iter().collect();
                prop_assert_eq!(distinct.len(), cycle.path.len() - 1);
            }
        }
    }

    #[test]
    fn the_order_is_the_first_that_is_topological(tables in any_acyclic_graph()) {
        let graph = Graph::new(tables.clone()).unwrap();
        let reads = closure(&tables);
        let mut left: Vec<u8> = tables.iter().map(|(table, _)| *table).collect();
        for table in graph.tables() {
            // The first, in the order given, of those that read none of what is left.
            let first = left.iter().position(|a| left.iter().all(|b| !reads.contains(&(*a, *b)))).unwrap();
            prop_assert_eq!(left.remove(first), *table);
        }
        prop_assert!(left.is_empty());
    }

    #[test]
    fn closures_are_those_of_the_definition(tables in any_acyclic_graph(), of in prop::collection::vec(0_u8..14, 0..3)) {
        let graph = Graph::new(tables.clone()).unwrap();
        let reads = closure(&tables);
        let upstream: Vec<u8> = graph.tables().iter().copied().filter(|t| of.iter().any(|o| reads.contains(&(*o, *t)))).collect();
        let downstream: Vec<u8> = graph.tables().iter().copied().filter(|t| of.iter().any(|o| reads.contains(&(*t, *o)))).collect();
        prop_assert_eq!(graph.all_upstream(&of), upstream);
        prop_assert_eq!(graph.all_downstream(&of), downstream);
    }

    #[test]
    fn groups_part_the_tables_where_no_edge_is(tables in any_acyclic_graph(), chosen in prop::collection::hash_set(0_u8..14, 0..14)) {
        let graph = Graph::new(tables.clone()).unwrap();
        let groups = graph.groups(&chosen);
        let mut members: Vec<u8> = groups.concat();
        members.sort_unstable();
        let mut expected: Vec<u8> = chosen.iter().copied().filter(|table| graph.contains(table)).collect();
        expected.sort_unstable();
        prop_assert_eq!(members, expected);
        let group_of = |table: &u8| groups.iter().position(|group| group.contains(table));
        for (table, reads) in &tables {
            for read in reads.iter().filter(|read| group_of(read).is_some() && group_of(table).is_some()) {
                prop_assert_eq!(group_of(table), group_of(read));
            }
        }
        for group in &groups {
            prop_assert_eq!(&graph.sorted(group), group);
            // Connected: from its first member every other is reached by edges within the group.
            let mut reached = vec![group[0]];
            let mut next = 0;
            while let Some(table) = reached.get(next).copied() {
                next += 1;
                for neighbour in graph.upstream(&table).into_iter().chain(graph.downstream(&table)) {
                    if group.contains(&neighbour) && !reached.contains(&neighbour) {
                        reached.push(neighbour);
                    }
                }
            }
            prop_assert_eq!(reached.len(), group.len());
        }
    }
}
