//! What resources look like from outside. Durations are seconds, times are RFC 3339, names are `schema.name`.

use std::time::Duration;

use jiff::Timestamp;
use refresh::{Description, Explanation, Graph, LagStatistics, Status};
use registry::{ClaimedTable, Refresh, ReportedWorker};
use serde::Serialize;
use utoipa::ToSchema;

/// The state of a dynamic table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Table {
    /// Its id, which stays when it is renamed.
    pub id: String,
    /// Its schema.
    pub schema: String,
    /// Its name in the schema.
    pub name: String,
    /// `RUNNING`, `SUSPENDED`, or `PENDING_INIT` before its first refresh.
    pub scheduling_state: String,
    /// Why it is suspended.
    pub suspended_reason: Option<String>,
    /// At whose will it is suspended: `USER`, `UPSTREAM` or `FAILURES`.
    pub suspended_by: Option<String>,
    /// The target lag as it was set; `-` without one.
    pub target_lag: String,
    /// What it is held to, by itself and by what reads it.
    pub effective_lag: Option<String>,
    /// The lag that it is measured against, in seconds.
    pub target_lag_seconds: Option<f64>,
    /// How far the content lies back, in seconds.
    pub current_lag_seconds: Option<f64>,
    /// `INCREMENTAL` or `FULL`.
    pub refresh_mode: String,
    /// Why it is not incremental.
    pub refresh_mode_reason: Option<String>,
    /// The snapshot of which the content is the query's result.
    pub data_version: Option<i64>,
    /// When that was committed.
    pub data_timestamp: Option<String>,
    /// When it was last refreshed.
    pub last_refresh_time: Option<String>,
    /// How that ended.
    pub last_refresh_status: Option<String>,
    /// What was done.
    pub last_refresh_action: Option<String>,
    /// What went wrong.
    pub last_error: Option<String>,
    /// The refresh that is running.
    pub executing_refresh: Option<String>,
    /// Rows it holds.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// The user's comment.
    pub comment: Option<String>,
}

impl From<&Status> for Table {
    fn from(status: &Status) -> Self {
        Self {
            id: status.id.to_string(),
            schema: status.name.schema.clone(),
            name: status.name.name.clone(),
            scheduling_state: status.scheduling_state.clone(),
            suspended_reason: status.suspended_reason.clone(),
            suspended_by: status.suspended_by.clone(),
            target_lag: status.target_lag.clone(),
            effective_lag: status.effective_lag.clone(),
            target_lag_seconds: status.measured_against.map(seconds),
            current_lag_seconds: status.lag.map(seconds),
            refresh_mode: status.refresh_mode.clone(),
            refresh_mode_reason: status.refresh_mode_reason.clone(),
            data_version: status.data_version,
            data_timestamp: moment(status.data_timestamp),
            last_refresh_time: moment(status.last_refresh_time),
            last_refresh_status: status.last_refresh_status.clone(),
            last_refresh_action: status.last_refresh_action.clone(),
            last_error: status.last_error.clone(),
            executing_refresh: status.executing_refresh.map(|id| id.to_string()),
            rows: status.rows,
            bytes: status.bytes,
            comment: status.comment.clone(),
        }
    }
}

/// Everything about one dynamic table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TableDetails {
    /// Its state.
    #[serde(flatten)]
    pub table: Table,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its properties as in SQL.
    pub properties: Vec<Property>,
    /// What it reads.
    pub sources: Vec<Relation>,
    /// The dynamic tables that read it.
    pub readers: Vec<String>,
    /// Its query.
    pub query: String,
    /// The statement that creates it.
    pub statement: String,
}

/// A column.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A property of a dynamic table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value as in SQL.
    pub value: String,
}

/// Something that can be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// `TABLE`, `VIEW` or `DYNAMIC_TABLE`.
    pub kind: String,
}

impl From<&Description> for TableDetails {
    fn from(description: &Description) -> Self {
        let columns = description.columns.iter().cloned();
        let properties = description.properties.iter().cloned();
        let sources = description.sources.iter();
        Self {
            table: Table::from(&description.status),
            columns: columns.map(|(name, data_type)| Column { name, data_type }).collect(),
            properties: properties.map(|(name, value)| Property { name, value }).collect(),
            sources: sources.map(|(name, kind)| Relation { name: name.to_string(), kind: kind.clone() }).collect(),
            readers: description.readers.iter().map(ToString::to_string).collect(),
            query: description.query.clone(),
            statement: description.statement.clone(),
        }
    }
}

/// One refresh of the past, or one that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PastRefresh {
    /// Its id.
    pub id: String,
    /// The dynamic table.
    pub name: String,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub completed_at: Option<String>,
    /// `EXECUTING`, `SUCCEEDED`, `FAILED`, `CANCELLED`, `UPSTREAM_FAILED` or `SKIPPED`.
    pub state: String,
    /// `SCHEDULED`, `MANUAL` or `CREATION`.
    pub trigger: String,
    /// `NO_DATA`, `INCREMENTAL`, `FULL` or `REINITIALIZE`.
    pub action: Option<String>,
    /// Why that.
    pub reason: Option<String>,
    /// The data version that it brought.
    pub data_version: Option<i64>,
    /// When that was committed.
    pub data_timestamp: Option<String>,
    /// Rows inserted into the table.
    pub rows_inserted: Option<u64>,
    /// Rows deleted from the table.
    pub rows_deleted: Option<u64>,
    /// Changed rows that were read.
    pub rows_read: Option<u64>,
    /// How long it took.
    pub duration_seconds: Option<f64>,
    /// How stale the table was before.
    pub lag_before_seconds: Option<f64>,
    /// How stale it was after.
    pub lag_after_seconds: Option<f64>,
    /// The code of what it failed with.
    pub error_code: Option<String>,
    /// What it failed with.
    pub error_message: Option<String>,
    /// Who did it.
    pub worker: Option<String>,
}

impl From<&Refresh> for PastRefresh {
    fn from(refresh: &Refresh) -> Self {
        Self {
            id: refresh.id.to_string(),
            name: refresh.name.to_string(),
            started_at: moment(Some(refresh.started_at)),
            completed_at: moment(refresh.completed_at),
            state: refresh.state.as_str().to_owned(),
            trigger: refresh.trigger.as_str().to_owned(),
            action: refresh.action.map(|action| action.as_str().to_owned()),
            reason: refresh.reason.clone(),
            data_version: refresh.data_version,
            data_timestamp: moment(refresh.data_timestamp),
            rows_inserted: refresh.rows_inserted,
            rows_deleted: refresh.rows_deleted,
            rows_read: refresh.rows_read,
            duration_seconds: refresh.duration_ms.map(|duration| seconds(Duration::from_millis(duration))),
            lag_before_seconds: refresh.lag_before_seconds,
            lag_after_seconds: refresh.lag_after_seconds,
            error_code: refresh.error_code.map(|code| code.as_str().to_owned()),
            error_message: refresh.error_message.clone(),
            worker: refresh.worker.clone(),
        }
    }
}

/// How fresh a dynamic table has been over a stretch of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Lag {
    /// The dynamic table.
    pub name: String,
    /// The target lag as it was set; `-` without one.
    pub target_lag: String,
    /// The lag that it is measured against.
    pub target_lag_seconds: Option<f64>,
    /// The lag now.
    pub current_lag_seconds: Option<f64>,
    /// Where the stretch of time begins.
    pub since: Option<String>,
    /// How much of it the lag is known for.
    pub measured_seconds: Option<f64>,
    /// The mean lag.
    pub mean_lag_seconds: Option<f64>,
    /// The longest lag.
    pub maximum_lag_seconds: Option<f64>,
    /// For how long the lag was above its target.
    pub time_above_target_lag_seconds: Option<f64>,
    /// The share of the time in which it was not, from 0 to 1.
    pub time_within_target_lag_ratio: Option<f64>,
}

impl From<&Status> for Lag {
    fn from(status: &Status) -> Self {
        let known: Option<LagStatistics> = status.lag_statistics;
        Self {
            name: status.name.to_string(),
            target_lag: status.target_lag.clone(),
            target_lag_seconds: status.measured_against.map(seconds),
            current_lag_seconds: status.lag.map(seconds),
            since: moment(known.map(|known| known.since)),
            measured_seconds: known.map(|known| seconds(known.measured)),
            mean_lag_seconds: known.map(|known| seconds(known.mean)),
            maximum_lag_seconds: known.map(|known| seconds(known.maximum)),
            time_above_target_lag_seconds: known.and_then(|known| known.above_target).map(seconds),
            time_within_target_lag_ratio: known.and_then(|known| known.within_target_ratio),
        }
    }
}

/// Who reads what.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TableGraph {
    /// Tables and views first; then dynamic tables, each behind those that it reads.
    pub nodes: Vec<Node>,
    /// Who is read by whom, as positions among the nodes: source and reader.
    pub edges: Vec<(usize, usize)>,
}

/// A table, a view or a dynamic table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `TABLE`, `VIEW` or `DYNAMIC_TABLE`.
    pub kind: String,
    /// Its state, if it is a dynamic table.
    pub table: Option<Table>,
}

impl From<&Graph> for TableGraph {
    fn from(graph: &Graph) -> Self {
        let nodes = graph.nodes.iter().map(|node| Node {
            name: node.name.to_string(),
            kind: node.kind.as_str().to_owned(),
            table: node.status.as_ref().map(Table::from),
        });
        Self { nodes: nodes.collect(), edges: graph.edges.clone() }
    }
}

/// A worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Worker {
    /// Tells it from all others.
    pub id: String,
    /// The computer it runs on.
    pub host: String,
    /// The number of its process there.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// The queues whose tables it refreshes; empty means all.
    pub queues: Vec<String>,
    /// How many refreshes it runs at the same time.
    pub concurrency: u32,
    /// `RUNNING` or `DRAINING`.
    pub state: String,
    /// Since when it runs.
    pub started_at: Option<String>,
    /// When it last gave a sign of life.
    pub heartbeat_at: Option<String>,
    /// Whether that was recently enough.
    pub is_live: bool,
    /// The dynamic tables that it holds.
    pub claims: Vec<String>,
}

impl Worker {
    pub(crate) fn new(reported: &ReportedWorker, claims: &[ClaimedTable]) -> Self {
        let worker = &reported.worker;
        let claims = claims.iter().filter(|claim| claim.worker == worker.id && claim.is_live);
        Self {
            id: worker.id.clone(),
            host: worker.host.clone(),
            process: worker.process,
            version: worker.version.clone(),
            queues: worker.queues.clone(),
            concurrency: worker.concurrency,
            state: worker.state.as_str().to_owned(),
            started_at: moment(Some(reported.started_at)),
            heartbeat_at: moment(Some(reported.heartbeat_at)),
            is_live: reported.is_live,
            claims: claims.map(|claim| claim.name.to_string()).collect(),
        }
    }
}

/// How a dynamic table is refreshed, and why so.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explained {
    /// The dynamic table.
    pub name: String,
    /// `INCREMENTAL` or `FULL`.
    pub refresh_mode: String,
    /// Why not incremental.
    pub reason: Option<String>,
    /// The operators of the query, parents first.
    pub tree: Vec<Operator>,
    /// Other ways to write the query.
    pub rewrites: Vec<OtherWay>,
    /// What it reads.
    pub sources: Vec<ReadSource>,
    /// What the next refresh would do.
    pub choice: Option<NextRefresh>,
    /// The statements of that refresh.
    pub statements: Vec<String>,
    /// The query.
    pub query: String,
}

/// An operator of a query.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Operator {
    /// How deep it stands below the root.
    pub depth: usize,
    /// What it is.
    pub operator: String,
    /// The rule that keeps it up to date.
    pub rule: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Its line in the query, from 1; 0 if not known.
    pub line: usize,
    /// Its column in the query, from 1; 0 if not known.
    pub column: usize,
}

/// Another way to write a query that is incremental, or cheaper to keep up to date.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OtherWay {
    /// What is written otherwise.
    pub change: String,
    /// What that does to the result.
    pub effect: Option<String>,
    /// The query.
    pub query: String,
}

/// What a query reads.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReadSource {
    /// Its name.
    pub name: String,
    /// `TABLE` or `DYNAMIC_TABLE`.
    pub kind: String,
    /// The columns the query looks at.
    pub columns: Vec<String>,
    /// Rows it has.
    pub rows: u64,
    /// About how many rows came or went since.
    pub changed: Option<u64>,
    /// How that change is read.
    pub read_by: String,
}

/// What the next refresh would do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NextRefresh {
    /// `NO_DATA`, `INCREMENTAL`, `FULL` or `REINITIALIZE`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The figures it was chosen by.
    pub figures: Vec<Property>,
}

impl From<&Explanation> for Explained {
    fn from(explanation: &Explanation) -> Self {
        let tree = explanation.tree.iter().map(|node| Operator {
            depth: node.depth,
            operator: node.operator.clone(),
            rule: node.rule.clone(),
            reason: node.reason.clone(),
            line: node.line,
            column: node.column,
        });
        let rewrites = explanation.rewrites.iter().map(|rewrite| OtherWay {
            change: rewrite.change.to_string(),
            effect: rewrite.effect.as_ref().map(ToString::to_string),
            query: rewrite.sql.clone(),
        });
        let sources = explanation.sources.iter().map(|source| ReadSource {
            name: source.name.to_string(),
            kind: source.kind.clone(),
            columns: source.columns.clone(),
            rows: source.rows,
            changed: source.changed,
            read_by: source.window.clone(),
        });
        let figures = |figures: &[(String, String)]| {
            let figures = figures.iter().cloned();
            figures.map(|(name, value)| Property { name, value }).collect()
        };
        Self {
            name: explanation.name.to_string(),
            refresh_mode: explanation.mode.clone(),
            reason: explanation.reason.clone(),
            tree: tree.collect(),
            rewrites: rewrites.collect(),
            sources: sources.collect(),
            choice: explanation.choice.as_ref().map(|choice| NextRefresh {
                action: choice.action.clone(),
                reason: choice.reason.clone(),
                figures: figures(&choice.figures),
            }),
            statements: explanation.statements.clone(),
            query: explanation.query.clone(),
        }
    }
}

/// Seconds with three decimals.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

pub(crate) fn moment(moment: Option<Timestamp>) -> Option<String> {
    moment.map(|moment| moment.to_string())
}
