//! Work that is given up if it takes too long.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Does the work, and interrupts it once it has taken longer than it may.
pub fn within<T>(limit: Duration, interrupt: impl FnOnce() + Send + 'static, work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            interrupt();
        }
    });
    let result = work();
    drop(done);
    // It has nothing to say.
    drop(watch.join());
    result
}
