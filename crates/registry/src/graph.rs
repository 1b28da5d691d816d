//! The graph of dynamic tables and its past: what each was when, and what ended one period and began the next.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sql::names::TableName;
use uuid::Uuid;

use crate::definition::SourceKind;
use crate::words::words;

words! {
    /// What began a period.
    AlterTrigger {
        /// The table was created.
        CreateDynamicTable = "CREATE_DYNAMIC_TABLE",
        /// Its query was replaced.
        Replace = "REPLACE",
        /// It, or a table that it reads, was renamed.
        Rename = "RENAME",
        /// Its target lag was changed.
        AlterTargetLag = "ALTER_TARGET_LAG",
        /// Its scheduler, its queue, or what its refresh mode comes to was changed.
        Alter = "ALTER",
        /// It was suspended, or is so for another reason.
        Suspend = "SUSPEND",
        /// It was resumed.
        Resume = "RESUME",
        /// The same query reads something else.
        Sources = "SOURCES",
        /// It was dropped. Such a period lasts no time.
        Drop = "DROP",
    }
}

/// A dynamic table as a node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// What it is called.
    pub name: TableName,
    /// The SELECT.
    pub query: String,
    /// How stale it may be, as it was written.
    pub target_lag: Option<String>,
    /// Whether the worker refreshes it on its own: `ENABLE` or `DISABLE`.
    pub scheduler: Option<String>,
    /// What its mode comes to: `INCREMENTAL` or `FULL`.
    pub refresh_mode: String,
    /// The queue that it is refreshed from, if it is a named one.
    pub queue: Option<String>,
    /// What it reads, in the order of its query.
    pub inputs: Vec<GraphInput>,
    /// `RUNNING` or `SUSPENDED`.
    pub scheduling_state: String,
    /// Why it is suspended.
    pub suspended_reason: Option<String>,
}

/// Something that a node reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphInput {
    /// The schema it is in.
    pub schema: String,
    /// What it is called there.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
}

/// A time in which a dynamic table was the same. The periods of a table follow each other without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphPeriod {
    /// The table's id; the table may be gone.
    pub table: Uuid,
    /// What it was.
    pub node: GraphNode,
    /// What began the period. None if that is not known, as for tables that are older than this history.
    pub alter_trigger: Vec<AlterTrigger>,
    /// When it began, by the database's clock.
    pub valid_from: Timestamp,
    /// When it ended; none if it is the present.
    pub valid_to: Option<Timestamp>,
}

/// Which periods to list. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphFilter {
    /// Only of this table.
    pub table: Option<Uuid>,
    /// Only of tables that had this name then.
    pub name: Option<TableName>,
}

/// What made the one of the other; nothing if they are the same. `renaming`: tables were renamed together with it.
pub(crate) fn triggers(before: &GraphNode, after: &GraphNode, renaming: bool) -> Vec<AlterTrigger> {
    let mut triggers = Vec::new();
    let query_changed = before.query != after.query;
    let inputs_changed = before.inputs != after.inputs;
    // A renamed table is renamed in the queries that read it.
    let follows_renaming = renaming && (query_changed || inputs_changed);
    if before.name != after.name || follows_renaming {
        triggers.push(AlterTrigger::Rename);
    } else if query_changed {
        triggers.push(AlterTrigger::Replace);
    } else if inputs_changed {
        triggers.push(AlterTrigger::Sources);
    }
    if before.target_lag != after.target_lag {
        triggers.push(AlterTrigger::AlterTargetLag);
    }
    let settings = |node: &GraphNode| (node.scheduler.clone(), node.queue.clone(), node.refresh_mode.clone());
    if settings(before) != settings(after) {
        triggers.push(AlterTrigger::Alter);
    }
    if (&before.scheduling_state, &before.suspended_reason) != (&after.scheduling_state, &after.suspended_reason) {
        triggers.push(if after.scheduling_state == "RUNNING" { AlterTrigger::Resume } else { AlterTrigger::Suspend });
    }
    triggers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> GraphNode {
        GraphNode {
            name: TableName::new("main", "daily"),
            query: "SELECT 1".to_owned(),
            target_lag: Some("5 minutes".to_owned()),
            scheduler: Some("ENABLE".to_owned()),
            refresh_mode: "FULL".to_owned(),
            queue: None,
            inputs: vec![],
            scheduling_state: "RUNNING".to_owned(),
            suspended_reason: None,
        }
    }

    #[test]
    fn each_difference_has_its_word() {
        use AlterTrigger::{Alter, AlterTargetLag, Rename, Replace, Resume, Sources, Suspend};
        let became = |change: fn(&mut GraphNode)| {
            let mut after = node();
            change(&mut after);
            (triggers(&node(), &after, false), triggers(&after, &node(), true))
        };
        let input = || GraphInput { schema: "main".to_owned(), name: "orders".to_owned(), kind: SourceKind::Table };
        assert_eq!(triggers(&node(), &node(), true), []);
        let both = |word| (vec![word], vec![word]);
        assert_eq!(became(|node| "other".clone_into(&mut node.name.name)), both(Rename));
        assert_eq!(became(|node| "SELECT 2".clone_into(&mut node.query)), (vec![Replace], vec![Rename]));
        let mut reading = node();
        reading.inputs.push(input());
        assert_eq!(triggers(&node(), &reading, false), [Sources]);
        assert_eq!(triggers(&node(), &reading, true), [Rename]);
        assert_eq!(became(|node| node.target_lag = None), both(AlterTargetLag));
        assert_eq!(became(|node| node.scheduler = None), both(Alter));
        assert_eq!(became(|node| node.queue = Some("q".to_owned())), both(Alter));
        assert_eq!(became(|node| "INCREMENTAL".clone_into(&mut node.refresh_mode)), both(Alter));
        let suspended = became(|node| "SUSPENDED".clone_into(&mut node.scheduling_state));
        assert_eq!(suspended, (vec![Suspend], vec![Resume]));
        let several = became(|node| {
            "SELECT 2".clone_into(&mut node.query);
            node.target_lag = None;
            node.queue = Some("q".to_owned());
        });
        assert_eq!(several.0, [Replace, AlterTargetLag, Alter]);
    }
}
