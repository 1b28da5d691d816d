//! The thread of a worker that listens to the registry and tells it that the worker lives. It knows nothing of work.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use error::Result;
use refresh::Lease;
use registry::{Registry, WorkerRecord, WorkerState};

use crate::crew::Event;
use crate::identity::Identity;

/// The pause after the registry did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens as long as this value is there.
pub(crate) struct Ear {
    registry: Arc<Registry>,
    voice: Arc<Voice>,
}

/// What the worker says of itself, and how often.
pub(crate) struct Voice {
    /// None once it has said its last: a heartbeat that was about to be said must not bring it back to life.
    record: Mutex<Option<WorkerRecord>>,
    identity: Identity,
    lease: Lease,
}

impl Voice {
    pub(crate) fn new(record: WorkerRecord, identity: Identity, lease: Lease) -> Self {
        Self { record: Mutex::new(Some(record)), identity, lease }
    }

    fn record(&self) -> MutexGuard<'_, Option<WorkerRecord>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.record().is_none()
    }

    /// Says that the worker is there, unless it has said that it is not.
    fn speak(&self, registry: &Registry) -> Result<()> {
        match &*self.record() {
            Some(record) => registry.report_worker(record, self.lease.length),
            None => Ok(()),
        }
    }
}

impl Ear {
    /// Says that the worker is there, then listens.
    pub(crate) fn listen(registry: &Arc<Registry>, voice: Voice, events: Sender<Event>) -> Result<Self> {
        voice.speak(registry)?;
        let voice = Arc::new(voice);
        let ear = Self { registry: Arc::clone(registry), voice: Arc::clone(&voice) };
        let registry = Arc::clone(registry);
        std::thread::spawn(move || {
            let mut spoke_at = Instant::now();
            while !voice.is_over() {
                let heard = hear(&registry, &voice, &mut spoke_at, &events);
                if let Err(error) = heard {
                    // The worker finds out by itself, and says so.
                    tracing::debug!(%error, "cannot listen to the registry");
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Ok(ear)
    }

    /// Says from now on that the worker takes on nothing any more.
    pub(crate) fn drain(&self) {
        if let Some(record) = &mut *self.voice.record() {
            record.state = WorkerState::Draining;
        }
        if let Err(error) = self.voice.speak(&self.registry) {
            tracing::debug!(%error, "could not say that the worker is about to end");
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // The thread is not waited for: it may be listening for as long as a heartbeat.
        let Some(record) = self.voice.record().take() else { return };
        if let Err(error) = self.registry.forget_worker(&record.id) {
            tracing::debug!(%error, "could not say that the worker has ended");
        }
    }
}

fn hear(registry: &Registry, voice: &Voice, spoke_at: &mut Instant, events: &Sender<Event>) -> Result<()> {
    let mut known = registry.news()?.changes;
    // What changed before somebody listened is not missed either.
    drop(events.send(Event::News));
    while !voice.is_over() {
        let until_next = voice.lease.heartbeat.saturating_sub(spoke_at.elapsed());
        if until_next.is_zero() {
            voice.speak(registry)?;
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
