//! Everything in one process, in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Opening, Seams, Server, image_limits, keys, known_to, session_bounds, spool};
use crate::config::{Config, Warm};
use crate::cutout::{
    Blobs, Inference, Intake, Jobs, Links, MemoryJobs, MemoryResults, Pace, Results, Workers, look_after,
    spawn_workers,
};
use crate::model::Loader;
use crate::session::token::Secret;
use crate::session::{Logs, MemoryLogs, MemorySessions};
use crate::warmup::{Cause, Known, LocalPool, OwnHistory, OwnRunLog, Phase, Pool};

impl Server {
    /// Listens and begins to warm. `process_started` is the kernel's start of the process.
    pub async fn start(config: &Config, process_started: Instant) -> anyhow::Result<Self> {
        let loader = Arc::new(config.registry().loader(config.default_model)?);
        Self::start_with(config, process_started, loader, known_to(config.default_model)?).await
    }

    /// The same with another model.
    pub async fn start_with(
        config: &Config,
        process_started: Instant,
        loader: Arc<dyn Loader>,
        known: Known,
    ) -> anyhow::Result<Self> {
        let keys = keys(config)?;
        let opening = Opening::new(config, false).await?;
        let spool = spool(config)?;
        let (tracker, draining) = (opening.tracker.clone(), opening.draining.clone());
        let logs: Arc<dyn Logs> = Arc::new(MemoryLogs::default());
        let secret = Secret::random();
        let bounds = session_bounds(config, keys.as_ref());
        let sessions = MemorySessions::new(Arc::clone(&logs), secret.clone(), config.session_ttl, bounds);
        tokio::spawn(Arc::clone(&sessions).evict());

        let settings = opening.settings(config, process_started);
        let models = vec![loader.name().to_owned()];
        let history = Arc::new(OwnHistory::open(config.state_dir.as_deref()));
        let run_log = Arc::new(OwnRunLog(Arc::clone(&logs)));
        let tasks = (tracker.clone(), draining.clone());
        let pool = LocalPool::new(loader, Arc::new(known), run_log, history, settings, tasks);

        let results_blobs =
            Arc::new(Blobs::new(&spool.folder("cutouts")?, config.cache_memory, config.cache_bytes)?);
        let results: Arc<dyn Results> =
            Arc::new(MemoryResults::new(results_blobs, config.keep, config.cache_bytes));
        let pace = Arc::new(Pace::new(config.workers));
        let jobs: Arc<dyn Jobs> =
            Arc::new(MemoryJobs::new(config.queue, Arc::clone(&logs), Arc::clone(&pace)));
        let workers = Workers {
            jobs: Arc::clone(&jobs),
            pool: Arc::clone(&pool),
            inference: Inference::spawn()?,
            results: Arc::clone(&results),
            links: Links::new(secret.clone()),
            pace,
            limits: image_limits(config),
            pixel_bytes: config.pixel_memory,
            pixel_limit: config.pixel_limit(),
            job_timeout: config.job_timeout,
            count: config.workers.max(1),
        };
        spawn_workers(workers, &tracker, &draining);
        let shared: Arc<dyn Pool> = Arc::new(Arc::clone(&pool));
        tracker.spawn(look_after(Arc::clone(&jobs), Arc::clone(&shared), draining));
        let seams = Seams {
            logs,
            sessions,
            pool: shared,
            jobs: Arc::clone(&jobs),
            results,
            secret,
            models,
            demands: None,
        };
        let server = Self::of(config, opening, (keys, spool), seams, true)?;
        if let Some(after) = config.unload_after.filter(|after| !after.is_zero()) {
            let intake = Arc::clone(&server.app.intake);
            tokio::spawn(unload_when_idle(Arc::clone(&pool), jobs, intake, after));
        }
        if config.warm == Warm::Start {
            pool.ensure_warm(Cause::explicit("start")).await?;
        }
        Ok(server)
    }
}

async fn unload_when_idle(pool: Arc<LocalPool>, jobs: Arc<dyn Jobs>, intake: Arc<Intake>, after: Duration) {
    let mut idle_since = Instant::now();
    let state = pool.follow();
    // A twentieth of the time is as exact as anybody needs.
    let mut every = tokio::time::interval((after / 20).max(Duration::from_millis(50)));
    loop {
        every.tick().await;
        let depth = jobs.depth().await.unwrap_or_default();
        let ready = state.borrow().phase == Phase::Ready;
        if !ready || depth.waiting + depth.running + intake.count() > 0 {
            idle_since = Instant::now();
        } else if idle_since.elapsed() >= after {
            // A run that began just now is a reason to stay.
            let _ = pool.unload("idle").await;
        }
    }
}
