//! Builds a process out of its rooms, runs it, and shuts it down.

mod gateway;
mod serve;
mod shared;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::cutout::intake::{Parts, UploadLimits};
use crate::cutout::{Blobs, Intake, Jobs, Links, Pace, Pixels, PreviewParts, Previews, Results, image};
use crate::http::{self, Admission, App, AppState, Keys};
use crate::model::device::{Cpu, Wanted};
use crate::model::{Entry, Loader, Network, Registry};
use crate::protocol::{Code, Limits, Problem};
use crate::scale::Demands;
use crate::session::token::Secret;
use crate::session::{Logs, SessionBounds, Sessions};
use crate::spool::Spool;
use crate::telemetry;
use crate::warmup::{Answer, Known, Pool, Settings};

pub use worker::Worker;

/// Running jobs may finish within this time of a shutdown; what runs then is ended.
const JOBS_FINISH: Duration = Duration::from_secs(5);
/// After the jobs, channels say their last words and connections end within this time.
const CONNECTIONS_END: Duration = Duration::from_millis(1500);

const KNOWN_PHOTO: &[u8] = include_bytes!("../../models/known/photo.jpg");

/// A model, and the known photo with what it must say of that.
pub struct Model {
    /// Loads it.
    pub loader: Arc<dyn Loader>,
    /// Proves it.
    pub known: Known,
}

impl Model {
    /// With a line in the log that says what stands behind its name.
    fn of(entry: &Entry, makes: &'static str) -> anyhow::Result<Self> {
        tracing::info!(
            model = entry.name,
            network = entry.network.name(),
            side = entry.size,
            dtype = %entry.means.precision,
            device = entry.means.wanted.name(),
            weights = %entry.source,
            "this model makes {makes}"
        );
        Ok(Self { loader: entry.loader(), known: known_to(entry)? })
    }
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
pub fn default_loader(model_dir: Option<&PathBuf>, cpu: Cpu) -> Arc<dyn Loader> {
    let (folder, device) = (model_dir.cloned(), Wanted::Cpu);
    embedded(&Registry { folder, cpu, device, ..Registry::default() }).loader()
}

/// The known photo and the embedded model's known answer.
pub fn known() -> anyhow::Result<Known> {
    known_to(&embedded(&Registry::default()))
}

fn embedded(registry: &Registry) -> Entry {
    registry.entry(Network::embedded().name()).expect("an embedded network has weights")
}

/// The known photo and a model's known answer.
pub fn known_to(entry: &Entry) -> anyhow::Result<Known> {
    let limits = image::Limits { max_pixels: 1 << 20 };
    let photo = image::decode(KNOWN_PHOTO, &limits)?;
    let rgb = image::network_input(&photo, entry.size as u32)?;
    let answer = entry.answer().map(|answer| image::decode(answer, &limits)).transpose()?;
    // Grey, so one channel says it all.
    let answer = answer.map(|answer| Answer {
        cells: answer.rgb.iter().copied().step_by(3).collect(),
        side: answer.width as usize,
    });
    Ok(Known { rgb, answer })
}

/// What every process begins with: a socket, and what tells its tasks that it ends.
struct Opening {
    listener: TcpListener,
    address: SocketAddr,
    listening: Instant,
    metrics: PrometheusHandle,
    tracker: TaskTracker,
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Opening {
    async fn new(config: &Config, deployment: bool) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics()?;
        telemetry::count_from_zero(deployment);
        tokio::spawn(telemetry::upkeep(metrics.clone()));
        let address = config.address()?;
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        Ok(Self {
            address: listener.local_addr()?,
            listening: Instant::now(),
            listener,
            metrics,
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        })
    }

    fn settings(&self, config: &Config, process_started: Instant) -> Settings {
        Settings {
            stage_timeout: config.warmup_timeout,
            cooldown: config.warmup_cooldown,
            counts: true,
            slow: config.slow_start,
            deploy: config.deploy(),
            process_started,
            listening: self.listening,
        }
    }
}

/// What stands behind the requests of shoppers; the same in one process and on many machines.
struct Seams {
    logs: Arc<dyn Logs>,
    sessions: Arc<dyn Sessions>,
    pool: Arc<dyn Pool>,
    jobs: Arc<dyn Jobs>,
    previews: Option<Arc<Previews>>,
    results: Arc<dyn Results>,
    secret: Secret,
    /// The models that may be asked for, the default first.
    models: Vec<String>,
    demands: Option<Demands>,
}

impl Seams {
    /// Puts a small model beside them, whose cutouts share their pixels with whoever else makes them here.
    fn add_previews(
        &mut self,
        config: &Config,
        opening: &Opening,
        Model { loader, known }: Model,
        own: (Arc<dyn Jobs>, Arc<Pace>),
        (pace, cutout_pixels): (Arc<Pace>, Pixels),
    ) -> std::io::Result<()> {
        let parts = PreviewParts {
            jobs: Arc::clone(&self.jobs),
            own,
            pool: Arc::clone(&self.pool),
            pace,
            results: Arc::clone(&self.results),
            links: Links::new(self.secret.clone()),
            loader,
            known,
            limits: image_limits(config),
            pixels: config.preview_pixels(),
            cutout_pixels,
            job_timeout: config.job_timeout,
        };
        self.previews = Some(Previews::spawn(parts, &opening.tracker, &opening.draining)?);
        Ok(())
    }
}

impl Server {
    /// What is told to sessions, for who has more to tell.
    pub fn logs(&self) -> Arc<dyn Logs> {
        Arc::clone(&self.app.logs)
    }

    /// Puts the seams behind the socket.
    fn of(
        config: &Config,
        opening: Opening,
        (keys, spool): (Option<Keys>, Spool),
        seams: Seams,
    ) -> anyhow::Result<Self> {
        let Opening { listener, address, metrics, tracker, draining, closing, .. } = opening;
        warn_of_open_door(&address, keys.is_some());
        tokio::task::spawn_blocking(spool.sweeper());
        let Seams { logs, sessions, pool, jobs, previews, results, secret, models, demands } = seams;
        // Those that ask for the small model are in a queue of their own.
        let jobs = previews.as_ref().map_or(jobs, |previews| previews.all_jobs());
        let uploads =
            Arc::new(Blobs::new(&spool.folder("uploads")?, config.upload_memory, config.upload_disk)?);
        let intake = Intake::new(Parts {
            logs: Arc::clone(&logs),
            jobs: Arc::clone(&jobs),
            pool: Arc::clone(&pool),
            blobs: uploads,
            results: Arc::clone(&results),
            links: Links::new(secret.clone()),
            limits: UploadLimits { max_bytes: config.max_upload_bytes, image: image_limits(config) },
            models,
            previews,
        });
        tokio::spawn(Arc::clone(&intake).sweep());
        let app = Arc::new(App {
            logs,
            sessions,
            pool,
            intake,
            jobs,
            results,
            secret,
            demands,
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
        if app.jobs.here() == 0 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn keys(config: &Config) -> anyhow::Result<Option<Keys>> {
    config.keys.as_deref().map(Keys::read).transpose().context("--keys")
}

fn spool(config: &Config) -> anyhow::Result<Spool> {
    Spool::open(config.state_dir.as_deref()).context("no folder for photos (--state-dir)")
}

fn image_limits(config: &Config) -> image::Limits {
    image::Limits { max_pixels: config.max_pixels }
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

/// Chooses how many threads the network has; the first call counts.
pub fn set_threads(threads: Option<usize>) {
    let Some(threads) = threads else { return };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    if let Err(error) = pool {
        tracing::warn!(%error, "the number of threads was chosen before");
    }
}
