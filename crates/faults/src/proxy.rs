//! A TCP proxy whose connections can be cut. It knows nothing of what goes through it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use error::Result;

use crate::broken;

/// How long nobody gets through after a cut.
const CUT: Duration = Duration::from_millis(1_500);

/// A running proxy. It ends with this value.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    control: u16,
}

struct Shared {
    ended: AtomicBool,
    open: Mutex<Open>,
}

struct Open {
    connections: Vec<TcpStream>,
    cut_until: Instant,
}

impl Proxy {
    /// A proxy to a port of this machine.
    ///
    /// # Errors
    /// When no port can be listened to.
    pub fn start(upstream: u16) -> Result<Self> {
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            open: Mutex::new(Open { connections: Vec::new(), cut_until: Instant::now() }),
        });
        let carried = Arc::clone(&shared);
        let port = listen(&shared, move |client| carried.carry(client, upstream))?;
        let cutting = Arc::clone(&shared);
        // Whoever connects here has everything cut; the end of the connection tells that it is.
        let control = listen(&shared, move |_asked| {
            cutting.cut();
            Ok(())
        })?;
        Ok(Self { shared, port, control })
    }

    /// The port that leads through.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address at which a connection cuts all others.
    #[must_use]
    pub fn control(&self) -> String {
        format!("127.0.0.1:{}", self.control)
    }

    /// Cuts all connections, and lets none through for a while.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.cut();
        // Whoever listens wakes up and sees that it is over.
        for port in [self.port, self.control] {
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        }
    }
}

/// Listens on a port of its own until the proxy ends.
fn listen(shared: &Arc<Shared>, serve: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> Result<u16> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bound| Ok((bound.local_addr()?.port(), bound)));
    let (port, listener) = bound.map_err(|cause| broken("cannot listen", cause))?;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for client in listener.incoming() {
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
            // A connection that does not come about is one that was cut.
            drop(client.and_then(&serve));
        }
    });
    Ok(port)
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let mut open = self.open();
        open.cut_until = Instant::now() + CUT;
        for connection in open.connections.drain(..) {
            // One that has ended by itself cannot be ended.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn carry(&self, client: TcpStream, upstream: u16) -> io::Result<()> {
        let mut open = self.open();
        if Instant::now() < open.cut_until {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            open.connections.push(stream.try_clone()?);
        }
        for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
            thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both).and_then(|()| from.shutdown(Shutdown::Both));
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_cut_ends_and_comes_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let proxy = Proxy::start(upstream).unwrap();
        let echo = || -> io::Result<TcpStream> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))?;
            stream.write_all(b"ping")?;
            stream.read_exact(&mut [0; 4])?;
            Ok(stream)
        };
        let mut open = echo().unwrap();
        let mut control = TcpStream::connect(proxy.control()).unwrap();
        control.read_to_end(&mut Vec::new()).unwrap();
        assert!(matches!(open.read(&mut [0; 4]), Ok(0) | Err(_)), "it was cut");
        assert!(echo().is_err(), "nobody gets through");
        thread::sleep(CUT);
        assert!(echo().is_ok());
    }
}
