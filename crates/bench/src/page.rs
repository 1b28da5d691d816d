//! The page that shows a run: its tables, and charts that a person reads first. Made of the figures that a run wrote down as JSON,
//! and of nothing else.

mod chart;

use std::path::Path;

use error::{Code, Error, Result};
use serde_json::Value;

use crate::page::chart::{Bars, Heat, Lines};

/// The page's name, and the folder of its charts beside it.
const PAGE: &str = "benchmarks.md";
const CHARTS: &str = "benchmarks";

/// What is measured of each shape, in the order of the bars.
const CONTESTANTS: [&str; 5] = ["query", "floor", "full", "incremental", "AUTO"];

/// The columns that say where something was measured.
const PLACE: [&str; 4] = ["orders", "files", "change", "share"];

/// A page with its charts.
#[derive(Debug)]
pub struct Page {
    /// As Markdown.
    pub text: String,
    /// Names of files and what is in them, as SVG.
    pub charts: Vec<(String, String)>,
}

/// One scene as it was written down.
struct Scene<'a> {
    name: &'a str,
    about: &'a str,
    columns: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
    notes: Vec<&'a str>,
    bounds: &'a [Value],
}

impl<'a> Scene<'a> {
    fn read(value: &'a Value) -> Option<Self> {
        let texts = |value: &'a Value| value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<&str>>>();
        Some(Self {
            name: value["name"].as_str()?,
            about: value["about"].as_str()?,
            columns: texts(&value["columns"])?,
            rows: value["rows"].as_array()?.iter().map(texts).collect::<Option<_>>()?,
            notes: texts(&value["notes"])?,
            bounds: value["bounds"].as_array()?,
        })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column == name)
    }

    fn figure(&self, row: &[&str], column: &str) -> Option<f64> {
        row.get(self.column(column)?)?.parse().ok()
    }

    fn texts(&self, row: &[&'a str], columns: &[&str]) -> Vec<&'a str> {
        columns.iter().filter_map(|name| row.get(self.column(name)?).copied()).collect()
    }
}

impl Page {
    /// The page of a report.
    ///
    /// # Errors
    /// `CONFIGURATION` for what is no report, and for one of a build that is not for use or of a clone with changes: a figure names
    /// the commit that gives it.
    pub fn of(report: &Value) -> Result<Self> {
        let wrong = |what: &str| Error::new(Code::Configuration, what.to_owned());
        let machine = &report["machine"];
        let said = |key: &str| machine[key].as_str().ok_or_else(|| wrong("this is no report of `make bench`"));
        if machine["release"] != Value::Bool(true) {
            return Err(wrong("the report is of a build that is not for use: its figures mean nothing"));
        }
        let commit = said("commit")?;
        if commit.ends_with('+') || commit == "unknown" {
            return Err(wrong("the report names no commit that gives its figures again")
                .with_hint("Commit everything, and run the benchmark again."));
        }
        let scenes = report["scenes"].as_array().ok_or_else(|| wrong("the report has no scenes"))?;
        let scenes: Option<Vec<Scene<'_>>> = scenes.iter().map(Scene::read).collect();
        let scenes = scenes.ok_or_else(|| wrong("a scene of the report cannot be read"))?;
        let mut page = Self { text: String::new(), charts: Vec::new() };
        page.line("# Benchmarks");
        page.line("");
        page.line("Written by `make bench-page` from one run of `make bench`; do not edit. What is measured, and how, stands at each table.");
        page.line("");
        page.line("| | |");
        page.line("|---|---|");
        for (what, key) in [
            ("processor", "processor"),
            ("system", "system"),
            ("DuckDB", "duckdb"),
            ("version", "version"),
            ("date", "date"),
        ] {
            page.line(&format!("| {what} | {} |", said(key)?));
        }
        page.line(&format!("| cores, memory | {}, {} GiB |", machine["cores"], machine["memory_gib"]));
        page.line(&format!("| commit | `{commit}` |"));
        if report["quick"] == Value::Bool(true) {
            page.line("");
            page.line("**A short run (`make bench-quick`), on small lakes.**");
        }
        for scene in &scenes {
            page.scene(scene);
        }
        Ok(page)
    }

    /// Writes the page and its charts into a folder.
    ///
    /// # Errors
    /// `RESOURCE` if they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let failed =
            |path: &Path, cause: std::io::Error| Error::new(Code::Resource, format!("{}: {cause}", path.display()));
        let charts = folder.join(CHARTS);
        std::fs::create_dir_all(&charts).map_err(|cause| failed(&charts, cause))?;
        let page = folder.join(PAGE);
        std::fs::write(&page, &self.text).map_err(|cause| failed(&page, cause))?;
        for (name, svg) in &self.charts {
            let path = charts.join(name);
            std::fs::write(&path, svg).map_err(|cause| failed(&path, cause))?;
        }
        Ok(())
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn chart(&mut self, name: &str, caption: &str, svg: String) {
        let file = format!("{name}.svg");
        self.line("");
        self.line(&format!("![{caption}]({CHARTS}/{file})"));
        self.charts.push((file, svg));
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        for text in ["", &format!("## {}", scene.name), "", scene.about] {
            self.line(text);
        }
        match scene.name {
            "refresh" => self.refreshes(scene),
            "aging" => self.aging(scene),
            _ => {}
        }
        for note in &scene.notes {
            self.line("");
            self.line(note);
        }
        self.line("");
        for bound in scene.bounds {
            let (value, limit) =
                (bound["value"].as_f64().unwrap_or_default(), bound["limit"].as_f64().unwrap_or_default());
            let (side, met) = match bound["kind"].as_str() {
                Some("AtMost") => ("at most", value <= limit),
                _ => ("at least", value >= limit),
            };
            let verdict = if met { "met" } else { "**missed**" };
            let what = bound["what"].as_str().unwrap_or_default();
            self.line(&format!("- {verdict}: {what} is {value:.2}, {side} {limit}"));
        }
        for text in ["", "<details><summary>All figures</summary>", "", &format!("| {} |", scene.columns.join(" | "))]
        {
            self.line(text);
        }
        self.line(&format!("|{}", " --- |".repeat(scene.columns.len())));
        for row in &scene.rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
        self.line("");
        self.line("</details>");
    }

    /// What incremental refreshes gain everywhere, what all take at one place of each size, and where full wins.
    fn refreshes(&mut self, scene: &Scene<'_>) {
        let mut places: Vec<Vec<&str>> = Vec::new();
        let mut shapes: Vec<&str> = Vec::new();
        for row in &scene.rows {
            let (place, shape) = (scene.texts(row, &PLACE), scene.texts(row, &["shape"]));
            if !places.contains(&place) {
                places.push(place);
            }
            shapes.extend(
                shape.first().filter(|shape| !shapes.contains(shape)).copied().into_iter().collect::<Vec<_>>(),
            );
        }
        let find = |shape: &str, place: &[&str]| {
            scene.rows.iter().find(|row| scene.texts(row, &["shape"]) == [shape] && scene.texts(row, &PLACE) == place)
        };
        let heat = Heat {
            title: "Full refresh as a multiple of the incremental one",
            columns: places.iter().map(|place| place.join(" · ")).collect(),
            rows: shapes
                .iter()
                .map(|shape| {
                    let gain = |place: &Vec<&str>| scene.figure(find(shape, place)?, "full / incremental");
                    ((*shape).to_owned(), places.iter().map(gain).collect())
                })
                .collect(),
        };
        self.chart(
            "gain",
            "how many times as long a full refresh takes as an incremental one, by shape and place",
            heat.svg(),
        );
        let mut sizes: Vec<&str> = Vec::new();
        for place in &places {
            let Some(size) = place.first().filter(|size| !sizes.contains(size)) else { continue };
            sizes.push(size);
            let bars = Bars {
                title: format!(
                    "Milliseconds at {} orders, files: {}, {} changes of {}",
                    place[0], place[1], place[2], place[3]
                ),
                series: CONTESTANTS.to_vec(),
                groups: shapes
                    .iter()
                    .filter_map(|shape| {
                        let row = find(shape, place)?;
                        let figures = CONTESTANTS.iter().map(|name| scene.figure(row, name).unwrap_or_default());
                        Some(((*shape).to_owned(), figures.collect()))
                    })
                    .collect(),
            };
            self.chart(&format!("refresh-{size}"), &format!("what refreshes take over {size} orders"), bars.svg());
        }
        let full_wins: Vec<String> = scene
            .rows
            .iter()
            .filter(|row| scene.figure(row, "full / incremental").is_some_and(|gain| gain < 1.0))
            .map(|row| format!("{} ({})", scene.texts(row, &["shape"]).join(""), scene.texts(row, &PLACE).join(", ")))
            .collect();
        self.line("");
        self.line(&match full_wins.len() {
            0 => "Full won nowhere.".to_owned(),
            count => format!("**Full won in {count} of {} places**: {}.", scene.rows.len(), full_wins.join("; ")),
        });
    }

    fn aging(&mut self, scene: &Scene<'_>) {
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for row in &scene.rows {
            let name = scene.texts(row, &["table", "compaction"]).join(", compaction ");
            let (Some(x), Some(y)) = (scene.figure(row, "refreshes"), scene.figure(row, "read / fresh")) else {
                continue;
            };
            match lines.iter_mut().find(|(known, _)| *known == name) {
                Some((_, points)) => points.push((x, y)),
                None => lines.push((name, vec![(x, y)])),
            }
        }
        let chart = Lines {
            title: "Reading a table as a multiple of reading a fresh copy, by refreshes",
            level: Some(1.5),
            lines,
        };
        self.chart("aging", "how tables age with and without compaction", chart.svg());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn report(commit: &str, release: bool) -> Value {
        let columns = [
            "shape",
            "orders",
            "files",
            "change",
            "share",
            "query",
            "floor",
            "full",
            "incremental",
            "AUTO",
            "full / incremental",
        ];
        json!({
            "machine": {"processor": "x & y", "cores": 2, "memory_gib": 8, "system": "linux", "duckdb": "v1", "version": "1",
                        "commit": commit, "date": "today", "release": release},
            "quick": true,
            "scenes": [
                {"name": "refresh", "about": "About.", "columns": columns, "notes": ["A note."],
                 "rows": [["filter <1>", "1000", "one", "scattered", "1 %", "5", "6", "20", "8", "9", "2.50"],
                          ["fold", "1000", "one", "scattered", "1 %", "5", "6", "7", "14", "9", "0.50"]],
                 "bounds": [{"what": "regret", "value": 1.25, "limit": 1.1, "kind": "AtMost"}]},
                {"name": "aging", "about": "About.", "columns": ["table", "compaction", "refreshes", "read / fresh"],
                 "rows": [["t", "on", "10", "1.1"], ["t", "on", "20", "1.2"], ["t", "off", "10", "1.4"]], "notes": [], "bounds": []},
            ],
        })
    }

    #[test]
    fn a_page_shows_what_was_measured_and_where_full_won() {
        let page = Page::of(&report("abc1234", true)).unwrap();
        for part in [
            "| commit | `abc1234` |",
            "A short run",
            "**Full won in 1 of 2 places**: fold (1000, one, scattered, 1 %).",
            "- **missed**: regret is 1.25, at most 1.1",
            "| fold | 1000 | one | scattered | 1 % | 5 | 6 | 7 | 14 | 9 | 0.50 |",
            "](benchmarks/refresh-1000.svg)",
        ] {
            assert!(page.text.contains(part), "{part}\n{}", page.text);
        }
        let names: Vec<&str> = page.charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["gain.svg", "refresh-1000.svg", "aging.svg"]);
        for (name, svg) in &page.charts {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{name}");
        }
        assert!(page.charts[0].1.contains("filter &lt;1&gt;") && page.charts[0].1.contains("2.5"));
    }

    #[test]
    fn figures_that_nobody_can_have_again_are_not_shown() {
        assert!(Page::of(&report("abc1234+", true)).is_err());
        assert!(Page::of(&report("abc1234", false)).is_err());
        assert!(Page::of(&json!({})).is_err());
    }
}
