//! The list of all dynamic tables, made once for many readers.
//!
//! A list that is not older than [`OLDEST`] is given to whoever asks, unless this server has begun or ended something since
//! that changes dynamic tables: who has changed something sees it in the next answer. Whoever cannot have the last list
//! waits for the one that is being made, and while readers keep coming the next is made before the last is too old, so that
//! nobody waits.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use error::{Code, Error, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as Turn, OnceCell};

use crate::pool::blocking;
use crate::rest::view::Table;
use crate::shared::Shared;

/// No answer is older than this when it is asked for.
const OLDEST: Duration = Duration::from_millis(250);
/// When readers still come at this age of a list, the next one is begun.
const AHEAD: Duration = Duration::from_millis(100);

/// The last list.
#[derive(Default)]
pub(crate) struct Listed {
    last: Mutex<Option<Arc<List>>>,
    /// Only one list is made at a time.
    turn: Arc<Turn<()>>,
}

/// All dynamic tables, ordered by name.
pub(crate) struct List {
    pub tables: Vec<Table>,
    /// The same as JSON.
    pub json: Bytes,
    /// What tells this JSON from any other, as it stands in a header.
    pub tag: String,
    zipped: OnceCell<Bytes>,
    begun_at: Instant,
    /// How many deeds the audit log knew of.
    deeds: u64,
}

impl Listed {
    /// All dynamic tables as they are, or were a moment ago.
    pub async fn get(&self, shared: &Arc<Shared>) -> Result<Arc<List>> {
        let asked_at = Instant::now();
        if let Some(list) = self.usable(shared, asked_at) {
            if asked_at.saturating_duration_since(list.begun_at) > AHEAD
                && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned()
            {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    // If it cannot be made, the next reader who has to wait hears why.
                    let _ = shared.listed.make(&shared).await;
                    drop(turn);
                });
            }
            return Ok(list);
        }
        let _turn = self.turn.lock().await;
        match self.usable(shared, asked_at) {
            Some(list) => Ok(list),
            None => self.make(shared).await,
        }
    }

    /// The last list, if whoever asked at this moment may have it.
    fn usable(&self, shared: &Shared, asked_at: Instant) -> Option<Arc<List>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |list: &&Arc<List>| {
            asked_at.saturating_duration_since(list.begun_at) <= OLDEST && list.deeds == shared.audit.deeds()
        };
        last.as_ref().filter(fits).map(Arc::clone)
    }

    async fn make(&self, shared: &Shared) -> Result<Arc<List>> {
        let (begun_at, deeds) = (Instant::now(), shared.audit.deeds());
        let list = shared
            .look(move |tables| {
                let statuses = tables.status(None)?;
                let tables: Vec<Table> = statuses.iter().map(Table::from).collect();
                let json = serde_json::to_vec(&tables)
                    .map_err(|cause| Error::new(Code::Internal, format!("the list cannot be written: {cause}")))?;
                let digest = Sha256::digest(&json);
                let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                let tag = format!("\"{tag}\"");
                Ok(Arc::new(List { tables, json: json.into(), tag, zipped: OnceCell::new(), begun_at, deeds }))
            })
            .await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&list));
        Ok(list)
    }
}

impl List {
    /// The JSON compressed with gzip, which is done once.
    pub async fn zipped(&self) -> Result<Bytes> {
        let zip = || async {
            let json = self.json.clone();
            blocking(move || {
                let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 8), Compression::fast());
                let zipped = encoder.write_all(&json).and_then(|()| encoder.finish());
                zipped
                    .map(Bytes::from)
                    .map_err(|cause| Error::new(Code::Internal, format!("the list cannot be compressed: {cause}")))
            })
            .await
        };
        self.zipped.get_or_try_init(zip).await.cloned()
    }
}
