#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::lag::Lag;
use crate::schedule::Table;

fn schedule(tables: &[(usize, &[usize])]) -> Schedule<usize> {
    let table = |(id, upstream): &(usize, &[usize])| Table {
        upstream: upstream.to_vec(),
        expected_duration: Duration::from_secs(10_u64.pow(u32::try_from(*id).unwrap())),
        ..Table::new(*id, Lag::Downstream)
    };
    Schedule::new(tables.iter().map(table).collect()).unwrap()
}

fn chains(schedule: &Schedule<usize>) -> Vec<u64> {
    let mut chains = Chains::new(schedule);
    (0..schedule.tables().len()).map(|table| chains.of(table).as_secs()).collect()
}

#[test]
fn a_chain_is_the_sum_of_all_that_is_read() {
    assert_eq!(chains(&schedule(&[(0, &[]), (1, &[0]), (2, &[1]), (3, &[])])), [1, 11, 111, 1_000]);
}

#[test]
fn in_a_diamond_each_table_counts_once() {
    let diamond = schedule(&[(0, &[]), (1, &[0]), (2, &[0]), (3, &[1, 2]), (4, &[3])]);
    assert_eq!(chains(&diamond), [1, 11, 101, 1_111, 11_111]);
}

#[test]
fn a_disabled_table_and_what_it_reads_do_not_come_along() {
    let mut tables =
        vec![Table::new(0, Lag::Downstream), Table::new(1, Lag::Disabled), Table::new(2, Lag::Downstream)];
    for table in &mut tables {
        table.expected_duration = Duration::from_secs(1);
        table.upstream = (0..table.id).collect();
    }
    tables[2].upstream = vec![1];
    assert_eq!(chains(&Schedule::new(tables).unwrap()), [1, 2, 1]);
}

#[test]
fn a_walk_that_costs_too_much_gives_the_longest_path() {
    // Two tables a step, each of which reads both of the step before: every walk meets all tables behind it.
    let ladder = (0..4_000_usize).map(|id| Table {
        upstream: if id < 2 { vec![] } else { vec![(id / 2 - 1) * 2, (id / 2 - 1) * 2 + 1] },
        expected_duration: Duration::from_secs(1),
        ..Table::new(id, Lag::Downstream)
    });
    let schedule = Schedule::new(ladder.collect()).unwrap();
    let chains = chains(&schedule);
    assert_eq!(chains[101], 101);
    assert_eq!(chains[3_999], 2_000);
}
