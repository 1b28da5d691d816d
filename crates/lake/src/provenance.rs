//! What a commit says about itself: which dynamic tables it published, and as of which data version.

use error::{Code, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::snapshot::{TIME, read_snapshot};
use crate::{Session, SnapshotId};

/// What one commit published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// One entry for each table.
    pub refreshes: Vec<ProvenanceEntry>,
    /// The tables whose files it rewrote: such a commit changes no row, whatever the catalog says of it.
    pub compacted: Vec<String>,
}

/// What one commit published of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenanceEntry {
    /// The definition's id.
    pub table_id: String,
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// The snapshot of which the content is the query's result.
    pub data_version: SnapshotId,
    /// The definition's fingerprint.
    pub fingerprint: String,
    /// The refresh that did it.
    pub refresh_id: String,
}

/// The commit's extra information as JSON. Other writers may add members of their own beside ours.
#[derive(Serialize, Deserialize)]
struct ExtraInfo {
    dynamic_tables: Published,
}

#[derive(Serialize, Deserialize)]
struct Published {
    format: u32,
    refreshes: Vec<ProvenanceEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    compacted: Vec<String>,
}

const FORMAT: u32 = 1;

impl Provenance {
    /// As it is stored with the commit.
    pub(crate) fn to_json(&self) -> Result<String> {
        let Self { refreshes, compacted } = self.clone();
        let info = ExtraInfo { dynamic_tables: Published { format: FORMAT, refreshes, compacted } };
        serde_json::to_string(&info)
            .map_err(|failure| Error::new(Code::Internal, "the provenance cannot be written").with_source(failure))
    }

    /// Reads a commit's extra information; `None` if it is not ours or of a format this program does not know.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.contains(MARK) {
            return None;
        }
        let info: ExtraInfo = serde_json::from_str(text).ok()?;
        let Published { format, refreshes, compacted } = info.dynamic_tables;
        (format == FORMAT).then_some(Self { refreshes, compacted })
    }
}

/// What every provenance holds.
const MARK: &str = "\"dynamic_tables\"";

impl Session {
    /// The commits after `since` that carry a provenance, in the order they were made.
    pub fn provenance_since(&self, since: SnapshotId) -> Result<Vec<(SnapshotId, Timestamp, Provenance)>> {
        let (snapshots, changes) = (self.metadata("ducklake_snapshot"), self.metadata("ducklake_snapshot_changes"));
        let sql = format!(
            "SELECT s.snapshot_id::BIGINT, {TIME}, c.commit_extra_info::VARCHAR \
             FROM {snapshots} AS s JOIN {changes} AS c ON c.snapshot_id = s.snapshot_id \
             WHERE s.snapshot_id > {since} AND c.snapshot_id > {since} AND c.commit_extra_info IS NOT NULL \
             ORDER BY s.snapshot_id"
        );
        let rows = self.rows(&sql, |row| Ok((read_snapshot(row)?, row.get::<_, String>(2)?)))?;
        let mut commits = Vec::new();
        for (found, text) in rows {
            if let Some(provenance) = Provenance::parse(&text) {
                let snapshot = found.time()?;
                commits.push((snapshot.id, snapshot.time, provenance));
            }
        }
        Ok(commits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_ours() {
        let entry = ProvenanceEntry {
            table_id: "id".to_owned(),
            schema: "main".to_owned(),
            name: "it's \"odd\"".to_owned(),
            data_version: 7,
            fingerprint: "f".to_owned(),
            refresh_id: "r".to_owned(),
        };
        let provenance = Provenance { refreshes: vec![entry], compacted: Vec::new() };
        let text = provenance.to_json().unwrap();
        assert!(text.starts_with("{\"dynamic_tables\":{\"format\":1,\"refreshes\":["));
        assert_eq!(Provenance::parse(&text), Some(provenance));
        for other in
            ["", "{}", "{\"x\":1}", "\"dynamic_tables\"", "{\"dynamic_tables\":{\"format\":2,\"refreshes\":[]}}"]
        {
            assert_eq!(Provenance::parse(other), None, "{other}");
        }
    }
}
