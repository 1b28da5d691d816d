//! How many requests one client may make per second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A client may make this many seconds' worth of requests at once.
const BURST_SECONDS: f64 = 10.0;
/// Clients that are remembered at the same time.
const MOST_CLIENTS: usize = 10_000;

/// The requests of each client.
pub(crate) struct Rates {
    per_second: f64,
    clients: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), clients: Mutex::default() }
    }

    /// Whether the client may make a request now.
    pub fn allows(&self, client: &str) -> bool {
        self.allows_at(client, Instant::now())
    }

    fn allows_at(&self, client: &str, now: Instant) -> bool {
        let most = self.per_second * BURST_SECONDS;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(client) {
            // Who has made no request for so long that all is forgiven need not be remembered.
            clients.retain(|_, bucket| now.duration_since(bucket.at).as_secs_f64() < BURST_SECONDS);
            if clients.len() >= MOST_CLIENTS {
                return false;
            }
        }
        let bucket = clients.entry(client.to_owned()).or_insert(Bucket { left: most, at: now });
        let since = now.duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * self.per_second).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_may_make_a_burst_and_then_so_many_per_second() {
        let rates = Rates::new(2);
        let start = Instant::now();
        let made = |at: Duration| (0..100).filter(|_| rates.allows_at("a", start + at)).count();
        assert_eq!(made(Duration::ZERO), 20);
        assert_eq!(made(Duration::from_secs(3)), 6);
        assert_eq!(made(Duration::from_secs(3_600)), 20);
        assert!(rates.allows_at("b", start));
    }
}
