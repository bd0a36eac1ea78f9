//! Everything in one process, in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Model, Opening, Seams, Server, image_limits, keys, session_bounds, spool};
use crate::config::{Config, Warm};
use crate::cutout::{
    Blobs, CUTOUTS, Inference, Intake, Jobs, Links, MemoryJobs, MemoryResults, Pace, Pixels, Results,
    Workers, look_after, spawn_workers,
};
use crate::session::token::Secret;
use crate::session::{Logs, MemoryLogs, MemorySessions};
use crate::warmup::{Cause, LocalPool, OwnHistory, OwnRunLog, Phase, Pool, Unload};

impl Server {
    /// Listens and begins to warm. `process_started` is the kernel's start of the process.
    pub async fn start(config: &Config, process_started: Instant) -> anyhow::Result<Self> {
        config.tell_unused();
        let default = Model::of(&config.default_entry()?, "cutouts")?;
        let preview = config.preview()?.map(|small| Model::of(&small, "previews"));
        Self::start_with(config, process_started, default, preview.transpose()?).await
    }

    /// The same with another model, and another one for previews.
    pub async fn start_with(
        config: &Config,
        process_started: Instant,
        Model { loader, known }: Model,
        preview: Option<Model>,
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
        let mut seams = Seams {
            logs,
            sessions,
            pool: Arc::new(Arc::clone(&pool)),
            jobs: Arc::clone(&jobs),
            previews: None,
            results,
            secret,
            models,
            demands: None,
        };
        let pixels = Pixels::new(config.pixel_memory, config.pixel_limit());
        if let Some(model) = preview {
            let own_pace = Arc::new(Pace::new(1));
            let own = MemoryJobs::beside(CUTOUTS, Arc::clone(&seams.logs), Arc::clone(&own_pace));
            let own = (Arc::new(own) as Arc<dyn Jobs>, own_pace);
            seams.add_previews(config, &opening, model, own, (Arc::clone(&pace), pixels.clone()))?;
        }
        let workers = Workers {
            jobs: Arc::clone(&jobs),
            pool: Arc::clone(&pool),
            inference: Inference::spawn()?,
            results: Arc::clone(&seams.results),
            links: Links::new(seams.secret.clone()),
            pace,
            limits: image_limits(config),
            pixels,
            job_timeout: config.job_timeout,
            count: config.workers.max(1),
        };
        spawn_workers(workers, &tracker, &draining);
        let (jobs_too, pool_too) = (Arc::clone(&jobs), Arc::clone(&seams.pool));
        tracker.spawn(look_after(jobs_too, pool_too, seams.previews.clone(), draining));
        let server = Self::of(config, opening, (keys, spool), seams)?;
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
            let _ = pool.unload(Unload::Idle).await;
        }
    }
}
