//! The server itself: listening, connections with their time limits, and a stop that lets what runs end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use error::{Code, Error, Result};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use worker::Shutdown;

use crate::Options;
use crate::routes::routes;
use crate::shared::Shared;

/// After an accept that failed (no file is left to open, for example) others are not tried at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens already and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
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
        let wanted = options.listen;
        let taken = |cause: std::io::Error| {
            Error::new(Code::Connection, format!("cannot listen on {wanted}: {cause}"))
                .with_transient(false)
                .with_hint("Name another address with --listen.")
        };
        let listener = TcpListener::bind(wanted).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let shared = Shared::open(options, lake, registry)?;
        let runtime = Builder::new_multi_thread()
            .thread_name("server")
            .enable_all()
            .build()
            .map_err(|cause| Error::new(Code::Resource, format!("no threads for the server: {cause}")))?;
        Ok(Self { listener, address, shared, runtime })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the shutdown is requested, and until what runs then has ended or the grace period is over.
    pub fn run(self, shutdown: &Shutdown) {
        let Self { listener, address, shared, runtime } = self;
        tracing::info!(%address, "serving");
        let shutdown = shutdown.clone();
        let grace_period = shared.options.grace_period;
        runtime.block_on(async {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "cannot listen"),
            };
            let stop = tokio::task::spawn_blocking(move || shutdown.wait_for_request());
            accept(listener, &shared, stop).await;
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

/// Takes connections until `stop`, then lets those that are there end.
async fn accept(listener: tokio::net::TcpListener, shared: &Arc<Shared>, stop: impl Future) {
    let router = routes(Arc::clone(shared));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(shared.options.limits.connections.max(1)));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.options.limits.arrival);
    let mut stop = std::pin::pin!(stop);
    loop {
        let connected = async {
            // Closed by nobody.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            connected = connected => connected,
            _ = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A result is written as it comes.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(for_peer(&router, peer));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
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

fn for_peer(router: &Router, peer: SocketAddr) -> Router {
    router.clone().layer(axum::Extension(ConnectInfo(peer)))
}
