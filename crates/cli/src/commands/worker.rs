//! `worker`: keeps all dynamic tables fresh until told to stop.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ::refresh::DynamicTables;
use ::worker::{Opening, Options, Shutdown, Worker};
use connection::{Chain, Connections};
use error::{Code, Error, Result};
use exchange::{Exchange, Keeper, KeeperOptions, LakeSlot, Stop};
use lineage::Lineage;
use preview::{PreviewWorker, Previews, WorkerOptions};

use crate::args::WorkerArgs;
use crate::commands::sandbox::sandbox_options;
use crate::commands::{Context, serve};
use crate::config::{Catalog, Config, Origin, local_catalog};

/// Runs until a signal comes.
pub fn run(context: &mut Context<'_>, args: &WorkerArgs) -> Result<()> {
    let config = context.config;
    let options = Options {
        poll_interval: config.worker.poll_interval,
        grace_period: config.worker.grace_period,
        name: config.worker.name.clone(),
        once: args.once,
        concurrency: config.worker.concurrency,
        queues: config.worker.queues.clone(),
        lease: config.worker.lease,
        compaction: config.worker.compaction,
    };
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    // The lake is made by whoever comes first, so that others open what the worker has opened once.
    if args.serve || config.worker.lineage.is_some() {
        drop(open(config, Opening::First)?);
    }
    let served = match args.serve {
        true => Some(serve::open(config)?.start(&shutdown)),
        false => None,
    };
    // Only who is told so serves this queue: it takes no lake, and others need not look for previews.
    let previews = match config.worker.queues.iter().any(|queue| queue == preview::QUEUE) && !args.once {
        true => Some(previews(config)?),
        false => None,
    };
    let slot = LakeSlot::default();
    // Sources and exports are of the queue of tables that name none.
    let keeps = config.worker.queues.is_empty()
        || config.worker.queues.iter().any(|queue| queue == ::sql::properties::DEFAULT_QUEUE);
    let keeper = RefCell::new(None);
    let failed_sources = Cell::new(0);
    let worker = Worker::new(options, |opening| {
        // Some catalogs take one opener at a time.
        slot.put(None);
        let tables = open(config, opening)?;
        if keeps && args.once {
            let exchange = Exchange::new(tables.lake().clone(), connections(config)?);
            let (_, failed) = exchange.run_due(&keeper_options(config).name, &Stop::default())?;
            failed_sources.set(failed);
        }
        slot.put(Some(tables.lake().clone()));
        // Not before there is a lake: whoever was started in the wrong folder leaves nothing there.
        if keeps && !args.once && keeper.borrow().is_none() {
            keeper.replace(Some(Keeper::start(&connections(config)?, &slot, &keeper_options(config))));
        }
        Ok(tables)
    });
    let lineage = config.worker.lineage.as_ref().map(|target| {
        let registry = registry::Registry::open(&config.registry)?;
        Ok::<_, Error>(Lineage::follow(registry, worker.name(), target, &config.worker.lineage_namespace))
    });
    let lineage = lineage.transpose()?;
    let worked = worker.run(&shutdown);
    shutdown.request();
    if let Some(lineage) = lineage {
        lineage.end();
    }
    if let Some(keeper) = keeper.take() {
        keeper.stop(config.worker.grace_period.min(KEEPER_GRACE));
    }
    if let Some(previews) = previews {
        previews.stop(config.worker.grace_period);
    }
    if let Some(served) = served {
        served.wait();
    }
    let summary = worked?;
    match failed_sources.get() {
        _ if !args.once => Ok(()),
        0 => summary.check(),
        failed => Err(Error::new(Code::Dependency, format!("{failed} sources or exports failed"))
            .with_hint("The log above, SHOW SOURCES and SHOW EXPORTS say why.")),
    }
}

/// What runs for sources and exports has had the time that refreshes had; it is only waited for until it notices.
const KEEPER_GRACE: Duration = Duration::from_secs(5);

fn connections(config: &Config) -> Result<Connections> {
    Ok(Connections::new(registry::Registry::open(&config.registry)?, Chain::of_process()?))
}

fn keeper_options(config: &Config) -> KeeperOptions {
    let name = config.worker.name.clone().unwrap_or_else(|| "worker".to_owned());
    KeeperOptions { name, concurrency: config.worker.concurrency }
}

/// Somebody waits for a preview: another worker takes over sooner than with a refresh.
const PREVIEW_LEASE: Duration = Duration::from_secs(20);

/// Starts what carries out previews.
fn previews(config: &Config) -> Result<PreviewWorker> {
    let connections = connections(config)?;
    let name = config.worker.name.clone().unwrap_or_else(|| format!("previews-{}", std::process::id()));
    let options = WorkerOptions { name, queues: vec![preview::QUEUE.to_owned()], lease: PREVIEW_LEASE };
    let concurrency = config.preview.concurrency;
    tracing::info!(concurrency, "carrying out previews");
    Ok(PreviewWorker::start(&Previews::new(connections, sandbox_options(config)?), &options))
}

/// A worker that is told which lake to work on makes it where there is none yet, as a server on an empty volume does.
/// It never does so afterwards: what was there and is not must be away.
fn open(config: &Config, opening: Opening) -> Result<DynamicTables> {
    let named = config.setting("duckdb-path").is_some_and(|setting| setting.origin != Origin::Default);
    for (what, place) in [("lake", &config.lake.path), ("registry", &config.registry)] {
        let Catalog::File(path) = local_catalog(place) else { continue };
        if path.exists() || (opening == Opening::First && (named || what == "registry")) {
            continue;
        }
        let error = Error::new(Code::Configuration, format!("there is no {what} {}", path.display()));
        return Err(match opening {
            Opening::First => error.with_hint("Run this where the lake is, or name the lake with --duckdb-path."),
            Opening::Again => error,
        });
    }
    let lake = lake::Lake::open(&config.lake)?;
    DynamicTables::open(lake, registry::Registry::open(&config.registry)?)
}
