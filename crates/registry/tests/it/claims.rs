//! Claims, and refreshes whose claim is gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use error::Code;
use registry::{Abandoned, Claim, DynamicTable, HistoryFilter, Refresh, RefreshState, Registry};
use uuid::Uuid;

use crate::fixture::{Fixture, refresh_of, table, time};

over_both_stores! {
    all_tables_are_claimed_or_none,
    a_table_that_is_not_there_cannot_be_claimed,
    of_two_claimers_of_overlapping_groups_one_wins,
    claimers_and_droppers_do_not_wait_for_each_other_for_ever,
    an_expired_claim_is_taken_over,
    a_claim_that_is_renewed_lasts,
    an_expired_claim_is_revived_if_nobody_took_it,
    a_claim_counts_by_its_own_lease,
    claims_edited_by_hand_hold_nothing_for_ever,
    a_dropped_table_is_not_held_any_more,
    an_older_program_claims_nothing_after_a_migration,
    who_waits_goes_first,
    a_wish_that_is_not_renewed_holds_up_nobody,
    refreshes_without_their_claim_are_reaped,
    a_refresh_that_runs_is_never_reaped,
}

const LEASE: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(600);

fn made(fixture: &Fixture, count: usize) -> (Vec<DynamicTable>, Vec<Uuid>) {
    let tables: Vec<_> = (0..count).map(|number| table(&format!("t{number}"))).collect();
    for table in &tables {
        fixture.registry.create(table).unwrap();
    }
    let ids = tables.iter().map(|table| table.definition.id).collect();
    (tables, ids)
}

fn expire() {
    thread::sleep(LEASE + Duration::from_millis(50));
}

fn all_tables_are_claimed_or_none(fixture: &Fixture) {
    let (tables, ids) = made(fixture, 3);
    let registry = &fixture.registry;
    let mut backwards = vec![ids[1], ids[0], ids[1]];
    let first = registry.claim("w1", &backwards, LONG).unwrap().unwrap();
    backwards = vec![ids[0], ids[1]];
    assert_eq!(first, Claim { id: first.id, worker: "w1".to_owned(), tables: backwards });
    // Neither somebody else nor the same worker again; and what was free stays free.
    assert_eq!(registry.claim("w2", &[ids[2], ids[1]], LONG).unwrap(), None);
    assert_eq!(registry.claim("w1", &[ids[0]], LONG).unwrap(), None);
    let second = registry.claim("w2", &[ids[2]], LONG).unwrap().unwrap();
    let claims = registry.claims().unwrap();
    let shown: Vec<_> =
        claims.iter().map(|held| (&held.name, held.table, held.worker.as_str(), held.claim)).collect();
    let of = |number: usize, worker, claim: &Claim| (&tables[number].definition.name, ids[number], worker, claim.id);
    assert_eq!(shown, [of(0, "w1", &first), of(1, "w1", &first), of(2, "w2", &second)]);
    let now = registry.news().unwrap().now;
    for held in &claims {
        // Both are the database's time, which may go on by a microsecond between them.
        let apart = held.heartbeat_at.duration_since(held.claimed_at);
        assert!(held.is_live && !apart.is_negative() && apart.as_secs() < 1 && held.claimed_at <= now, "{held:?}");
        assert!(now.duration_since(held.claimed_at).as_secs() < 30, "{held:?}");
    }
    registry.release(&first).unwrap();
    assert_eq!(registry.claims().unwrap().len(), 1);
    assert!(registry.claim("w2", &ids[..2], LONG).unwrap().is_some());
    // To release again what is not held any more takes nothing from the next one.
    registry.release(&first).unwrap();
    assert_eq!(registry.claims().unwrap().len(), 3);
    // Nothing is nobody's.
    assert!(registry.claim("w1", &[], LONG).unwrap().unwrap().tables.is_empty());
}

fn a_table_that_is_not_there_cannot_be_claimed(fixture: &Fixture) {
    let (_, ids) = made(fixture, 1);
    assert_eq!(fixture.registry.claim("w", &[ids[0], Uuid::now_v7()], LONG).unwrap(), None);
    assert!(fixture.registry.claims().unwrap().is_empty());
}

fn of_two_claimers_of_overlapping_groups_one_wins(fixture: &Fixture) {
    const ROUNDS: usize = 200;
    let (_, ids) = made(fixture, 4);
    // Three processes with tables in different orders; the middle ones are in all groups.
    let groups = [vec![ids[0], ids[1], ids[2]], vec![ids[3], ids[2], ids[1]], vec![ids[2], ids[0], ids[3], ids[1]]];
    let holders = AtomicUsize::new(0);
    let won: Vec<usize> = thread::scope(|scope| {
        let claimers: Vec<_> = groups
            .iter()
            .zip(["w1", "w2", "w3"])
            .map(|(group, worker)| {
                let registry = Registry::open(&fixture.url).unwrap();
                let holders = &holders;
                scope.spawn(move || {
                    let mut won = 0;
                    for _ in 0..ROUNDS {
                        let Some(claim) = registry.claim(worker, group, LONG).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                        won += 1;
                        assert!(registry.renew(&claim, LONG).unwrap());
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1, "two hold it");
                        registry.release(&claim).unwrap();
                    }
                    won
                })
            })
            .collect();
        claimers.into_iter().map(|claimer| claimer.join().unwrap()).collect()
    });
    assert!(won.iter().sum::<usize>() > 0, "{won:?}");
    assert!(fixture.registry.claims().unwrap().is_empty());
}

fn claimers_and_droppers_do_not_wait_for_each_other_for_ever(fixture: &Fixture) {
    const ROUNDS: usize = 25;
    for _ in 0..ROUNDS {
        let (_, ids) = made(fixture, 6);
        // Expired claims on some of them: those are changed, the others inserted.
        fixture.registry.claim("w0", &[ids[4], ids[1]], Duration::from_millis(1)).unwrap().unwrap();
        let backwards: Vec<Uuid> = ids.iter().rev().copied().collect();
        thread::sleep(Duration::from_millis(2));
        thread::scope(|scope| {
            let claimer = scope.spawn(|| fixture.registry.claim("w1", &backwards, LONG).unwrap());
            let dropper = scope.spawn(|| fixture.registry.drop(&ids).unwrap());
            let claim = claimer.join().unwrap();
            assert_eq!(dropper.join().unwrap(), 6);
            // Whoever came first: there is nothing left to hold.
            assert!(claim.is_none_or(|claim| !fixture.registry.renew(&claim, LONG).unwrap()));
        });
        assert!(fixture.registry.claims().unwrap().is_empty());
    }
}

fn an_expired_claim_is_taken_over(fixture: &Fixture) {
    let (_, ids) = made(fixture, 2);
    let registry = &fixture.registry;
    let stopped = registry.claim("w1", &ids, LEASE).unwrap().unwrap();
    assert_eq!(registry.claim("w2", &ids[..1], LEASE).unwrap(), None);
    expire();
    assert!(registry.claims().unwrap().iter().all(|held| !held.is_live));
    let next = registry.claim("w2", &ids[..1], LONG).unwrap().unwrap();
    // The first one lost a table of its claim: it has to know, and must not take it back.
    assert!(!registry.renew(&stopped, LONG).unwrap());
    assert!(registry.renew(&next, LONG).unwrap());
    registry.release(&stopped).unwrap();
    let held: Vec<_> = registry.claims().unwrap().into_iter().map(|held| (held.table, held.claim)).collect();
    assert_eq!(held, [(ids[0], next.id)]);
}

fn a_claim_that_is_renewed_lasts(fixture: &Fixture) {
    let (_, ids) = made(fixture, 2);
    let claim = fixture.registry.claim("w1", &ids, LEASE).unwrap().unwrap();
    for _ in 0..4 {
        thread::sleep(LEASE / 2);
        assert_eq!(fixture.registry.claim("w2", &ids, LEASE).unwrap(), None);
        assert!(fixture.registry.renew(&claim, LEASE).unwrap());
    }
    let held = &fixture.registry.claims().unwrap()[0];
    assert!(held.is_live && held.heartbeat_at > held.claimed_at, "{held:?}");
}

fn an_expired_claim_is_revived_if_nobody_took_it(fixture: &Fixture) {
    let (_, ids) = made(fixture, 1);
    let claim = fixture.registry.claim("w1", &ids, LEASE).unwrap().unwrap();
    expire();
    assert!(fixture.registry.renew(&claim, LONG).unwrap());
    assert_eq!(fixture.registry.claim("w2", &ids, LONG).unwrap(), None);
}

fn a_claim_counts_by_its_own_lease(fixture: &Fixture) {
    let (_, ids) = made(fixture, 1);
    // A worker with a long lease is not taken for an edited row by one with a short lease.
    fixture.registry.claim("patient", &ids, LONG).unwrap().unwrap();
    assert_eq!(fixture.registry.claim("hasty", &ids, Duration::from_millis(1)).unwrap(), None);
    // No lease is for ever.
    let other = table("other");
    fixture.registry.create(&other).unwrap();
    fixture.registry.claim("greedy", &[other.definition.id], Duration::MAX).unwrap().unwrap();
    assert_eq!(
        fixture.ask("SELECT lease_ms FROM refresh_claim WHERE worker = 'greedy'"),
        (24 * 60 * 60 * 1000).to_string()
    );
}

fn claims_edited_by_hand_hold_nothing_for_ever(fixture: &Fixture) {
    let (_, ids) = made(fixture, 1);
    let registry = &fixture.registry;
    for absurd in ["2999-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"] {
        let edited = registry.claim("w1", &ids, LONG).unwrap().unwrap();
        fixture.ask(&format!("UPDATE refresh_claim SET expires_at = '{absurd}'"));
        assert!(!registry.claims().unwrap()[0].is_live);
        let next = registry.claim("w2", &ids, LONG).unwrap().unwrap();
        assert!(!registry.renew(&edited, LONG).unwrap());
        registry.release(&next).unwrap();
    }
    for edit in [
        "DELETE FROM refresh_claim",
        "UPDATE refresh_claim SET worker = 'somebody else'",
        "UPDATE refresh_claim SET claim_id = '00000000-0000-0000-0000-000000000000'",
    ] {
        let claim = registry.claim("w1", &ids, LONG).unwrap().unwrap();
        fixture.ask(edit);
        assert!(!registry.renew(&claim, LONG).unwrap(), "{edit}");
        registry.release(&claim).unwrap();
        fixture.ask("DELETE FROM refresh_claim");
    }
}

fn a_dropped_table_is_not_held_any_more(fixture: &Fixture) {
    let (_, ids) = made(fixture, 2);
    let claim = fixture.registry.claim("w1", &ids, LONG).unwrap().unwrap();
    fixture.registry.drop(&ids[..1]).unwrap();
    assert_eq!(fixture.registry.claims().unwrap().len(), 1);
    assert!(!fixture.registry.renew(&claim, LONG).unwrap());
    fixture.registry.release(&claim).unwrap();
    assert!(fixture.registry.claims().unwrap().is_empty());
}

fn an_older_program_claims_nothing_after_a_migration(fixture: &Fixture) {
    let (_, ids) = made(fixture, 1);
    let before = fixture.registry.claim("w1", &ids, LONG).unwrap().unwrap();
    fixture.ask(
        "INSERT INTO dynamic_tables_migration (version, description, success, checksum, execution_time) \
         VALUES (99, 'from the future', true, 'x', 0)",
    );
    // What it has begun it may finish.
    assert!(fixture.registry.renew(&before, LONG).unwrap());
    fixture.registry.release(&before).unwrap();
    let error = fixture.registry.claim("w1", &ids, LONG).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert!(!error.is_transient());
    assert!(error.message().starts_with("the registry is of version 99, and this program knows"), "{error}");
    assert!(error.hint().unwrap().starts_with("Stop this worker"), "{error:?}");
    assert!(fixture.registry.claims().unwrap().is_empty());
}

fn who_waits_goes_first(fixture: &Fixture) {
    let (_, ids) = made(fixture, 2);
    let registry = &fixture.registry;
    let running = registry.claim("w1", &ids[..1], LONG).unwrap().unwrap();
    assert_eq!(registry.claim_with_priority("by hand", &ids, LONG).unwrap(), None);
    registry.wish("by hand", &ids, LONG).unwrap();
    // Said twice, it still is one.
    registry.wish("by hand", &ids, LONG).unwrap();
    let mut taken = registry.taken().unwrap();
    taken.sort_unstable();
    assert_eq!(taken, running.tables.iter().chain(&ids[1..]).copied().collect::<Vec<_>>());
    // What runs is not disturbed, and nothing else begins.
    assert!(registry.renew(&running, LONG).unwrap());
    assert_eq!(registry.claim("w2", &ids[1..], LONG).unwrap(), None);
    registry.release(&running).unwrap();
    assert_eq!(registry.claim("w1", &ids[..1], LONG).unwrap(), None);
    // Others who wait are not held up by it, whoever comes first.
    registry.wish("somebody else", &ids[1..], LONG).unwrap();
    let claim = registry.claim_with_priority("by hand", &ids, LONG).unwrap().unwrap();
    registry.release(&claim).unwrap();
    assert!(registry.claim("w1", &ids[..1], LONG).unwrap().is_some());
    assert_eq!(registry.claim("w2", &ids[1..], LONG).unwrap(), None);
    registry.withdraw_wish("somebody else", &ids).unwrap();
    assert!(registry.claim("w2", &ids[1..], LONG).unwrap().is_some());
}

fn a_wish_that_is_not_renewed_holds_up_nobody(fixture: &Fixture) {
    let (tables, ids) = made(fixture, 2);
    let registry = &fixture.registry;
    registry.wish("by hand", &ids, LEASE).unwrap();
    assert_eq!(registry.claim("w1", &ids, LONG).unwrap(), None);
    expire();
    assert!(registry.taken().unwrap().is_empty());
    let claim = registry.claim("w1", &ids, LONG).unwrap().unwrap();
    registry.release(&claim).unwrap();
    // Nor does one that somebody edited to last for ever.
    registry.wish("by hand", &ids, LEASE).unwrap();
    fixture.ask("UPDATE refresh_wish SET expires_at = '2999-01-01T00:00:00.000000Z'");
    assert!(registry.claim("w1", &ids, LONG).unwrap().is_some());
    registry.drop(&[tables[0].definition.id]).unwrap();
    assert_eq!(fixture.ask("SELECT count(*) FROM refresh_wish"), "1");
}

fn executing(fixture: &Fixture) -> Vec<Uuid> {
    let filter = HistoryFilter { state: Some(RefreshState::Executing), ..HistoryFilter::default() };
    fixture.registry.history(&filter, 100).unwrap().into_iter().map(|refresh| refresh.id).collect()
}

fn refreshes_without_their_claim_are_reaped(fixture: &Fixture) {
    let (tables, ids) = made(fixture, 4);
    let claim = |index: usize, lease| fixture.registry.claim("w1", &ids[index..=index], lease).unwrap().unwrap().id;
    let under = |index: usize, claim| Refresh { claim, ..refresh_of(&tables[index], "w1") };
    let live = under(0, Some(claim(0, LONG)));
    let expired = under(1, Some(claim(1, Duration::from_millis(1))));
    let taken_over = under(2, Some(claim(2, Duration::from_millis(1))));
    let never_claimed = under(3, Some(Uuid::now_v7()));
    let by_hand = under(3, None);
    let ended = Refresh { state: RefreshState::Succeeded, ..under(3, Some(Uuid::now_v7())) };
    let all = [&live, &expired, &taken_over, &never_claimed, &by_hand, &ended].map(Clone::clone);
    fixture.registry.begin_refreshes(&all).unwrap();
    thread::sleep(Duration::from_millis(10));
    fixture.registry.claim("w2", &ids[2..3], LONG).unwrap().unwrap();
    assert_eq!(fixture.registry.reap_orphans().unwrap(), 3);
    assert_eq!(fixture.registry.reap_orphans().unwrap(), 0);
    assert_eq!(executing(fixture), [by_hand.id, live.id]);
    let now = fixture.registry.news().unwrap().now;
    let history = fixture.registry.history(&HistoryFilter::default(), 100).unwrap();
    for reaped in history.iter().filter(|refresh| [expired.id, taken_over.id, never_claimed.id].contains(&refresh.id))
    {
        assert_eq!(reaped.state, RefreshState::Failed);
        assert_eq!(reaped.error_code, Some(Code::Internal));
        assert_eq!(reaped.error_message.as_deref(), Some("the process died"));
        let age = now.duration_since(reaped.completed_at.unwrap());
        assert!(!age.is_negative() && age.as_secs() < 30, "{reaped:?}");
    }
    assert_eq!(history.iter().find(|refresh| refresh.id == ended.id), Some(&ended));
    // The other reaper is for those that need no claim.
    let everything = Abandoned { worker: None, started_before: time("2999-01-01T00:00:00Z") };
    assert_eq!(fixture.registry.reap_executing(&everything).unwrap(), 1);
    assert_eq!(executing(fixture), [live.id]);
}

fn a_refresh_that_runs_is_never_reaped(fixture: &Fixture) {
    const ROUNDS: usize = 60;
    let (tables, ids) = made(fixture, 1);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let reaper = Registry::open(&fixture.url).unwrap();
            while done.load(Ordering::SeqCst) < ROUNDS {
                assert_eq!(reaper.reap_orphans().unwrap(), 0);
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                // Counted in any case, so that the reaper ends also if this fails.
                let round = || {
                    let claim = fixture.registry.claim("w1", &ids, LONG)?.ok_or_else(not_claimed)?;
                    let mut refresh = Refresh { claim: Some(claim.id), ..refresh_of(&tables[0], "w1") };
                    fixture.registry.begin_refreshes(std::slice::from_ref(&refresh))?;
                    refresh.state = RefreshState::Succeeded;
                    let finished = registry::FinishedRefresh { refresh, progress: None, sources: None };
                    fixture.registry.finish_refreshes(&[finished])?;
                    fixture.registry.release(&claim)
                };
                let result = round();
                done.fetch_add(if result.is_ok() { 1 } else { ROUNDS }, Ordering::SeqCst);
                result.unwrap();
            }
        });
    });
    let succeeded = HistoryFilter { state: Some(RefreshState::Succeeded), ..HistoryFilter::default() };
    assert_eq!(fixture.registry.history(&succeeded, 1000).unwrap().len(), ROUNDS);
}

fn not_claimed() -> error::Error {
    error::Error::new(Code::Conflict, "somebody else holds the table")
}
