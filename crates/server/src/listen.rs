//! The server itself: listening, connections with their time limits, and a stop that lets what runs end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use error::{Code, Error, Result};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use worker::Shutdown;

use crate::routes::routes;
use crate::shared::Shared;
use crate::tls::{Tls, acceptor};
use crate::{Options, flight};

/// After an accept that failed (no file is left to open, for example) others are not tried at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens already and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    flight: Option<(TcpListener, SocketAddr)>,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    runtime: Runtime,
}

/// A server that answers on a thread of its own.
pub struct Handle {
    thread: JoinHandle<()>,
}

impl Handle {
    /// Waits until the server has stopped.
    pub fn wait(self) {
        if self.thread.join().is_err() {
            tracing::error!("the server panicked");
        }
    }
}

impl Server {
    /// Opens lake and registry, and listens. Blocks; not from inside an async runtime.
    ///
    /// # Errors
    /// `CONFIGURATION` when it would be open to strangers, `CONNECTION` when the address cannot be had, and what lake and
    /// registry say when they cannot be opened.
    pub fn open(options: Options, lake: &lake::Options, registry: Registry) -> Result<Self> {
        options.check()?;
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        let (listener, address) = bind(options.listen, "--listen")?;
        let flight = options.flight.map(|wanted| bind(wanted, "--flight")).transpose()?;
        let shared = Shared::open(options, lake, registry)?;
        let runtime = Builder::new_multi_thread()
            .thread_name("server")
            .enable_all()
            .build()
            .map_err(|cause| Error::new(Code::Resource, format!("no threads for the server: {cause}")))?;
        Ok(Self { listener, address, flight, tls, shared, runtime })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for Arrow Flight.
    #[must_use]
    pub fn flight_address(&self) -> Option<SocketAddr> {
        self.flight.as_ref().map(|(_, address)| *address)
    }

    /// Answers until the shutdown is requested, and until what runs then has ended or the grace period is over.
    pub fn run(self, shutdown: &Shutdown) {
        let flight_address = self.flight_address();
        let Self { listener, address, flight, tls, shared, runtime } = self;
        tracing::info!(%address, flight = flight_address.map(tracing::field::display), tls = tls.is_some(), "serving");
        let shutdown = shutdown.clone();
        let grace_period = shared.options.grace_period;
        runtime.block_on(async {
            let http = (listener, Door::http(&shared, tls.as_ref()));
            let flight = flight.map(|(listener, _)| (listener, Door::flight(&shared, tls.as_ref())));
            let stop = tokio::task::spawn_blocking(move || shutdown.wait_for_request());
            answer(http, flight, &shared, stop).await;
        });
        // What blocks still (a query that does not hear its interruption) must not hold up the end.
        runtime.shutdown_timeout(grace_period.min(Duration::from_secs(5)));
        tracing::info!("stopped");
    }

    /// Does the same on a thread of its own.
    #[must_use]
    pub fn start(self, shutdown: &Shutdown) -> Handle {
        let shutdown = shutdown.clone();
        Handle { thread: std::thread::spawn(move || self.run(&shutdown)) }
    }
}

fn bind(wanted: SocketAddr, option: &str) -> Result<(TcpListener, SocketAddr)> {
    let taken = |cause: std::io::Error| {
        Error::new(Code::Connection, format!("cannot listen on {wanted}: {cause}"))
            .with_transient(false)
            .with_hint(format!("Name another address with {option}."))
    };
    let listener = TcpListener::bind(wanted).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    Ok((listener, address))
}

/// What is behind an address, and how it is spoken there.
struct Door {
    router: Router,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
}

enum Protocol {
    Http1(http1::Builder),
    Http2(http2::Builder<TokioExecutor>),
}

impl Door {
    fn http(shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) -> Self {
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(shared.options.limits.arrival);
        Self {
            router: routes(Arc::clone(shared)),
            protocol: Protocol::Http1(protocol),
            tls: tls.map(|tls| acceptor(tls, b"http/1.1")),
        }
    }

    fn flight(shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) -> Self {
        let mut protocol = http2::Builder::new(TokioExecutor::new());
        // Whoever is gone without a word is noticed.
        protocol.timer(TokioTimer::new()).keep_alive_interval(shared.options.limits.arrival);
        Self {
            router: flight::routes(Arc::clone(shared)),
            protocol: Protocol::Http2(protocol),
            tls: tls.map(|tls| acceptor(tls, b"h2")),
        }
    }

    /// Answers one connection to its end.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher, arrival: Duration) {
        let ended = match &self.tls {
            None => self.speak(stream, peer, watcher).await,
            Some(tls) => match tokio::time::timeout(arrival, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, peer, watcher).await,
                Ok(Err(error)) => return tracing::debug!(%error, "a connection does not speak TLS"),
                Err(_) => return tracing::debug!("a connection did not begin to speak TLS in time"),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        watcher: Watcher,
    ) -> hyper::Result<()> {
        let service = TowerToHyperService::new(self.router.clone().layer(axum::Extension(ConnectInfo(peer))));
        let stream = TokioIo::new(stream);
        match &self.protocol {
            Protocol::Http1(protocol) => watcher.watch(protocol.serve_connection(stream, service)).await,
            Protocol::Http2(protocol) => watcher.watch(protocol.serve_connection(stream, service)).await,
        }
    }
}

/// Takes connections until `stop`, then lets those that are there end.
async fn answer(
    (http_listener, http): (TcpListener, Door),
    flight: Option<(TcpListener, Door)>,
    shared: &Arc<Shared>,
    stop: impl Future,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(shared.options.limits.connections.max(1)));
    let arrival = shared.options.limits.arrival;
    let taking = async {
        tokio::join!(take(http_listener, http, &graceful, &room, arrival), async {
            if let Some((listener, flight)) = flight {
                take(listener, flight, &graceful, &room, arrival).await;
            }
        });
    };
    tokio::select! {
        () = taking => {}
        _ = stop => {}
    }
    let running = shared.running();
    tracing::info!(tasks = running, "stopping: no further requests");
    shared.stop();
    let tasks = &shared.tasks;
    let ended = async {
        tokio::join!(graceful.shutdown(), async {
            while tasks.unfinished() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        });
    };
    if tokio::time::timeout(shared.options.grace_period, ended).await.is_err() {
        tracing::warn!("the grace period is over, stopping what runs");
        tasks.cancel_all();
        let rolled_back = async {
            while shared.running() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        };
        // The lake's transaction ends with its process: nothing half-done remains.
        let _ = tokio::time::timeout(Duration::from_secs(10), rolled_back).await;
    }
    shared.close();
}

/// Takes connections for ever.
async fn take(
    listener: TcpListener,
    door: Door,
    graceful: &GracefulShutdown,
    room: &Arc<Semaphore>,
    arrival: Duration,
) {
    let door = Arc::new(door);
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    loop {
        // Closed by nobody.
        let permit = Arc::clone(room).acquire_owned().await.ok();
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A result is written as it comes.
        let _ = stream.set_nodelay(true);
        let (door, watcher) = (Arc::clone(&door), graceful.watcher());
        tokio::spawn(async move {
            door.serve(stream, peer, watcher, arrival).await;
            drop(permit);
        });
    }
}
