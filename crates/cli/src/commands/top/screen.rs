//! The live view: takes the whole terminal, looks every second, and gives the terminal back. The one place beside the
//! printer that writes to standard output.

use std::time::{Duration, Instant};

use ::refresh::Activity;
use error::{Code, Error, Result};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

use super::{Section, sections};

/// How long one look stands.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what `look` finds, every second anew, until `q`, Escape or Ctrl-C. What cannot be asked for now is said and asked for
/// again.
pub fn watch(look: &dyn Fn() -> Result<Activity>) -> Result<()> {
    let mut terminal = ratatui::try_init().map_err(failure)?;
    let result = (|| {
        let mut last: Option<Activity> = None;
        loop {
            let looked = Instant::now();
            let problem = match look() {
                Ok(activity) => {
                    last = Some(activity);
                    None
                }
                Err(error) => Some(format!("{}: {}", error.code(), lake::mask(error.message()))),
            };
            terminal.draw(|frame| draw(frame, last.as_ref(), problem.as_deref())).map_err(failure)?;
            while let Some(left) = INTERVAL.checked_sub(looked.elapsed()) {
                if !event::poll(left).map_err(failure)? {
                    break;
                }
                let happened = event::read().map_err(failure)?;
                if is_end(&happened) {
                    return Ok(());
                }
                if matches!(happened, Event::Resize(..)) {
                    terminal.draw(|frame| draw(frame, last.as_ref(), problem.as_deref())).map_err(failure)?;
                }
            }
        }
    })();
    ratatui::restore();
    result
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn failure(cause: std::io::Error) -> Error {
    Error::new(Code::Resource, "cannot draw on the terminal")
        .with_hint("--once prints it once and needs no terminal.")
        .with_source(cause)
}

/// Draws one look: what there is of workers and refreshes, and as many tables as fit.
fn draw(frame: &mut Frame<'_>, activity: Option<&Activity>, problem: Option<&str>) {
    let Some(activity) = activity else {
        frame.render_widget(Paragraph::new(problem.unwrap_or_default()), frame.area());
        return;
    };
    let sections = sections(activity);
    // A header, and a line for each row or for saying that there is none; no more than a third for the first two.
    let third = frame.area().height / 3;
    let lines = |section: &Section| u16::try_from(section.listing.len().max(1)).unwrap_or(u16::MAX).saturating_add(2);
    let [head, workers, running, tables] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lines(&sections[0]).min(third)),
        Constraint::Length(lines(&sections[1]).min(third)),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    frame.render_widget(headline(activity.at, problem), head);
    for (section, area) in sections.iter().zip([workers, running, tables]) {
        draw_section(frame, section, area);
    }
}

fn headline(at: Timestamp, problem: Option<&str>) -> Line<'static> {
    let time = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    match problem {
        Some(problem) => Line::styled(format!("{time}, not since: {problem}"), Style::new().fg(Color::Red)),
        None => Line::raw(format!("dynamic-tables top, {time}, q quits")),
    }
}

fn draw_section(frame: &mut Frame<'_>, section: &Section, area: Rect) {
    let count = section.listing.len();
    let block = Block::new().borders(Borders::TOP).title(format!(" {} ({count}) ", section.title));
    if count == 0 {
        frame.render_widget(Paragraph::new(section.nothing).block(block), area);
        return;
    }
    let (headers, rows) = section.listing.texts();
    let width = |column: usize| {
        let cells = rows.iter().map(|row: &Vec<String>| row[column].chars().count());
        let widest = cells.chain([headers[column].chars().count()]).max().unwrap_or_default();
        Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
    };
    let widths: Vec<Constraint> = (0..headers.len()).map(width).collect();
    let header = Row::new(headers).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.into_iter().map(|row| {
        let style = color(&row).map_or_else(Style::new, |color| Style::new().fg(color));
        Row::new(row).style(style)
    });
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2).block(block), area);
}

/// Red is what went wrong, yellow what is late, green what is being done, grey what sleeps.
fn color(row: &[String]) -> Option<Color> {
    let says = |word: &str| row.iter().any(|cell| cell == word);
    [
        ("REFRESHING", Color::Green),
        ("FAILED", Color::Red),
        ("UPSTREAM_FAILED", Color::Red),
        ("EXPIRED", Color::Red),
        ("GONE", Color::Red),
        ("DUE", Color::Yellow),
        ("SUSPENDED", Color::DarkGray),
    ]
    .into_iter()
    .find(|(word, _)| says(word))
    .map(|(_, color)| color)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ::sql::names::TableName;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use registry::{ClaimedTable, Refresh, RefreshTrigger, ReportedWorker, WorkerRecord, WorkerState};
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn busy() -> Activity {
        let worker = WorkerRecord {
            id: "host:7:ab".to_owned(),
            host: "host".to_owned(),
            process: 7,
            version: "0.1.0".to_owned(),
            queues: vec!["default".to_owned()],
            concurrency: 2,
            state: WorkerState::Running,
        };
        let reported = |id: &str, is_live| ReportedWorker {
            worker: WorkerRecord { id: id.to_owned(), ..worker.clone() },
            started_at: at(0),
            heartbeat_at: at(55),
            is_live,
        };
        let mut refresh = Refresh::begin(
            uuid(1),
            TableName::new("main", "daily"),
            RefreshTrigger::Scheduled,
            Some("host:7:ab".to_owned()),
        );
        refresh.started_at = at(40);
        let claim = |table, name: &str, worker: &str, is_live| ClaimedTable {
            table,
            name: TableName::new("main", name),
            worker: worker.to_owned(),
            claim: uuid(9),
            claimed_at: at(40),
            heartbeat_at: at(55),
            is_live,
        };
        Activity {
            at: at(60),
            workers: vec![reported("host:7:ab", true), reported("host:8:cd", false)],
            claims: vec![claim(uuid(1), "daily", "host:7:ab", true), claim(uuid(2), "weekly", "host:8:cd", false)],
            running: vec![refresh],
            tables: Vec::new(),
        }
    }

    fn uuid(number: u64) -> Uuid {
        Uuid::from_u64_pair(0, number)
    }

    fn drawn(activity: Option<&Activity>, problem: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(96, 15)).unwrap();
        terminal.draw(|frame| draw(frame, activity, problem)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn workers_and_what_they_are_at() {
        insta::assert_snapshot!(drawn(Some(&busy()), None), @r#"
        "dynamic-tables top, 2026-01-01 00:01:00 UTC, q quits                                            "
        " workers (2) ───────────────────────────────────────────────────────────────────────────────────"
        "worker     state    claims  concurrency  queues   version  started_at           last_report     "
        "host:7:ab  RUNNING  1       2            default  0.1.0    2026-01-01 00:00:00  5.0s            "
        "host:8:cd  GONE     0       2            default  0.1.0    2026-01-01 00:00:00  5.0s            "
        " running (2) ───────────────────────────────────────────────────────────────────────────────────"
        "table        running  trigger    worker     claim                                               "
        "main.daily   20s      SCHEDULED  host:7:ab  LIVE                                                "
        "main.weekly                      host:8:cd  EXPIRED                                             "
        " tables (0) ────────────────────────────────────────────────────────────────────────────────────"
        "there is no dynamic table                                                                       "
        "                                                                                                "
        "                                                                                                "
        "                                                                                                "
        "                                                                                                "
        "#);
    }

    #[test]
    fn what_cannot_be_asked_for_is_said_over_what_was_known() {
        let screen = drawn(Some(&busy()), Some("CONNECTION: no answer"));
        assert!(screen.contains("2026-01-01 00:01:00 UTC, not since: CONNECTION: no answer"), "{screen}");
        assert!(screen.contains("host:7:ab"), "{screen}");
        assert!(drawn(None, Some("CONNECTION: no answer")).contains("CONNECTION: no answer"));
    }

    #[test]
    fn it_fits_the_smallest_terminal() {
        for (width, height) in [(1, 1), (10, 3), (20, 6), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, Some(&busy()), None)).unwrap();
        }
    }
}
