//! Figures for Prometheus: what the dynamic tables, the workers and this server are at when they are asked for, and what has
//! happened since the server began.
//!
//! Refreshes are counted from the history in the registry, so that those of every worker are, whichever process it is.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use error::{Code, Error, Result};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use refresh::{Activity, DynamicTables, HistoryRequest};
use registry::{Compaction, Refresh, RefreshState, WorkerState};
use uuid::Uuid;

use crate::problem::{Failure, Problem};
use crate::shared::Shared;

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// In seconds: from a change of a few rows to a full refresh of a big table.
const BUCKETS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];
/// Refreshes that take longer than this are counted late or not at all.
const OVERHANG: Duration = Duration::from_secs(2 * 3_600);
/// More refreshes are not looked through at once.
const MOST_REFRESHES: u32 = 20_000;

/// The state of a worker that has not been heard of for too long.
const LOST: &str = "LOST";

/// What has happened since the server began.
pub(crate) struct Metrics {
    refresh_duration: Family<Labels, Histogram, fn() -> Histogram>,
    refreshes: Family<Labels, Counter>,
    rows: Family<Labels, Counter>,
    compactions: Family<Labels, Counter>,
    compacted_files: Family<Labels, Counter>,
    compaction_duration: Family<Labels, Histogram, fn() -> Histogram>,
    errors: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    in_flight: AtomicUsize,
    counted: Mutex<Counted>,
}

/// Which refreshes and compactions are counted already.
struct Counted {
    since: Timestamp,
    ids: HashSet<Uuid>,
    compactions: HashSet<Uuid>,
}

/// A request that is worked on.
pub(crate) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn durations() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            refresh_duration: Family::new_with_constructor(durations as fn() -> Histogram),
            refreshes: Family::default(),
            rows: Family::default(),
            compactions: Family::default(),
            compacted_files: Family::default(),
            compaction_duration: Family::new_with_constructor(durations as fn() -> Histogram),
            errors: Family::default(),
            requests: Family::default(),
            in_flight: AtomicUsize::new(0),
            counted: Mutex::new(Counted {
                since: Timestamp::now(),
                ids: HashSet::new(),
                compactions: HashSet::new(),
            }),
        }
    }

    /// A request begins, unless there are too many.
    pub fn begin(&self, most: usize) -> Option<InFlight<'_>> {
        let request = InFlight(&self.in_flight);
        (self.in_flight.fetch_add(1, Ordering::SeqCst) < most).then_some(request)
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        self.requests.get_or_create(&vec![("status", status.as_u16().to_string())]).inc();
    }

    /// Something failed.
    pub fn failed(&self, code: Code) {
        self.errors.get_or_create(&vec![("code", code.as_str().to_owned())]).inc();
    }

    /// Counts refreshes that have ended since they were counted last.
    fn count(&self, refreshes: &[Refresh]) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for refresh in refreshes {
            let Some(completed_at) = refresh.completed_at else { continue };
            if completed_at < counted.since || !counted.ids.insert(refresh.id) {
                continue;
            }
            let table = ("table", refresh.name.to_string());
            let state = refresh.state.as_str().to_owned();
            self.refreshes.get_or_create(&vec![table.clone(), ("state", state)]).inc();
            if let Some(code) = refresh.error_code {
                self.failed(code);
            }
            for (rows, kind) in
                [(refresh.rows_read, "read"), (refresh.rows_inserted, "inserted"), (refresh.rows_deleted, "deleted")]
            {
                self.rows.get_or_create(&vec![table.clone(), ("kind", kind.to_owned())]).inc_by(rows.unwrap_or(0));
            }
            if let (Some(duration), Some(action), RefreshState::Succeeded) =
                (refresh.duration_ms, refresh.action, refresh.state)
            {
                let labels = vec![table, ("action", action.as_str().to_owned())];
                let duration = Duration::from_millis(duration).as_secs_f64();
                self.refresh_duration.get_or_create(&labels).observe(duration);
            }
        }
        let known: HashSet<Uuid> = refreshes.iter().map(|refresh| refresh.id).collect();
        // What is out of reach of the next look need not be remembered.
        counted.ids.retain(|id| known.contains(id));
    }

    /// Counts compactions that have ended since they were counted last.
    fn count_compactions(&self, compactions: &[Compaction]) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for compaction in compactions {
            let took = Duration::from_millis(compaction.duration_ms);
            let ended = compaction.started_at.saturating_add(SignedDuration::try_from(took).unwrap_or_default());
            if ended.is_ok_and(|ended| ended < counted.since) || !counted.compactions.insert(compaction.id) {
                continue;
            }
            let table = ("table", compaction.name.to_string());
            let state = if compaction.error_code.is_some() { "FAILED" } else { "SUCCEEDED" };
            self.compactions.get_or_create(&vec![table.clone(), ("state", state.to_owned())]).inc();
            let Some(after) = compaction.files_after else { continue };
            let gone = compaction.files_before.saturating_sub(after);
            self.compacted_files.get_or_create(&vec![table.clone()]).inc_by(gone);
            self.compaction_duration.get_or_create(&vec![table]).observe(took.as_secs_f64());
        }
        let known: HashSet<Uuid> = compactions.iter().map(|compaction| compaction.id).collect();
        counted.compactions.retain(|id| known.contains(id));
    }

    /// Begins to count at zero what may happen to these tables, or the first time would be no increase.
    fn expect(&self, activity: &Activity) {
        for watched in &activity.tables {
            for state in [RefreshState::Succeeded, RefreshState::Failed] {
                let table = ("table", watched.status.name.to_string());
                drop(self.refreshes.get_or_create(&vec![table, ("state", state.as_str().to_owned())]));
            }
        }
        drop(self.errors.get_or_create(&vec![("code", Code::Internal.as_str().to_owned())]));
    }

    fn register(&self, registry: &mut Registry) {
        let duration = self.refresh_duration.clone();
        registry.register("refresh_duration_seconds", "How long refreshes took that ended well", duration);
        registry.register("refreshes", "Refreshes that have ended", self.refreshes.clone());
        registry.register("refresh_rows", "Rows that refreshes read, inserted and deleted", self.rows.clone());
        registry.register("compactions", "Times that files were rewritten", self.compactions.clone());
        let files = self.compacted_files.clone();
        registry.register("compaction_files_removed", "Files that a table consists of no more since then", files);
        let duration = self.compaction_duration.clone();
        registry.register("compaction_duration_seconds", "How long it took to rewrite files", duration);
        registry.register("errors", "Failures of refreshes and requests", self.errors.clone());
        registry.register("http_requests", "Requests that were answered", self.requests.clone());
        let told: Family<Labels, Counter> = Family::default();
        let lineage::Counts { sent, dropped } = lineage::counts();
        for (result, count) in [("sent", sent), ("dropped", dropped)] {
            told.get_or_create(&vec![("result", result.to_owned())]).inc_by(count);
        }
        registry.register("lineage_events", "Events of lineage by what became of them", told);
    }
}

/// The figures, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Failure> {
    let now = shared.look(Now::of).await;
    let mut registry = Registry::with_prefix("dynamic_tables");
    shared.metrics.register(&mut registry);
    let up: Gauge = Gauge::default();
    up.set(i64::from(now.is_ok()));
    registry.register("up", "Whether the lake and the registry answer: 1, or 0", up);
    match now {
        Ok(now) => {
            shared.metrics.count(&now.refreshes);
            shared.metrics.count_compactions(&now.compactions);
            shared.metrics.expect(&now.activity);
            now.register(&mut registry);
        }
        // What has happened in this server is known all the same, and that the rest is not is a figure, too.
        Err(error) => tracing::warn!(%error, "the lake or the registry cannot be asked for figures"),
    }
    let tasks: Family<Labels, Gauge> = Family::default();
    for (state, count) in shared.tasks.counts() {
        let state = serde_json::to_value(state).ok().and_then(|state| state.as_str().map(ToOwned::to_owned));
        tasks.get_or_create(&vec![("state", state.unwrap_or_default())]).set(whole(count));
    }
    registry.register("tasks", "Tasks of this server by their state", tasks);
    let in_flight: Gauge = Gauge::default();
    in_flight.set(whole(shared.metrics.in_flight.load(Ordering::SeqCst)));
    registry.register("http_requests_in_flight", "Requests that are worked on", in_flight);
    let queries: Gauge = Gauge::default();
    queries.set(whole(shared.readers.lent()));
    registry.register("queries_running", "Queries that run", queries);
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|cause| Error::new(Code::Internal, format!("the figures cannot be written: {cause}")))?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("application/openmetrics-text") {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        return Ok(([(header::CONTENT_TYPE, kind)], in_plain_text(&text)).into_response());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The figures in the older format, in which the name of a counter has its ending in its description too.
fn in_plain_text(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        match described.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
            Some((mark, (name, rest))) if counters.contains(name) => {
                plain.push_str(&format!("{mark}{name}_total {rest}\n"));
            }
            _ => plain.push_str(&format!("{line}\n")),
        }
    }
    plain
}

/// What is so at this moment.
struct Now {
    activity: Activity,
    refreshes: Vec<Refresh>,
    compactions: Vec<Compaction>,
    memory_bytes: u64,
    spilled_bytes: u64,
}

impl Now {
    fn of(tables: &DynamicTables) -> Result<Self> {
        let since = Timestamp::now().checked_sub(OVERHANG).ok();
        let request = HistoryRequest { name: None, only_failures: false, since, limit: MOST_REFRESHES };
        let memory = tables.session().counts(
            "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT, coalesce(sum(temporary_storage_bytes), 0)::BIGINT \
             FROM duckdb_memory()",
        )?;
        Ok(Self {
            activity: tables.activity()?,
            refreshes: tables.history(&request)?,
            compactions: tables.compactions(&request)?,
            memory_bytes: memory.first().copied().unwrap_or_default(),
            spilled_bytes: memory.get(1).copied().unwrap_or_default(),
        })
    }

    fn register(&self, registry: &mut Registry) {
        let (lag, target): (Family<Labels, Seconds>, Family<Labels, Seconds>) = Default::default();
        let states: Family<Labels, Gauge> = Family::default();
        for watched in &self.activity.tables {
            let status = &watched.status;
            let labels = vec![("table", status.name.to_string())];
            if let Some(seconds) = status.lag {
                lag.get_or_create(&labels).set(seconds.as_secs_f64());
            }
            if let Some(seconds) = status.measured_against {
                target.get_or_create(&labels).set(seconds.as_secs_f64());
            }
            states.get_or_create(&vec![("state", status.scheduling_state.clone())]).inc();
        }
        registry.register("lag_seconds", "How far the content of a dynamic table lies back", lag);
        registry.register("target_lag_seconds", "How far it may lie back", target);
        registry.register("tables", "Dynamic tables by their scheduling state", states);
        let workers: Family<Labels, Gauge> = Family::default();
        // That there is none is a figure, too.
        for state in [WorkerState::Running.as_str(), LOST] {
            drop(workers.get_or_create(&vec![("state", state.to_owned())]));
        }
        for worker in &self.activity.workers {
            let state = if worker.is_live { worker.worker.state.as_str() } else { LOST };
            workers.get_or_create(&vec![("state", state.to_owned())]).inc();
        }
        registry.register("workers", "Workers by their state", workers);
        let due = self.activity.tables.iter().filter(|watched| watched.is_due).count();
        let backlog = self.activity.tables.iter().filter(|watched| watched.is_due);
        let backlog =
            backlog.filter_map(|watched| watched.status.lag).map(|lag| lag.as_secs_f64()).fold(0.0, f64::max);
        let gauge = |value: i64| {
            let gauge: Gauge<i64, AtomicI64> = Gauge::default();
            gauge.set(value);
            gauge
        };
        let oldest: Seconds = Gauge::default();
        oldest.set(backlog);
        registry.register("pending_refreshes", "Dynamic tables that are to be refreshed now", gauge(whole(due)));
        registry.register("refresh_backlog_seconds", "The longest lag of those that are to be refreshed now", oldest);
        let running = whole(self.activity.running.len());
        registry.register("refreshes_executing", "Refreshes that run", gauge(running));
        registry.register("claims", "Dynamic tables that workers hold", gauge(whole(self.activity.claims.len())));
        let memory = |bytes: u64| gauge(i64::try_from(bytes).unwrap_or(i64::MAX));
        registry.register("duckdb_memory_bytes", "Memory of this server's engine", memory(self.memory_bytes));
        registry.register(
            "duckdb_spilled_bytes",
            "What this server's engine has put on disk",
            memory(self.spilled_bytes),
        );
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
