//! The list of all dynamic tables, made once for everybody who asks at the same time.
//!
//! Two hundred readers cost two lists, not two hundred, and nobody gets an answer that is older than the question: a list
//! is shared only with those who asked before it was begun.

use std::sync::Arc;
use std::time::Instant;

use error::Result;
use tokio::sync::Mutex;

use crate::rest::view::Table;
use crate::shared::Shared;

/// The last list.
#[derive(Default)]
pub(crate) struct Listed {
    last: Mutex<Option<(Instant, Arc<List>)>>,
}

/// All dynamic tables, ordered by name.
pub(crate) struct List {
    pub tables: Vec<Table>,
    /// The same as JSON.
    pub json: axum::body::Bytes,
}

impl Listed {
    /// All dynamic tables as they are now or later.
    pub async fn get(&self, shared: &Shared) -> Result<Arc<List>> {
        let asked_at = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((begun_at, list)) = &*last
            && *begun_at >= asked_at
        {
            return Ok(Arc::clone(list));
        }
        let begun_at = Instant::now();
        let list = shared
            .look(|tables| {
                let statuses = tables.status(None)?;
                let tables: Vec<Table> = statuses.iter().map(Table::from).collect();
                let json = serde_json::to_vec(&tables).unwrap_or_default().into();
                Ok(Arc::new(List { tables, json }))
            })
            .await?;
        *last = Some((begun_at, Arc::clone(&list)));
        Ok(list)
    }
}
