//! The statements about sources and exports: made, altered, dropped, shown, and explained.

use std::time::Duration;

use connection::{Connections, Kind, Resolved};
use error::{Code, Error, Result};
use jiff::Timestamp;
use lake::{Lake, Session};
use registry::{Registry, RunTrigger, Transfer, TransferKind, TransferProgress, TransferRun};
use sql::names::{ObjectName, TableName, same_identifier};
use sql::statement::{
    CreateTransfer, Direction, TransferAction, TransferChange, TransferProperties, TransferStatement,
};
use uuid::Uuid;

use crate::definition::{self, ExportDefinition, SourceDefinition, USUAL_COMPARISON};
use crate::export;
use crate::load;
use crate::outside::Outside;
use crate::relation::Relation;
use crate::run::{LEASE, Ran, Stop, asked};

/// The sources and exports of a lake. Clones share everything.
#[derive(Clone)]
pub struct Exchange {
    pub(crate) lake: Lake,
    pub(crate) connections: Connections,
}

/// What a statement came to.
#[derive(Clone, Debug)]
pub enum Done {
    /// It was made and has run for the first time; what to know about it.
    Created(Box<Ran>, Vec<String>),
    /// It was left alone, changed, or was not there, as the word says.
    Changed(TableName, &'static str),
    /// It has run.
    Ran(Box<Ran>),
    /// What there is.
    Listed(Vec<Described>),
    /// One, with its last runs.
    Described(Box<Described>, Vec<TransferRun>),
    /// What the next run will do.
    Explained(Explained),
}

/// A source or an export as people see it.
#[derive(Clone, Debug)]
pub struct Described {
    /// As it is kept.
    pub transfer: Transfer,
    /// The name of its connection.
    pub connection: String,
    /// The table at the other end.
    pub outside: String,
    /// The table of the lake that an export reads.
    pub reads: Option<TableName>,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The column that grows with every change.
    pub cursor: Option<String>,
    /// How long ago its rows were what they are at the other end.
    pub lag: Option<Duration>,
}

/// What the next run will do.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Which source or export.
    pub name: TableName,
    /// Things about it and what they are, in order.
    pub lines: Vec<(&'static str, String)>,
}

impl Exchange {
    /// Over a lake, and connections of a registry that is that of the lake.
    #[must_use]
    pub const fn new(lake: Lake, connections: Connections) -> Self {
        Self { lake, connections }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.connections.registry()
    }

    /// Does what a statement says. What takes long is ended by `stop`.
    pub fn execute(&self, statement: &TransferStatement, stop: &Stop) -> Result<Done> {
        let kind = match statement.direction {
            Direction::Source => TransferKind::Source,
            Direction::Export => TransferKind::Export,
        };
        match &statement.action {
            TransferAction::Create(create) => self.create(kind, create, stop),
            TransferAction::Alter { name, if_exists, change } => self.alter(kind, name, *if_exists, change),
            TransferAction::Drop { name, if_exists, keep_table } => self.drop(kind, name, *if_exists, *keep_table),
            TransferAction::Refresh { name, full } => {
                let transfer = self.find(kind, name)?;
                Ok(Done::Ran(Box::new(self.run(&transfer, RunTrigger::Manual, *full, "statement", stop)?)))
            }
            TransferAction::Show => Ok(Done::Listed(self.list(kind)?)),
            TransferAction::Describe { name } => {
                const SHOWN: u32 = 20;
                let transfer = self.find(kind, name)?;
                let runs = self.registry().transfer_runs(transfer.id, SHOWN)?;
                Ok(Done::Described(Box::new(self.describe(transfer)?), runs))
            }
            TransferAction::Explain { name } => Ok(Done::Explained(self.explain(&self.find(kind, name)?)?)),
        }
    }

    /// All of a kind.
    pub fn list(&self, kind: TransferKind) -> Result<Vec<Described>> {
        let transfers = self.registry().transfers(kind)?;
        transfers.into_iter().map(|transfer| self.describe(transfer)).collect()
    }

    fn resolve(&self, name: &ObjectName) -> Result<TableName> {
        name.resolve(self.lake.alias(), self.lake.schema())
    }

    /// The one of that name.
    pub(crate) fn find(&self, kind: TransferKind, name: &ObjectName) -> Result<Transfer> {
        let resolved = self.resolve(name)?;
        self.registry().transfer(kind, &resolved)?.ok_or_else(|| unknown(kind, &resolved))
    }

    pub(crate) fn connection_of(&self, transfer: &Transfer) -> Result<Resolved> {
        self.connections
            .resolve_number(transfer.connection)?
            .ok_or_else(|| Error::new(Code::Dependency, format!("the connection of {} is gone", transfer.name)))
    }

    fn create(&self, kind: TransferKind, create: &CreateTransfer, stop: &Stop) -> Result<Done> {
        let name = self.resolve(&create.name)?;
        let known = self.registry().transfer(kind, &name)?;
        if known.is_some() && create.if_not_exists {
            return Ok(Done::Changed(name, "exists already"));
        }
        let connection = self.connections.resolve(&create.outside.connection)?;
        if let (TransferKind::Export, Some(reads)) = (kind, &create.reads) {
            return self.create_export(create, name, &self.resolve(reads)?, &connection, stop);
        }
        let known = known.filter(|_| create.or_replace);
        let session = self.lake.work_session()?;
        let outside = Outside::open(&session, &connection, false)?;
        let (schema, table) = (create.outside.schema.clone(), create.outside.table.clone());
        let relation = Relation::look(&session, &outside, schema.as_deref(), &table)?;
        let mut told = SourceDefinition {
            schema,
            table,
            key: named_there(&create.key, &relation, "KEY")?,
            cursor: create.cursor.clone(),
            lookback: create.properties.lookback,
            compare_seconds: match create.properties.compare {
                Some(compare) => compare.map(|compare| compare.as_secs()),
                None => Some(USUAL_COMPARISON.as_secs()),
            },
        };
        if told.key.is_empty() {
            told.key.clone_from(&relation.primary_key);
        }
        check_properties(&create.properties, told.cursor.is_some())?;
        load::checked_cursor(&told, &relation, &told.key)?;
        let mut notices = relation.notices.clone();
        if told.key.is_empty() {
            notices.push(
                "it has no key: every load reads and compares whole rows; KEY (...) makes that cheaper".to_owned(),
            );
        }
        let now = Timestamp::now();
        let transfer = Transfer {
            id: known.as_ref().map_or_else(Uuid::now_v7, |known| known.id),
            kind,
            name: name.clone(),
            connection: connection.number,
            definition: definition::write(&told)?,
            schedule: create.properties.schedule.flatten(),
            is_suspended: false,
            suspended_reason: None,
            revision: known.as_ref().map_or(1, |known| known.revision),
            created_at: known.as_ref().map_or(now, |known| known.created_at),
            updated_at: now,
            progress: TransferProgress::default(),
        };
        let full = known.is_some();
        if full {
            self.registry().alter_transfer(&transfer)?;
            self.registry().forget_transfer_progress(transfer.id)?;
        } else {
            if session.shape(&name, None)?.is_some() {
                return Err(Error::new(Code::Query, format!("there is a table {name} already"))
                    .with_hint("A source makes its own table. Name it otherwise, or drop that one."));
            }
            if self.registry().get(&name)?.is_some() {
                return Err(Error::new(Code::Query, format!("{name} is a dynamic table"))
                    .with_hint("A source makes its own table. Name it otherwise."));
            }
            self.registry().create_transfer(&transfer)?;
        }
        drop(outside);
        drop(session);
        match self.run(&transfer, RunTrigger::Creation, full, "statement", stop) {
            Ok(ran) => Ok(Done::Created(Box::new(ran), notices)),
            Err(error) => {
                // What never had a row is not left behind; the statement can be given again.
                if !full {
                    let session = self.lake.work_session()?;
                    if load::forget(&session, transfer.id, &name, false).is_ok() {
                        self.registry().drop_transfer(transfer.id)?;
                    }
                }
                Err(error)
            }
        }
    }

    fn create_export(
        &self,
        create: &CreateTransfer,
        name: TableName,
        reads: &TableName,
        connection: &Resolved,
        stop: &Stop,
    ) -> Result<Done> {
        if create.or_replace {
            return Err(Error::new(Code::Query, "an export is not replaced, as what it has written would stay")
                .with_hint("DROP EXPORT, see to the table at the other end, and create it again."));
        }
        let session = self.lake.work_session()?;
        let Some(table) = session.shape(reads, None)? else {
            return Err(Error::new(Code::Query, format!("there is no table {reads} in the lake")));
        };
        let mut key = Vec::new();
        for named in &create.key {
            let column = table.columns.iter().find(|column| same_identifier(&column.name, named));
            key.push(
                column.map(|column| column.name.clone()).ok_or_else(|| {
                    Error::new(Code::Query, format!("{reads} has no column {named}, which is of KEY"))
                })?,
            );
        }
        let (schema, table) = (create.outside.schema.clone(), create.outside.table.clone());
        let now = Timestamp::now();
        let transfer = Transfer {
            id: Uuid::now_v7(),
            kind: TransferKind::Export,
            name,
            connection: connection.number,
            definition: definition::write(&ExportDefinition { reads: reads.clone(), schema, table, key })?,
            schedule: create.properties.schedule.flatten(),
            is_suspended: false,
            suspended_reason: None,
            revision: 1,
            created_at: now,
            updated_at: now,
            progress: TransferProgress::default(),
        };
        self.registry().create_transfer(&transfer)?;
        match self.run(&transfer, RunTrigger::Creation, false, "statement", stop) {
            Ok(ran) => Ok(Done::Created(Box::new(ran), Vec::new())),
            Err(error) => {
                self.registry().drop_transfer(transfer.id)?;
                Err(error)
            }
        }
    }

    fn alter(&self, kind: TransferKind, name: &ObjectName, if_exists: bool, change: &TransferChange) -> Result<Done> {
        let resolved = self.resolve(name)?;
        let Some(mut transfer) = self.registry().transfer(kind, &resolved)? else {
            return if if_exists {
                Ok(Done::Changed(resolved, "was not there"))
            } else {
                Err(unknown(kind, &resolved))
            };
        };
        let done = match change {
            TransferChange::Suspend => {
                transfer.is_suspended = true;
                transfer.suspended_reason = None;
                "suspended"
            }
            TransferChange::Resume => {
                transfer.is_suspended = false;
                transfer.suspended_reason = None;
                "resumed"
            }
            TransferChange::Set(set) => {
                if let Some(schedule) = set.schedule {
                    transfer.schedule = schedule;
                }
                if kind == TransferKind::Source {
                    let mut told: SourceDefinition = definition::read(&transfer)?;
                    check_properties(set, told.cursor.is_some())?;
                    if let Some(lookback) = set.lookback {
                        told.lookback = Some(lookback);
                    }
                    if let Some(compare) = set.compare {
                        told.compare_seconds = compare.map(|compare| compare.as_secs());
                    }
                    transfer.definition = definition::write(&told)?;
                }
                "altered"
            }
        };
        transfer.updated_at = Timestamp::now();
        self.registry().alter_transfer(&transfer)?;
        Ok(Done::Changed(resolved, done))
    }

    fn drop(&self, kind: TransferKind, name: &ObjectName, if_exists: bool, keep_table: bool) -> Result<Done> {
        let resolved = self.resolve(name)?;
        let Some(mut transfer) = self.registry().transfer(kind, &resolved)? else {
            return if if_exists {
                Ok(Done::Changed(resolved, "was not there"))
            } else {
                Err(unknown(kind, &resolved))
            };
        };
        if kind == TransferKind::Source {
            let readers: Vec<String> = self
                .registry()
                .load_all()?
                .into_iter()
                .filter(|table| table.sources.iter().any(|source| source.name == resolved))
                .map(|table| table.definition.name.to_string())
                .collect();
            if !keep_table && !readers.is_empty() {
                return Err(Error::new(
                    Code::Dependency,
                    format!("dynamic tables read {resolved}: {}", readers.join(", ")),
                )
                .with_hint("Drop those first, or say KEEP TABLE: then it stays as a plain table."));
            }
            // A first load that is running would leave a table behind that nothing knows of.
            if !self.registry().claim_transfer(transfer.id, "drop", LEASE)? {
                return Err(Error::new(Code::Conflict, format!("{resolved} is being refreshed by somebody else"))
                    .with_hint("Wait for it, or stop that, and drop it then."));
            }
            // If the process dies in between, nothing loads it again, and the same statement ends the work.
            transfer.is_suspended = true;
            transfer.updated_at = Timestamp::now();
            self.registry().alter_transfer(&transfer)?;
            if !load::forget(&self.lake.work_session()?, transfer.id, &resolved, keep_table)? && !keep_table {
                self.registry().drop_transfer(transfer.id)?;
                return Ok(Done::Changed(resolved, "dropped; the table of its name, which it has not made, stays"));
            }
        } else if let Err(error) = self.forget_export(&transfer) {
            // Nothing else has its id; what stays says nothing to anybody.
            tracing::warn!(export = %resolved, %error, "the other end keeps the position of an export that is dropped");
        }
        self.registry().drop_transfer(transfer.id)?;
        Ok(Done::Changed(resolved, if keep_table { "dropped, its table stays" } else { "dropped" }))
    }

    fn describe(&self, transfer: Transfer) -> Result<Described> {
        let connection = self.registry().connection_by_number(transfer.connection)?.map(|found| found.name);
        let (schema, table, reads, key, cursor) = match transfer.kind {
            TransferKind::Source => {
                let told: SourceDefinition = definition::read(&transfer)?;
                (told.schema, told.table, None, told.key, told.cursor)
            }
            TransferKind::Export => {
                let told: ExportDefinition = definition::read(&transfer)?;
                (told.schema, told.table, Some(told.reads), told.key, None)
            }
        };
        let lag = transfer.progress.fresh_at.and_then(|fresh| Timestamp::now().duration_since(fresh).try_into().ok());
        Ok(Described {
            connection: connection.unwrap_or_default(),
            outside: shown_outside(schema.as_deref(), &table),
            reads,
            key,
            cursor,
            lag,
            transfer,
        })
    }

    fn forget_export(&self, transfer: &Transfer) -> Result<()> {
        let session = self.lake.work_session()?;
        let outside = Outside::open(&session, &self.connection_of(transfer)?, true)?;
        export::forget(&session, &outside, transfer)
    }

    fn explain_export(&self, transfer: &Transfer) -> Result<Explained> {
        let session = self.lake.work_session()?;
        let connection = self.connection_of(transfer)?;
        let told: ExportDefinition = definition::read(transfer)?;
        let outside = Outside::open(&session, &connection, true)?;
        let plan = export::plan(&session, &outside, transfer, false)?;
        let columns: Vec<&str> = plan.columns.iter().map(|(name, _)| name.as_str()).collect();
        let rows = match told.key.as_slice() {
            [] => "as a multiset: a row that goes is deleted once".to_owned(),
            key => format!("by their key ({})", key.join(", ")),
        };
        let lines = vec![
            ("reads", told.reads.to_string()),
            ("writes to", format!("{}.{}", connection.name, shown_outside(told.schema.as_deref(), &told.table))),
            ("columns", columns.join(", ")),
            ("mode", plan.mode.as_str().to_owned()),
            ("reason", plan.reason.clone()),
            ("finds rows", rows),
        ];
        Ok(Explained { name: transfer.name.clone(), lines })
    }

    fn explain(&self, transfer: &Transfer) -> Result<Explained> {
        if transfer.kind == TransferKind::Export {
            return self.explain_export(transfer);
        }
        let session = self.lake.work_session()?;
        let connection = self.connection_of(transfer)?;
        let told: SourceDefinition = definition::read(transfer)?;
        let outside = Outside::open(&session, &connection, false)?;
        let relation = Relation::look(&session, &outside, told.schema.as_deref(), &told.table)?;
        let plan = load::plan(&session, transfer, &relation, asked(transfer, &told, false))?;
        let columns: Vec<String> =
            relation.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        let told_apart = match plan.key.as_slice() {
            [] => "by whole rows, each as often as it is there".to_owned(),
            key => format!("by their key ({})", key.join(", ")),
        };
        let deletions = match plan.mode.is_complete() {
            true => "are found",
            false => "are found by the next comparison only: a cursor does not see them",
        };
        let mut lines = vec![
            ("reads", format!("{}.{}", connection.name, shown_outside(told.schema.as_deref(), &told.table))),
            ("columns", columns.join(", ")),
            ("mode", plan.mode.as_str().to_owned()),
            ("reason", plan.reason.clone()),
            (
                if connection.kind == Kind::Postgres { "asks PostgreSQL" } else { "reads by" },
                relation.asked(plan.bound.as_ref()),
            ),
            ("tells rows apart", told_apart),
            ("deletions", deletions.to_owned()),
        ];
        lines.extend(plan.reshaping.statements.iter().map(|statement| ("changes the table by", statement.clone())));
        lines.extend(relation.notices.iter().map(|notice| ("notice", notice.clone())));
        Ok(Explained { name: transfer.name.clone(), lines })
    }
}

/// Columns as they are called there.
fn named_there(columns: &[String], relation: &Relation, what: &str) -> Result<Vec<String>> {
    let find = |name: &String| {
        let column = relation.column(name).map(|column| column.name.clone());
        column.ok_or_else(|| {
            let known: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
            Error::new(Code::Query, format!("there is no column {name} there, which is of {what}"))
                .with_hint(format!("It has {}.", known.join(", ")))
        })
    };
    columns.iter().map(find).collect()
}

fn check_properties(properties: &TransferProperties, has_cursor: bool) -> Result<()> {
    let needless = match properties {
        TransferProperties { lookback: Some(_), .. } => "LOOKBACK",
        TransferProperties { compare: Some(_), .. } => "COMPARE",
        _ => return Ok(()),
    };
    if has_cursor {
        return Ok(());
    }
    Err(Error::new(Code::Query, format!("{needless} says something about a CURSOR, and there is none"))
        .with_hint("Without a cursor every load compares everything."))
}

fn shown_outside(schema: Option<&str>, table: &str) -> String {
    let quoted = sql::names::quote_identifier_if_needed(table);
    match schema {
        Some(schema) => format!("{}.{quoted}", sql::names::quote_identifier_if_needed(schema)),
        None => quoted,
    }
}

fn unknown(kind: TransferKind, name: &TableName) -> Error {
    let (kind, list) = match kind {
        TransferKind::Source => ("source", "SHOW SOURCES"),
        TransferKind::Export => ("export", "SHOW EXPORTS"),
    };
    Error::new(Code::Query, format!("{kind} {name} does not exist")).with_hint(format!("{list} lists those that do."))
}

/// A session whose statements `stop` ends.
pub(crate) fn stoppable(lake: &Lake, stop: &Stop) -> Result<Session> {
    let session = lake.work_session()?;
    stop.watch(session.interrupt_handle());
    Ok(session)
}
