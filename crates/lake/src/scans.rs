//! What statements read of the lake's tables, as the engine's profile of each tells it.

use std::cell::RefCell;

use duckdb::profiling::ProfilingInfo;
use error::Result;

use crate::Session;
use crate::failure::translate;

/// What a statement read of a table of the lake, in one place of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The table, without its schema.
    pub table: String,
    /// Files that were opened; the others were left out by what is known of their least and greatest values.
    pub files: u64,
    /// Rows that came out of it. Row groups that were left out are not in it, but all rows of those that were read may be.
    pub rows: u64,
    /// By what files, row groups and rows were left out, as the engine says it: nothing if by nothing.
    pub filters: String,
}

/// The scans since they are watched; `None` if they are not.
pub(crate) type Watched = RefCell<Option<Vec<Scan>>>;

impl Session {
    /// From now on keeps what statements read, or no longer. It costs a little for each statement.
    pub fn watch_scans(&self, is_on: bool) -> Result<()> {
        let sql = match is_on {
            true => "PRAGMA enable_profiling = 'no_output'; PRAGMA profiling_mode = 'standard'",
            false => "PRAGMA disable_profiling",
        };
        self.connection.execute_batch(sql).map_err(|failure| translate(failure, sql, 0))?;
        *self.scans.borrow_mut() = is_on.then(Vec::new);
        Ok(())
    }

    /// What was read since scans are watched, or were last taken, in the order of the statements.
    pub fn take_scans(&self) -> Vec<Scan> {
        self.scans.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Keeps what the statement that just ended read.
    pub(crate) fn follow_scans(&self) {
        if let Some(scans) = self.scans.borrow_mut().as_mut()
            && let Some(profile) = self.connection.get_profiling_info()
        {
            collect(&profile, scans);
        }
    }
}

/// The scans of the lake in a part of a plan; temporary tables and the catalog itself are none.
fn collect(node: &ProfilingInfo, scans: &mut Vec<Scan>) {
    let said = |name: &str| node.metrics.get(name).map(String::as_str).unwrap_or_default();
    let details = details(said("EXTRA_INFO"));
    let detail = |wanted: &str| details.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    // What writes has no table there.
    if let Some(table) = detail("Table").filter(|_| said("OPERATOR_NAME").starts_with("DUCKLAKE_")) {
        let all = ["Filters", "Dynamic Filters"].into_iter().filter_map(detail);
        let mut filters: Vec<&str> = Vec::new();
        for filter in all.flat_map(str::lines).flat_map(|line| line.split(" AND ")) {
            let filter = filter.trim().trim_start_matches("optional: ");
            if !filter.is_empty() && !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        scans.push(Scan {
            table: table.to_owned(),
            files: detail("Total Files Read").and_then(|files| files.parse().ok()).unwrap_or_default(),
            rows: said("OPERATOR_CARDINALITY").parse().unwrap_or_default(),
            filters: filters.join(" AND "),
        });
    }
    node.children.iter().for_each(|child| collect(child, scans));
}

/// The members of a MAP as the engine writes it: `{Table=t, 'Filename(s)'='it\'s', Files=1}`.
fn details(text: &str) -> Vec<(String, String)> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    let mut details = Vec::new();
    let (mut name, mut part) = (None, String::new());
    let mut quoted = false;
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => part.extend(characters.next()),
            '\'' => quoted = !quoted,
            '=' if !quoted && name.is_none() => name = Some(std::mem::take(&mut part)),
            ',' if !quoted => {
                details.extend(name.take().map(|name| (name, std::mem::take(&mut part))));
                part.clear();
                characters.next_if_eq(&' ');
            }
            other => part.push(other),
        }
    }
    details.extend(name.map(|name| (name, part)));
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_read_as_the_engine_writes_them() {
        let read = details(r"{Table=t, Projections='k, v', 'Filename(s)'='/it\'s, {x=1}', Total Files Read=12}");
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let files = ("Filename(s)", "/it's, {x=1}");
        assert_eq!(read, [("Table", "t"), ("Projections", "k, v"), files, ("Total Files Read", "12")]);
        assert!(details("{}").is_empty() && details("").is_empty());
    }
}
