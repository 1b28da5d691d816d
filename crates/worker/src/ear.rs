//! The thread of a worker that listens to the registry and tells it that the worker lives. It knows nothing of work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use error::Result;
use refresh::Lease;
use registry::{Registry, WorkerRecord};

use crate::crew::Event;
use crate::identity::Identity;

/// The pause after the registry did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens as long as this value is there.
pub(crate) struct Ear {
    ended: Arc<AtomicBool>,
}

/// What the worker says of itself, and how often.
pub(crate) struct Voice {
    pub record: WorkerRecord,
    pub identity: Identity,
    pub lease: Lease,
}

impl Ear {
    /// Says that the worker is there, then listens.
    pub(crate) fn listen(registry: &Arc<Registry>, voice: Voice, events: Sender<Event>) -> Result<Self> {
        registry.report_worker(&voice.record, voice.lease.length)?;
        let ended = Arc::new(AtomicBool::new(false));
        let (registry, over) = (Arc::clone(registry), Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut spoke_at = Instant::now();
            while !over.load(Ordering::SeqCst) {
                let heard = hear(&registry, &voice, &mut spoke_at, &over, &events);
                if let Err(error) = heard {
                    // The worker finds out by itself, and says so.
                    tracing::debug!(%error, "cannot listen to the registry");
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Ok(Self { ended })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // Not waited for: it may be listening for as long as a heartbeat.
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn hear(
    registry: &Registry,
    voice: &Voice,
    spoke_at: &mut Instant,
    over: &AtomicBool,
    events: &Sender<Event>,
) -> Result<()> {
    let mut known = registry.news()?.changes;
    // What changed before somebody listened is not missed either.
    drop(events.send(Event::News));
    while !over.load(Ordering::SeqCst) {
        let until_next = voice.lease.heartbeat.saturating_sub(spoke_at.elapsed());
        if until_next.is_zero() {
            registry.report_worker(&voice.record, voice.lease.length)?;
            *spoke_at = Instant::now();
            let ended = voice.identity.bury_the_dead(registry)?;
            if ended > 0 {
                tracing::warn!(refreshes = ended, "ended refreshes in the history that died with their process");
            }
            continue;
        }
        if registry.wait_for_news(known, until_next)? {
            known = registry.news()?.changes;
            if events.send(Event::News).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
