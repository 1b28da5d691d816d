//! Ctrl-C and SIGTERM while a command runs: the first one cancels the statement that runs, so that it rolls back and
//! the command ends with an error; the second one ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use error::{Code, Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The exit code of a command that was cancelled: 128 plus the number of SIGINT, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// How often a command that was cancelled is interrupted until it ends.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

type Interrupt = Box<dyn Fn() + Send>;

/// What signals do to the command that runs.
#[derive(Clone, Default)]
pub struct Cancellation {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Stops what is running; nothing while there is nothing to stop.
    interrupt: Mutex<Option<Interrupt>>,
}

impl Shared {
    /// A command is many statements, and an interruption between two of them stops neither.
    fn interrupt_until_taken(&self) {
        while self.cancelled.load(Ordering::SeqCst) {
            if let Some(interrupt) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
                interrupt();
            }
            std::thread::sleep(INTERRUPT_INTERVAL);
        }
    }
}

impl Cancellation {
    /// Nothing was cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on signals call `interrupt`. May be called once per process.
    pub fn listen(&self, interrupt: impl Fn() + Send + 'static) -> Result<()> {
        *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(interrupt));
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|problem| Error::new(Code::Internal, "cannot listen for signals").with_source(problem))?;
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for _ in signals.forever() {
                if shared.cancelled.swap(true, Ordering::SeqCst) {
                    // The lake's transaction ends with its process, and the registry is brought up to it at the
                    // next refresh: nothing half-done remains.
                    std::process::exit(i32::from(EXIT_CODE));
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.interrupt_until_taken());
            }
        });
        tracing::debug!("signals cancel what runs");
        Ok(())
    }

    /// From now on signals call this in place of what they called before.
    pub fn instead(&self, interrupt: impl Fn() + Send + 'static) {
        *self.shared.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(interrupt));
    }

    /// Whether a signal came.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Takes note of a cancelled statement and goes on (the shell); whether there was one.
    pub fn take(&self) -> bool {
        self.shared.cancelled.swap(false, Ordering::SeqCst)
    }

    /// An error if a signal came: asked between two steps of a command.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }
}

/// The error of a command that was cancelled before it was done.
pub fn cancelled() -> Error {
    Error::new(Code::Resource, "cancelled")
        .with_hint("What was running is rolled back; what was reported as done stays.")
}
