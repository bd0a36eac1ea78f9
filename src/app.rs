//! Builds a server out of its rooms, runs it, and shuts it down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Warm};
use crate::cutout::intake::{Parts, UploadLimits};
use crate::cutout::{
    Blobs, Inference, Intake, Jobs, Links, MemoryJobs, MemoryResults, Pace, Pixels, PreviewParts, Previews,
    Results, Workers, image, spawn_workers,
};
use crate::http::{self, Admission, App, AppState, Keys};
use crate::model::device::Cpu;
use crate::model::{Loader, Network, Registry, U2NetLoader};
use crate::protocol::{Code, Limits, Problem};
use crate::session::token::Secret;
use crate::session::{Logs, MemoryLogs, MemorySessions, SessionBounds};
use crate::spool::Spool;
use crate::telemetry;
use crate::warmup::{Cause, History, Known, LocalPool, Phase, Pool, Settings};

/// Running jobs may finish within this time of a shutdown; what runs then is ended.
const JOBS_FINISH: Duration = Duration::from_secs(5);
/// After the jobs, channels say their last words and connections end within this time.
const CONNECTIONS_END: Duration = Duration::from_millis(1500);

const KNOWN_PHOTO: &[u8] = include_bytes!("../models/known/photo.jpg");

/// A model, and the known photo with what it must say of that.
pub struct Model {
    /// Loads it.
    pub loader: Arc<dyn Loader>,
    /// Proves it.
    pub known: Known,
}

/// A server that listens.
pub struct Server {
    /// Where.
    pub address: SocketAddr,
    app: AppState,
    listener: TcpListener,
    max_connections: usize,
    /// Holds uploads and results on disk; deleted with the server.
    _spool: Spool,
}

/// The embedded model, or its weights from a folder.
pub fn default_loader(model_dir: Option<&PathBuf>, cpu: Cpu) -> U2NetLoader {
    let registry = Registry { files: Vec::new(), folder: model_dir.cloned(), cpu };
    registry.loader(Network::embedded()).expect("an embedded network has weights")
}

/// The known photo and the embedded model's known answer.
pub fn known() -> anyhow::Result<Known> {
    known_to(Network::embedded())
}

/// The known photo and a model's known answer.
pub fn known_to(network: &Network) -> anyhow::Result<Known> {
    let limits = image::Limits { max_pixels: 1 << 20 };
    let photo = image::decode(KNOWN_PHOTO, &limits)?;
    let answer = image::decode(network.answer, &limits)?;
    let rgb = image::network_input(&photo, network.config.size as u32)?;
    // Grey, so one channel says it all.
    let cells = answer.rgb.iter().copied().step_by(3).collect();
    Ok(Known { rgb, answer: cells, side: answer.width as usize })
}

impl Server {
    /// Listens and begins to warm. `process_started` is the kernel's start of the process.
    pub async fn start(config: &Config, process_started: Instant) -> anyhow::Result<Self> {
        let model =
            |loader, network| anyhow::Ok(Model { loader: Arc::new(loader), known: known_to(network)? });
        let default = model(config.registry().loader(config.default_model)?, config.default_model)?;
        let preview = config.preview().map(|small| model(config.preview_loader(small)?, small));
        Self::start_with(config, process_started, default, preview.transpose()?).await
    }

    /// The same with another model, and another one for previews.
    pub async fn start_with(
        config: &Config,
        process_started: Instant,
        Model { loader, known }: Model,
        preview: Option<Model>,
    ) -> anyhow::Result<Self> {
        let keys = config.keys.as_deref().map(Keys::read).transpose().context("--keys")?;
        let metrics = telemetry::metrics()?;
        tokio::spawn(telemetry::upkeep(metrics.clone()));
        let address = config.address()?;
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        let (address, listening) = (listener.local_addr()?, Instant::now());
        warn_of_open_door(&address, keys.is_some());

        let spool = Spool::open(config.state_dir.as_deref()).context("no folder for photos (--state-dir)")?;
        tokio::task::spawn_blocking(spool.sweeper());
        let (tracker, draining, closing) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let logs: Arc<dyn Logs> = Arc::new(MemoryLogs::default());
        let secret = Secret::random();
        let bounds = session_bounds(config, keys.as_ref());
        let sessions = MemorySessions::new(Arc::clone(&logs), secret.clone(), config.session_ttl, bounds);

        let settings = Settings {
            stage_timeout: config.warmup_timeout,
            cooldown: config.warmup_cooldown,
            slow: config.slow_start,
            deploy: config.deploy(),
            process_started,
            listening,
        };
        let models = vec![loader.name().to_owned()];
        let history = Arc::new(History::open(config.state_dir.as_deref()));
        let tasks = (tracker.clone(), draining.clone());
        let pool = LocalPool::new(loader, Arc::new(known), Arc::clone(&logs), history, settings, tasks);

        let image_limits = image::Limits { max_pixels: config.max_pixels };
        let results_blobs =
            Arc::new(Blobs::new(&spool.folder("cutouts")?, config.cache_memory, config.cache_bytes)?);
        let results: Arc<dyn Results> =
            Arc::new(MemoryResults::new(results_blobs, config.keep, config.cache_bytes));
        let links = Links::new(secret.clone());
        let pace = Arc::new(Pace::new(config.workers));
        let jobs: Arc<dyn Jobs> =
            Arc::new(MemoryJobs::new(config.queue, Arc::clone(&logs), Arc::clone(&pace)));
        let uploads =
            Arc::new(Blobs::new(&spool.folder("uploads")?, config.upload_memory, config.upload_disk)?);
        let pixels = Pixels::new(config.pixel_memory, config.pixel_limit());
        let previews = preview.map(|Model { loader, known }| {
            let parts = PreviewParts {
                jobs: Arc::clone(&jobs),
                logs: Arc::clone(&logs),
                pool: Arc::new(Arc::clone(&pool)),
                pace: Arc::clone(&pace),
                results: Arc::clone(&results),
                links: links.clone(),
                loader,
                known,
                limits: image_limits,
                pixels: config.preview_pixels(),
                cutout_pixels: pixels.clone(),
                job_timeout: config.job_timeout,
            };
            Previews::spawn(parts, &tracker, &draining)
        });
        let previews = previews.transpose()?;
        let all_jobs = previews.as_ref().map_or_else(|| Arc::clone(&jobs), |previews| previews.all_jobs());
        let intake = Intake::new(Parts {
            logs: Arc::clone(&logs),
            jobs: Arc::clone(&all_jobs),
            pool: Arc::new(Arc::clone(&pool)),
            blobs: uploads,
            results: Arc::clone(&results),
            links: links.clone(),
            limits: UploadLimits { max_bytes: config.max_upload_bytes, image: image_limits },
            models,
            previews: previews.clone(),
        });
        let workers = Workers {
            jobs: Arc::clone(&jobs),
            pool: Arc::clone(&pool),
            inference: Inference::spawn()?,
            results: Arc::clone(&results),
            links,
            pace,
            limits: image_limits,
            pixels,
            job_timeout: config.job_timeout,
            count: config.workers.max(1),
            previews,
        };
        spawn_workers(workers, &tracker, &draining);
        tokio::spawn(Arc::clone(&sessions).evict());
        tokio::spawn(Arc::clone(&intake).sweep());
        if let Some(after) = config.unload_after.filter(|after| !after.is_zero()) {
            tokio::spawn(unload_when_idle(Arc::clone(&pool), Arc::clone(&jobs), Arc::clone(&intake), after));
        }
        if config.warm == Warm::Start {
            pool.ensure_warm(Cause::explicit("start")).await?;
        }

        let app = Arc::new(App {
            logs,
            sessions,
            pool: Arc::new(pool),
            intake,
            jobs: all_jobs,
            results,
            secret,
            admission: Admission::new(keys, config.public_url.as_deref()),
            operator_token: config.operator_token.clone(),
            limits: Limits {
                max_upload_bytes: config.max_upload_bytes,
                max_pixels: config.max_pixels,
                accepts: ["image/jpeg", "image/png", "image/webp"].map(str::to_owned).to_vec(),
            },
            ping_every: config.ping_every,
            proxies: config.proxies,
            analytics_rate: http::Rate::default(),
            metrics,
            static_dir: config.static_dir.clone(),
            waiters: http::Waiters::default(),
            tracker,
            draining,
            closing,
        });
        Ok(Self { address, app, listener, max_connections: config.max_connections, _spool: spool })
    }

    /// Serves until `shutdown`, then drains: readiness off, `drain` to every channel, a warm-up is given
    /// up, uploads and waiting jobs end with a problem, running jobs finish or are ended, channels close.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { app, listener, max_connections, _spool: spool, .. } = self;
        let router = http::router(Arc::clone(&app));
        let serving =
            tokio::spawn(http::serve::serve(listener, router, max_connections, app.closing.clone()));
        shutdown.await;
        tracing::info!("shutting down");
        let again = "the server is going away; send the photo again in a moment";
        // Before anybody can hear of the drain, so that an upload that ends because of it says so.
        let uploads_ended = app.intake.close(Problem::new(Code::Draining, again));
        app.draining.cancel();
        let finished = async {
            uploads_ended.await;
            // Workers claim nothing more.
            app.jobs.close(Problem::new(Code::Draining, again)).await;
            jobs_finished(&app).await;
        };
        if tokio::time::timeout(JOBS_FINISH, finished).await.is_err() {
            let message = "the server is going away before the cutout was done; send the photo again";
            app.jobs.fail_all(Problem::new(Code::Draining, message)).await;
        }
        app.closing.cancel();
        app.tracker.close();
        let deadline = Instant::now() + CONNECTIONS_END;
        // A connection task that panicked is no reason to wait.
        if tokio::time::timeout_at(deadline, serving).await.is_err() {
            tracing::warn!("some HTTP connections did not end in time");
        }
        if tokio::time::timeout_at(deadline, app.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = app.tracker.len(), "some sockets or background tasks did not end in time");
        }
        drop(spool);
    }
}

async fn jobs_finished(app: &AppState) {
    /// Often enough that a finished server doesn't linger; the queue's own signal has one listener.
    const LOOK: Duration = Duration::from_millis(20);
    loop {
        if app.jobs.depth().await.is_ok_and(|depth| depth.waiting + depth.running == 0) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn warn_of_open_door(address: &SocketAddr, has_keys: bool) {
    if !address.ip().is_loopback() && !has_keys {
        tracing::warn!(%address, "listening beyond this machine without keys: any program may use this server; see --keys");
    }
}

/// How many sessions there may be, and how many of one address or shop.
fn session_bounds(config: &Config, keys: Option<&Keys>) -> SessionBounds {
    let all = config.max_sessions;
    let or_all = |bound: usize| if bound == 0 { all } else { bound };
    // A shop that is alone takes nobody's place.
    let half = if keys.is_some_and(|keys| keys.shops() > 1) { all.div_ceil(2) } else { all };
    SessionBounds {
        all,
        per_address: or_all(config.max_sessions_per_address),
        per_shop: config.max_sessions_per_shop.map_or(half, or_all),
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

/// Chooses how many threads the network has; the first call counts.
pub fn set_threads(threads: Option<usize>) {
    let Some(threads) = threads else { return };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    if let Err(error) = pool {
        tracing::warn!(%error, "the number of threads was chosen before");
    }
}
