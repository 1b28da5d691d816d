//! The tester itself: it knows every fail point, finds what it is made to find, and finds nothing in the product.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failpoint::POINTS;
use faults::place::Place;
use faults::plan::{Deck, Fixed, Kind, Round};
use faults::program::Program;
use faults::reader::{Reader, Seen};
use faults::round::run;
use faults::tables::{SOURCES, TABLES, definitions};
use faults::tally::Tally;
use faults::writer::newest_snapshot;
use lake::Session;

fn program() -> Program {
    Program::find(Some(Path::new(env!("CARGO_BIN_EXE_dynamic-tables-with-faults")))).unwrap()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_fail_point_of_the_sources_is_known_and_the_other_way_round() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("failpoint") && path.join("src").is_dir() {
            sources(&path.join("src"), &mut texts);
        }
    }
    let names = texts.iter().flat_map(|text| text.split("fail_point!(\"").skip(1));
    let named: BTreeSet<&str> = names.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(named, POINTS.into_iter().collect::<BTreeSet<_>>());
}

/// Cargo unites the features of what it builds together; what people get is built alone.
#[test]
fn the_program_as_it_is_built_for_use_has_no_fail_points() {
    let tree = |package: &str| {
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            package,
        ]);
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let has_them = |tree: &str| tree.lines().any(|line| line.starts_with("fail v"));
    assert!(!has_them(&tree("dynamic-tables")));
    assert!(has_them(&tree("dynamic-tables-faults")));
}

/// A lake with all tables, nothing running.
fn quiet() -> (Place, Session) {
    let mut round =
        Round::draw(7, 0, Fixed { catalog: Some(Kind::Sqlite), registry: Some(Kind::Sqlite), ..Fixed::default() });
    round.disturbed_creation = false;
    let place = Place::new(&round, None).unwrap();
    let session = place.session().unwrap();
    for statement in SOURCES {
        session.execute(statement).unwrap();
    }
    std::fs::write(place.folder().join("tables.sql"), definitions(1)).unwrap();
    let program = program();
    let mut command = program.command();
    command.args(["create", "-f", "tables.sql"]).args(place.arguments(None));
    let run = program.run(command, place.folder(), Duration::from_secs(300)).unwrap().unwrap();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    (place, session)
}

/// Runs the program; its exit code, none if it was killed.
fn run_program(place: &Place, arguments: &[&str], faults: Option<&str>) -> Option<i32> {
    let program = program();
    let mut command = program.command();
    command.args(arguments).args(place.arguments(None));
    if let Some(faults) = faults {
        command.env(failpoint::FAULTS, faults);
    }
    let run = program.run(command, place.folder(), Duration::from_secs(300)).unwrap().unwrap();
    assert!(run.code != Some(2), "{}{}", run.stdout, run.stderr);
    run.code
}

#[test]
fn a_renaming_that_was_killed_between_lake_and_registry_is_finished() {
    let (place, session) = quiet();
    let named = |name: &str| session.query(&format!("SELECT count(*) FROM lake.main.{name}")).is_ok();
    for (next, finished) in [
        (vec!["rename", "copies", "said_again"], "said_again"),
        (vec!["refresh", "said_again"], "refreshed"),
        (vec!["drop", "refreshed", "--cascade"], "dropped"),
    ] {
        let before = if next[0] == "rename" { "copies" } else { next[1] };
        assert_eq!(run_program(&place, &["rename", before, finished], Some("renamed=kill")), None);
        assert!(named(finished) && !named(before));
        assert_eq!(run_program(&place, &next, None), Some(0), "{next:?}");
        assert_eq!(named(finished), finished != "dropped");
        assert_eq!(run_program(&place, &["verify"], None), Some(0));
    }
    assert_eq!(run_program(&place, &["describe", "refreshed"], None), Some(1));
}

fn look_for_a_moment(session: &Session) -> Seen {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(3));
            stop.store(true, Ordering::SeqCst);
        });
        Reader::new(session).unwrap().read(&stop).unwrap()
    })
}

#[test]
fn what_is_lost_doubled_or_torn_is_seen() {
    let (_place, session) = quiet();
    let created = newest_snapshot(&session).unwrap();
    let seen = look_for_a_moment(&session);
    assert!(seen.looks > 0 && seen.comparisons > 0, "{seen:?}");
    assert!(seen.disagreements.is_empty() && seen.wrong.is_empty(), "{seen:?}");

    session.execute("DELETE FROM lake.main.copies WHERE id IN (3, 4)").unwrap();
    session.execute("INSERT INTO lake.main.appended SELECT * FROM lake.main.appended WHERE id < 3").unwrap();
    session.execute("UPDATE lake.main.averages SET mean = mean + 1 WHERE grp = 5").unwrap();
    let reader = Reader::new(&session).unwrap();
    let mut tally = Tally::default();
    for table in &TABLES {
        let wrong = reader.compare(table).unwrap();
        let figures = wrong.as_ref().map_or((0, 0), |wrong| (wrong.missing, wrong.surplus));
        let expected = match table.name {
            "copies" => (2, 0),
            "appended" => (0, 3),
            "averages" => (1, 1),
            _ => (0, 0),
        };
        assert_eq!(figures, expected, "{}", table.name);
        wrong.iter().for_each(|wrong| tally.wrong(wrong));
    }
    assert_eq!((tally.lost, tally.doubled), (2, 2), "{tally}");

    let seen = look_for_a_moment(&session);
    assert_eq!(seen.disagreements.len(), 2, "{:?}", seen.disagreements);
    assert!(seen.disagreements.iter().all(|seen| seen.said.starts_with("copies")), "{:?}", seen.disagreements);
    // Nothing was published since: there is only what there was then.
    let then = Reader::new(&session).unwrap().look_back(created).unwrap();
    assert_eq!((then.looks, then.disagreements.len()), (1, 0), "{:?}", then.disagreements);
}

#[test]
fn faults_come_by_at_every_step() {
    let mut deck = Deck::new(1);
    let dealt: BTreeSet<&str> = (0..400).map(|_| deck.deal(true).point).collect();
    let missing: Vec<&str> = POINTS.into_iter().filter(|point| !dealt.contains(point)).collect();
    assert_eq!(
        missing,
        ["first-refresh", "watermarks-created", "renamed"],
        "these come by when tables are created or renamed"
    );
    assert!((0..400).all(|_| deck.deal(false).action != "cut"));
}

fn nothing_is_lost(round: u64) {
    let program = program();
    // One thread: with more, DuckLake over SQLite can read rows that were deleted while another process commits.
    let fixed = Fixed { workers: Some(2), threads: Some(1), ..Fixed::default() };
    let mut round = Round::draw(20, round, fixed);
    round.faults = 6;
    let keep = std::env::var_os("FAULTS_KEEP");
    let outcome = run(&program, &round, &mut Deck::new(round.number), keep.as_deref().map(Path::new)).unwrap();
    let tally = outcome.tally;
    assert!(tally.number() > 0 && outcome.written.commits > 0 && outcome.seen.looks > 0, "{tally}");
    assert!(tally.is_clean(), "{tally}\n{}", tally.problems.join("\n"));
}

#[test]
fn nothing_is_lost_over_sqlite() {
    nothing_is_lost(0);
}

#[test]
fn nothing_is_lost_over_postgres() {
    nothing_is_lost(1);
}
