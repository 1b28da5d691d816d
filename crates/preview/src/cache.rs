//! Answers that are remembered for a while. Only in memory: rows of somebody's database are in no file and no other system.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::answer::{Answer, Asked};

/// Answers are remembered up to so many bytes.
const MOST_BYTES: usize = 64 * 1_048_576;

/// What an answer is remembered by.
pub(crate) type Key = [u8; 32];

/// The answers.
pub(crate) struct Cache {
    lifetime: Duration,
    kept: Mutex<HashMap<Key, (Instant, Answer)>>,
}

/// The key of what was asked under connections of these revisions. Of a JSON document, in which no two requests look the same
/// and nothing can end one value and begin another.
pub(crate) fn key(asked: &Asked, rows: u64, revisions: &[(i64, u64)]) -> Key {
    let whole = serde_json::json!({ "asked": asked, "rows": rows, "revisions": revisions });
    Sha256::digest(whole.to_string()).into()
}

impl Cache {
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, kept: Mutex::default() }
    }

    /// The answer that was kept, and says so.
    pub fn get(&self, key: &Key) -> Option<Answer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, answer) = kept.get(key)?;
        (since.elapsed() < self.lifetime).then(|| Answer { cached: true, ..answer.clone() })
    }

    /// Keeps an answer that says nothing is wrong.
    pub fn put(&self, key: Key, answer: &Answer) {
        if answer.error.is_some() || self.lifetime.is_zero() || size(answer) > MOST_BYTES {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (since, _)| since.elapsed() < self.lifetime);
        kept.insert(key, (Instant::now(), answer.clone()));
        let mut bytes: usize = kept.values().map(|(_, answer)| size(answer)).sum();
        while bytes > MOST_BYTES {
            let Some(oldest) = kept.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| *key) else { return };
            bytes -= kept.remove(&oldest).map_or(0, |(_, answer)| size(&answer));
        }
    }
}

fn size(answer: &Answer) -> usize {
    answer.data.get().len() + answer.profile.as_ref().map_or(0, |profile| profile.get().len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use super::*;

    fn asked(sql: &str, table: &str, filter: Option<&str>) -> Asked {
        let asked = serde_json::json!({
            "sql": sql, "source_id": 1, "destination_id": 2, "table_name": table, "filter_sql": filter
        });
        serde_json::from_value(asked).unwrap()
    }

    #[test]
    fn no_two_requests_have_one_key() {
        let base = asked("a", "b", Some("c"));
        let variants = [
            (base.clone(), 100, vec![(1, 1), (2, 1)]),
            (asked("ab", "", Some("c")), 100, vec![(1, 1), (2, 1)]),
            (asked("a", "bc", Some("")), 100, vec![(1, 1), (2, 1)]),
            (asked("a", "b", None), 100, vec![(1, 1), (2, 1)]),
            (asked("a\",\"table_name\":\"b", "b", Some("c")), 100, vec![(1, 1), (2, 1)]),
            (base.clone(), 10, vec![(1, 1), (2, 1)]),
            (base.clone(), 100, vec![(1, 2), (2, 1)]),
            (base.clone(), 100, vec![(1, 1), (2, 2)]),
            (Asked { sample: true, ..base.clone() }, 100, vec![(1, 1), (2, 1)]),
            (Asked { include_profiling: true, ..base }, 100, vec![(1, 1), (2, 1)]),
        ];
        let keys: HashSet<Key> =
            variants.iter().map(|(asked, rows, revisions)| key(asked, *rows, revisions)).collect();
        assert_eq!(keys.len(), variants.len());
    }

    #[test]
    fn answers_are_kept_for_their_time() {
        let good: Answer =
            serde_json::from_str(r#"{"columns":[],"column_types":[],"data":[],"error":null}"#).unwrap();
        let (cache, short) = (Cache::new(Duration::from_secs(60)), Cache::new(Duration::from_millis(20)));
        cache.put([1; 32], &good);
        short.put([1; 32], &good);
        cache.put([2; 32], &Answer { error: Some("wrong".to_owned()), ..good });
        assert!(cache.get(&[1; 32]).unwrap().cached && cache.get(&[2; 32]).is_none());
        std::thread::sleep(Duration::from_millis(30));
        assert!(short.get(&[1; 32]).is_none() && cache.get(&[1; 32]).is_some());
    }
}
