//! The dynamic tables of one lake: the rooms this crate stands between, and looking tables up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use error::{Code, Error, Result};
use lake::{InterruptHandle, Lake, Session, SnapshotId, Watermark};
use registry::{DynamicTable, Registry};
use sql::names::{ObjectName, TableName};
use sql::query::Parser;
use uuid::Uuid;

use crate::analysis::{AnalysisCache, NewAnalysis};
use crate::choose::AutoPolicy;
use crate::claimed::Lease;
use crate::compact::Upkeep;
use crate::measured::MeasuredTables;
use crate::poll::Quiet;
use crate::registered::Registered;
use crate::shared::SharedReads;
use crate::state::WrittenState;
use crate::temporaries::Temporaries;

/// The dynamic tables of one lake: what they are (registry) and what they hold (lake).
///
/// Not `Sync`: open one per thread.
pub struct DynamicTables {
    pub(crate) lake: Lake,
    /// The connection of this crate's own statements.
    pub(crate) session: Session,
    /// The connection of the user's statements.
    users: Session,
    pub(crate) registry: Arc<Registry>,
    /// How claims are held.
    pub(crate) lease: Cell<Lease>,
    /// What AUTO goes by.
    pub(crate) auto: Cell<AutoPolicy>,
    /// The registered tables as they were last read, and the state of the registry then.
    pub(crate) known: RefCell<Option<(i64, Arc<Registered>)>>,
    /// What was last looked at, and until when nothing is due if nothing happens.
    pub(crate) quiet: Cell<Option<Quiet>>,
    pub(crate) parser: Parser,
    pub(crate) analyses: RefCell<AnalysisCache>,
    /// What was last analysed before it is registered.
    pub(crate) new_analysis: RefCell<Option<NewAnalysis>>,
    /// The temporary tables and views of the refresh that is running.
    pub(crate) temporaries: RefCell<Temporaries>,
    /// What several tables of the course that is run read alike.
    pub(crate) shared: RefCell<SharedReads>,
    /// About how many rows the sources had at a snapshot, so that not every refresh has to ask for it.
    pub(crate) source_rows: RefCell<HashMap<TableName, (u64, SnapshotId)>>,
    /// What refreshes have taken, by table.
    pub(crate) measured: RefCell<MeasuredTables>,
    /// The watermarks that this process has moved, by table.
    pub(crate) watermarks: RefCell<HashMap<String, Watermark>>,
    /// The state tables that are known to be those of what their tables hold, by table.
    pub(crate) written_states: RefCell<HashMap<Uuid, WrittenState>>,
    /// The refreshes by which this process published tables without their states, by table.
    pub(crate) left_states: RefCell<HashMap<Uuid, String>>,
    /// The ids of state tables in the lake, as of a snapshot.
    pub(crate) state_ids: RefCell<Option<(SnapshotId, HashMap<TableName, i64>)>>,
    /// Whether tables are compacted after their refreshes.
    pub(crate) compacts: Cell<bool>,
    /// What is known of how the tables are stored.
    pub(crate) upkeep: Arc<Upkeep>,
    /// The statements of a refresh, kept while it is explained.
    pub(crate) trace: RefCell<Option<Vec<String>>>,
    /// Whether somebody stopped what is running.
    pub(crate) interrupted: Arc<AtomicBool>,
}

/// Stops the statement that is running in the lake, from any thread: Ctrl-C, SIGTERM, a time limit.
#[derive(Clone)]
pub struct Interrupter {
    handles: [InterruptHandle; 2],
    interrupted: Arc<AtomicBool>,
}

impl Interrupter {
    /// Makes the running statement fail; a refresh that fails by it counts as cancelled. A refresh is many statements:
    /// what has to stop for sure is interrupted again until it has.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.handles.iter().for_each(InterruptHandle::interrupt);
    }
}

impl DynamicTables {
    /// Opens the dynamic tables of a lake.
    ///
    /// # Errors
    /// What the lake says when it gives no session, `INTERNAL` when the parser cannot be opened.
    pub fn open(lake: Lake, registry: Registry) -> Result<Self> {
        Self::over(lake, Arc::new(registry))
    }

    /// The same dynamic tables once more, for another thread: one lake with one limit of memory, connections of its own.
    ///
    /// # Errors
    /// What [`DynamicTables::open`] says.
    pub fn twin(&self) -> Result<Self> {
        let mut twin = Self::over(self.lake.clone(), Arc::clone(&self.registry))?;
        twin.upkeep = Arc::clone(&self.upkeep);
        twin.compacts.set(self.compacts.get());
        twin.lease.set(self.lease.get());
        twin.auto.set(self.auto.get());
        Ok(twin)
    }

    /// How claims on tables that are refreshed are held from now on.
    pub fn set_lease(&self, lease: Lease) {
        self.lease.set(lease);
    }

    /// What AUTO goes by from now on.
    pub fn set_auto(&self, policy: AutoPolicy) {
        self.auto.set(policy);
    }

    fn over(lake: Lake, registry: Arc<Registry>) -> Result<Self> {
        let users = lake.session()?;
        let session = lake.work_session()?;
        Ok(Self {
            lake,
            session,
            users,
            registry,
            lease: Cell::default(),
            auto: Cell::default(),
            known: RefCell::default(),
            quiet: Cell::default(),
            parser: Parser::new()?,
            analyses: RefCell::default(),
            new_analysis: RefCell::default(),
            temporaries: RefCell::default(),
            shared: RefCell::default(),
            source_rows: RefCell::default(),
            measured: RefCell::default(),
            watermarks: RefCell::default(),
            written_states: RefCell::default(),
            left_states: RefCell::default(),
            state_ids: RefCell::default(),
            compacts: Cell::new(true),
            upkeep: Arc::default(),
            trace: RefCell::default(),
            interrupted: Arc::default(),
        })
    }

    /// The connection to the lake for a user's plain DuckDB statements; refreshes have another one.
    #[must_use]
    #[expect(clippy::misnamed_getters, reason = "to the caller it is the session; ours is nobody else's business")]
    pub const fn session(&self) -> &Session {
        &self.users
    }

    /// The lake.
    #[must_use]
    pub const fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// A handle that stops what the lake is doing for this value.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        let handles = [self.session.interrupt_handle(), self.users.interrupt_handle()];
        Interrupter { handles, interrupted: Arc::clone(&self.interrupted) }
    }

    /// The table of the lake that a name means.
    ///
    /// # Errors
    /// `QUERY` when the name belongs to another catalog.
    pub fn resolve(&self, name: &ObjectName) -> Result<TableName> {
        name.resolve(self.lake.alias(), self.lake.schema())
    }

    /// All dynamic tables as they are registered.
    pub(crate) fn load_all(&self) -> Result<Registered> {
        self.registry.load_all().map(Registered::new)
    }

    /// The dynamic table of that name.
    pub(crate) fn find(&self, name: &ObjectName) -> Result<DynamicTable> {
        let resolved = self.resolve(name)?;
        self.registry.get(&resolved)?.ok_or_else(|| unknown(&resolved))
    }
}

/// The error for a name that is no dynamic table.
pub(crate) fn unknown(name: &TableName) -> Error {
    Error::new(Code::Query, format!("dynamic table {name} does not exist"))
        .with_hint("`dynamic-tables list` shows those that do.")
}
