//! What is printed, as data: rows under named columns, or one record of fields. How it looks as a table for a person,
//! as JSON and as CSV is decided here and nowhere else.

use comfy_table::{CellAlignment, ContentArrangement, ContentLineStyle, Table, TableStyle, presets};
use serde_json::{Map, Value};

/// One value: what a program reads, and what a person reads where that differs (`3 MB` for 3145728).
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    value: Value,
    shown: Option<String>,
}

impl Cell {
    /// A value that a person reads in another form.
    pub fn shown(value: impl Into<Value>, shown: impl Into<String>) -> Self {
        Self { value: value.into(), shown: Some(shown.into()) }
    }

    /// No value.
    pub fn none() -> Self {
        Self { value: Value::Null, shown: None }
    }

    fn for_person(&self, null: &str) -> String {
        match &self.shown {
            Some(shown) => shown.clone(),
            None => plain(&self.value).unwrap_or_else(|| null.to_owned()),
        }
    }

    /// What a program reads.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What a person reads.
    pub fn text(&self) -> String {
        self.for_person("")
    }

    fn is_number(&self) -> bool {
        self.value.is_number()
    }
}

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { value: value.into(), shown: None }
    }
}

/// A value as text without quotes; `None` for null.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(plain).collect::<Vec<_>>().join(", ")),
        other => Some(other.to_string()),
    }
}

/// A value that DuckDB rendered as text, as what its type says.
fn typed(value: Option<&str>, data_type: &str) -> Cell {
    let Some(text) = value else { return Cell::none() };
    let number = match data_type {
        "BOOLEAN" | "Boolean" => return Cell::shown(text == "true", text),
        // The second spelling is that of statements which cannot be asked for their types beforehand.
        "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT" | "Int8" | "Int16" | "Int32" | "Int64" => {
            text.parse::<i64>().ok().map(Value::from)
        }
        "UTINYINT" | "USMALLINT" | "UINTEGER" | "UBIGINT" | "UInt8" | "UInt16" | "UInt32" | "UInt64" => {
            text.parse::<u64>().ok().map(Value::from)
        }
        // HUGEINT and DECIMAL may hold more than a JSON reader keeps, NaN has no number in JSON: these stay text.
        "FLOAT" | "DOUBLE" | "Float32" | "Float64" => {
            text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from)
        }
        _ => None,
    };
    number.map_or_else(|| text.into(), |number| Cell::shown(number, text))
}

/// Names and values as a JSON object.
pub fn object(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

/// Lines between columns, none between rows: a tree must not be cut.
const TERMINAL: TableStyle = presets::UTF8_FULL_CONDENSED
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .content_lines(ContentLineStyle::new('│', '│', '│'));

/// A text longer than this may be wrapped before a column is gone without.
const WRAPPED: usize = 32;

/// Rows under named columns.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    null: &'static str,
    /// What a terminal that is too narrow goes without, the first first.
    dispensable: Vec<&'static str>,
}

impl Listing {
    /// No rows yet.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Columns that a terminal goes without if it is too narrow for all; the first goes first.
    pub fn dispensable(mut self, columns: impl IntoIterator<Item = &'static str>) -> Self {
        self.dispensable = columns.into_iter().collect();
        self
    }

    /// How a person sees that there is no value.
    pub fn null(mut self, null: &'static str) -> Self {
        self.null = null;
        self
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Columns and values as a person reads them.
    pub fn texts(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let row = |row: &Vec<Cell>| row.iter().map(|cell| cell.for_person(self.null)).collect();
        (self.columns.clone(), self.rows.iter().map(row).collect())
    }

    /// For a person. With a width, lines and wrapping as a terminal of that width allows, without the dispensable columns that
    /// do not fit; without, plain columns that `grep` and `awk` like.
    pub fn to_table(&self, width: Option<u16>) -> String {
        let fits = width.is_none_or(|width| self.width(&self.columns) <= usize::from(width));
        let headers: Vec<String> = match fits {
            true => self.columns.clone(),
            false => self.columns.iter().enumerate().map(|(at, name)| folded(name, self.widest(at))).collect(),
        };
        let too_many = self.dispensable.iter().find(|name| self.columns.iter().any(|column| column == *name));
        if let (Some(width), Some(too_many)) = (width, too_many)
            && self.width(&headers) > usize::from(width)
        {
            return self.without(too_many).to_table(Some(width));
        }
        let mut table = Table::new();
        match width {
            Some(width) => {
                table.load_style(TERMINAL);
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            None => {
                table.load_style(presets::NOTHING);
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.set_header(headers);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell.for_person(self.null)).collect::<Vec<_>>());
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            if width.is_none() {
                column.set_padding((0, 2));
            }
            let mut values = self.rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.value.is_null());
            if values.next().is_some_and(Cell::is_number) && values.all(Cell::is_number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// How wide it is on a terminal if nothing is wrapped.
    fn width(&self, headers: &[String]) -> usize {
        let widest = |(at, header): (usize, &String)| self.widest(at).max(longest_line(header));
        // A blank on both sides of each value, a line between, before and after.
        headers.iter().enumerate().map(widest).map(|width| width + 3).sum::<usize>() + 1
    }

    /// The width of the widest value of a column, if it is not so wide that it is better wrapped.
    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| longest_line(&cell.for_person(self.null)));
        widths.max().unwrap_or_default().min(WRAPPED)
    }

    fn without(&self, column: &str) -> Self {
        let keep: Vec<bool> = self.columns.iter().map(|name| name != column).collect();
        let kept = |row: &Vec<Cell>| {
            row.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(cell, _)| cell.clone()).collect()
        };
        Self {
            columns: self.columns.iter().filter(|name| *name != column).cloned().collect(),
            rows: self.rows.iter().map(kept).collect(),
            null: self.null,
            dispensable: self.dispensable.clone(),
        }
    }

    /// As a JSON array of objects, one object per line.
    pub fn to_json(&self) -> String {
        if self.rows.is_empty() {
            return "[]".to_owned();
        }
        let rows: Vec<String> =
            self.rows.iter().map(|row| format!("  {}", Value::Object(self.object(row)))).collect();
        format!("[\n{}\n]", rows.join(",\n"))
    }

    fn object(&self, row: &[Cell]) -> Map<String, Value> {
        let mut object = Map::new();
        for (column, cell) in self.columns.iter().zip(row) {
            // Two columns of one name are legal in a SELECT; JSON must not lose the second.
            let mut key = column.clone();
            let mut number = 1;
            while object.contains_key(&key) {
                key = format!("{column}_{number}");
                number += 1;
            }
            object.insert(key, cell.value.clone());
        }
        object
    }

    /// As a JSON array, to stand inside another value.
    pub fn to_value(&self) -> Value {
        self.rows.iter().map(|row| Value::Object(self.object(row))).collect()
    }

    /// The rows of a query. Numbers and booleans are such for a program; a person sees NULL as `NULL`.
    pub fn from_rows(rows: &lake::Rows) -> Self {
        let mut listing = Self::new(rows.columns.iter().map(|(name, _)| name.clone())).null("NULL");
        for row in &rows.rows {
            let cells =
                row.iter().zip(&rows.columns).map(|(value, (_, data_type))| typed(value.as_deref(), data_type));
            listing.row(cells.collect());
        }
        listing
    }

    /// As CSV after RFC 4180, with a header. No value is an empty field.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        // Writing into memory cannot fail; rows of another length are the only other reason, and `flexible` is off
        // on purpose, so such a row would be missing in every test.
        let _ = writer.write_record(&self.columns);
        for row in &self.rows {
            let _ = writer.write_record(row.iter().map(|cell| plain(&cell.value).unwrap_or_default()));
        }
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
    }
}

fn longest_line(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

/// The name of a column over several lines, broken behind underscores so that no line is wider than its values unless a word is.
fn folded(name: &str, width: usize) -> String {
    let words: Vec<&str> = name.split_inclusive('_').collect();
    let width = words.iter().map(|word| word.len()).fold(width, usize::max);
    let mut lines = String::new();
    let mut line = 0;
    for word in words {
        if line > 0 && line + word.len() > width {
            lines.push('\n');
            line = 0;
        }
        lines.push_str(word);
        line += word.len();
    }
    lines
}

/// One thing, field by field.
#[derive(Clone, Debug, Default)]
pub struct Record {
    fields: Vec<(String, Cell)>,
}

impl Record {
    /// Adds a field.
    pub fn field(&mut self, name: impl Into<String>, cell: impl Into<Cell>) -> &mut Self {
        self.fields.push((name.into(), cell.into()));
        self
    }

    /// For a person: one field per line. Fields without a value are left out.
    pub fn to_table(&self) -> String {
        let width = self.fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for (name, cell) in &self.fields {
            let text = cell.for_person("");
            if text.is_empty() {
                continue;
            }
            let mut parts = text.lines();
            lines.push(format!("{name:width$}  {}", parts.next().unwrap_or_default()));
            lines.extend(parts.map(|part| format!("{:width$}  {part}", "")));
        }
        lines.join("\n")
    }

    /// As a JSON object.
    pub fn to_json(&self) -> String {
        let object: Map<String, Value> =
            self.fields.iter().map(|(name, cell)| (name.clone(), cell.value.clone())).collect();
        serde_json::to_string_pretty(&Value::Object(object)).unwrap_or_default()
    }

    /// As CSV: a header and one line.
    pub fn to_csv(&self) -> String {
        let mut listing = Listing::new(self.fields.iter().map(|(name, _)| name.clone()));
        listing.row(self.fields.iter().map(|(_, cell)| cell.clone()).collect());
        listing.to_csv()
    }
}

/// A size for a person: `512 B`, `1.5 MB`.
pub fn bytes(count: u64) -> Cell {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return Cell::shown(count, format!("{count} B"));
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = count as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    Cell::shown(count, format!("{size:.1} {}", UNITS[unit]))
}

/// A duration for a person (`85 ms`, `4m 12s`), seconds for a program.
pub fn duration(duration: std::time::Duration) -> Cell {
    Cell::shown((duration.as_secs_f64() * 1000.0).round() / 1000.0, duration_text(duration))
}

/// A duration in its two greatest units.
pub fn duration_text(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, name: &str, small: u64, small_name: &str| {
        if small == 0 { format!("{large}{name}") } else { format!("{large}{name} {small}{small_name}") }
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => pair(seconds / 60, "m", seconds % 60, "s"),
        3600..=86_399 => pair(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A moment: to the second for a person, RFC 3339 for a program; both UTC.
pub fn moment(timestamp: Option<jiff::Timestamp>) -> Cell {
    match timestamp {
        Some(timestamp) => Cell::shown(timestamp.to_string(), timestamp.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        None => Cell::none(),
    }
}

/// The cell of a value that may be missing.
pub fn optional<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
    value.map_or_else(Cell::none, cell)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample() -> Listing {
        let mut listing = Listing::new(["name", "rows", "note"]);
        listing.row(vec!["daily".into(), 12.into(), Cell::none()]);
        listing.row(vec!["by, \"carrier\"".into(), 3.into(), "two\nlines".into()]);
        listing
    }

    #[test]
    fn plain_tables_have_columns_and_no_lines() {
        insta::assert_snapshot!(sample().to_table(None), @r#"
        name           rows  note
        daily            12
        by, "carrier"     3  two
                             lines
        "#);
    }

    #[test]
    fn a_terminal_gets_lines_and_wraps() {
        for line in sample().to_table(Some(30)).lines() {
            assert!(line.chars().count() <= 30, "{line}");
        }
    }

    #[test]
    fn a_narrow_terminal_folds_names_and_goes_without_what_is_dispensable() {
        let mut listing = Listing::new(["name", "last_refresh_status", "bytes"]).dispensable(["bytes"]);
        listing.row(vec!["daily".into(), "SUCCEEDED".into(), 12.into()]);
        insta::assert_snapshot!(listing.to_table(Some(32)), @r"
        ┌───────┬───────────┬───────┐
        │ name  │ last_     │ bytes │
        │       │ refresh_  │       │
        │       │ status    │       │
        ╞═══════╪═══════════╪═══════╡
        │ daily │ SUCCEEDED │    12 │
        └───────┴───────────┴───────┘
        ");
        insta::assert_snapshot!(listing.to_table(Some(24)), @r"
        ┌───────┬───────────┐
        │ name  │ last_     │
        │       │ refresh_  │
        │       │ status    │
        ╞═══════╪═══════════╡
        │ daily │ SUCCEEDED │
        └───────┴───────────┘
        ");
        assert!(listing.to_table(None).contains("last_refresh_status  bytes"), "a pipe gets all");
    }

    #[test]
    fn json_keeps_types_and_columns_of_the_same_name() {
        insta::assert_snapshot!(sample().to_json(), @r#"
        [
          {"name":"daily","rows":12,"note":null},
          {"name":"by, \"carrier\"","rows":3,"note":"two\nlines"}
        ]
        "#);
        let mut twice = Listing::new(["a", "a"]);
        twice.row(vec![1.into(), 2.into()]);
        assert_eq!(twice.to_json(), "[\n  {\"a\":1,\"a_1\":2}\n]");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        insta::assert_snapshot!(sample().to_csv(), @r#"
        name,rows,note
        daily,12,
        "by, ""carrier""",3,"two
        lines"
        "#);
    }

    #[test]
    fn sizes_and_durations_are_short() {
        let shown = |cell: Cell| cell.for_person("");
        assert_eq!(shown(bytes(999)), "999 B");
        assert_eq!(shown(bytes(999_999)), "1.0 MB");
        assert_eq!(shown(bytes(1_500_000)), "1.5 MB");
        assert_eq!(duration_text(Duration::from_millis(85)), "85 ms");
        assert_eq!(duration_text(Duration::from_secs(252)), "4m 12s");
        assert_eq!(duration_text(Duration::from_secs(7200)), "2h");
        assert_eq!(duration_text(Duration::from_secs(90_000)), "1d 1h");
    }
}
