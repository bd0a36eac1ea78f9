//! A worker: has the model and no visitors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shared::Shared;
use super::{CONNECTIONS_END, JOBS_FINISH, Model, Opening, image_limits};
use crate::clock;
use crate::config::WorkerArgs;
use crate::cutout::{Inference, Jobs, Links, Pixels, RedisJobs, Workers, spawn_workers};
use crate::http::serve::serve;
use crate::http::wake::{self, WakeApp};
use crate::protocol::{Code, Problem};
use crate::scale::{Life, Member};
use crate::warmup::{Cause, LocalPool, Phase, Pool, Settings};

/// How many may hold it awake, and look at it.
const CONNECTIONS: usize = 1024;

/// A worker that listens.
pub struct Worker {
    /// Where.
    pub address: SocketAddr,
    listener: TcpListener,
    app: Arc<WakeApp>,
    pool: Arc<LocalPool>,
    jobs: Arc<RedisJobs>,
    member: Arc<Member>,
    living: JoinHandle<()>,
    idle: Duration,
    tracker: TaskTracker,
    draining: CancellationToken,
    closing: CancellationToken,
}

impl Worker {
    /// Listens, joins the pool and begins to warm.
    pub async fn start(args: &WorkerArgs, process_started: Instant) -> anyhow::Result<Self> {
        let config = &args.serve;
        config.tell_unused();
        Self::start_with(args, process_started, Model::of(&config.default_entry()?, "cutouts")?).await
    }

    /// The same with another model.
    pub async fn start_with(
        args: &WorkerArgs,
        process_started: Instant,
        Model { loader, known }: Model,
    ) -> anyhow::Result<Self> {
        let config = &args.serve;
        let opening = Opening::new(config, true).await?;
        let shared = Shared::connect(config, &args.shared).await?;
        let settings = Settings { counts: false, ..opening.settings(config, process_started) };
        let Opening { listener, address, metrics, tracker, draining, closing, .. } = opening;
        let life = Life {
            started_ms: clock::at_ms(process_started),
            at_once: config.workers,
            pace: Arc::clone(&shared.pace),
            jobs: Arc::clone(&shared.jobs),
        };
        let member = Member::new(shared.board, life);
        let tasks = (tracker.clone(), draining.clone());
        let pool = LocalPool::new(loader, Arc::new(known), member.clone(), shared.history, settings, tasks);
        let living = tokio::spawn(Arc::clone(&member).live(pool.follow()));
        tokio::spawn(ask_again(Arc::clone(&pool), member.asked()));
        let workers = Workers {
            jobs: shared.jobs.clone(),
            pool: Arc::clone(&pool),
            inference: Inference::spawn()?,
            results: shared.results,
            links: Links::new(shared.secret),
            pace: shared.pace,
            limits: image_limits(config),
            pixels: Pixels::new(config.pixel_memory, config.worker_pixel_limit()),
            job_timeout: config.job_timeout,
            count: config.workers.max(1),
        };
        spawn_workers(workers, &tracker, &draining);
        pool.ensure_warm(Cause::explicit("start")).await?;
        let app = Arc::new(WakeApp {
            pool: Arc::new(Arc::clone(&pool)),
            token: args.wake_token.clone(),
            held: watch::Sender::new(0),
            metrics,
            draining: draining.clone(),
        });
        let (jobs, idle) = (shared.jobs, args.idle);
        Ok(Self { address, listener, app, pool, jobs, member, living, idle, tracker, draining, closing })
    }

    /// Works until `shutdown`, or until nobody has wanted it for a while; then it leaves the pool, finishes what it
    /// has or gives it back, and ends.
    ///
    /// # Errors
    /// When the model's device is lost: a process can't get its GPU back, but the platform can start another process.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let router = wake::router(Arc::clone(&self.app));
        let serving = tokio::spawn(serve(self.listener, router, CONNECTIONS, self.closing.clone()));
        let idle = idle(&self.pool, &self.jobs, &self.app, self.member.wanted(), self.idle);
        // Cancel safety: all of them only wait.
        let ended = tokio::select! {
            () = shutdown => {
                tracing::info!("shutting down");
                Ok(())
            }
            () = idle => {
                tracing::info!(idle = ?self.idle, "nobody wants this worker; it goes");
                Ok(())
            }
            reason = self.pool.lost() => Err(anyhow::anyhow!("{reason}; this worker goes, and another may come")),
        };
        self.draining.cancel();
        self.living.abort();
        // First, so that another one is woken in time where one is needed.
        self.member.leave().await;
        self.tracker.close();
        if tokio::time::timeout(JOBS_FINISH, self.tracker.wait()).await.is_err() {
            // Others have them.
            self.jobs.fail_all(Problem::new(Code::Draining, "")).await;
        }
        self.closing.cancel();
        if tokio::time::timeout(CONNECTIONS_END, serving).await.is_err() {
            tracing::warn!("some HTTP connections did not end in time");
        }
        ended
    }
}

/// Returns when nobody has wanted it for so long.
async fn idle(
    pool: &Arc<LocalPool>,
    jobs: &RedisJobs,
    app: &WakeApp,
    wanted: watch::Receiver<bool>,
    after: Duration,
) {
    let state = pool.follow();
    let mut since = Instant::now();
    // A twentieth of the time is as exact as anybody needs.
    let mut every =
        tokio::time::interval((after / 20).clamp(Duration::from_millis(50), Duration::from_secs(5)));
    loop {
        every.tick().await;
        let warms = state.borrow().phase == Phase::Warming;
        if warms || jobs.here() > 0 || *app.held.borrow() > 0 || *wanted.borrow() {
            since = Instant::now();
        } else if since.elapsed() >= after {
            return;
        }
    }
}

/// A worker whose warm-up failed tries once more when a run waits for somebody.
async fn ask_again(pool: Arc<LocalPool>, mut asked: watch::Receiver<u64>) {
    while asked.changed().await.is_ok() {
        if let Err(error) = pool.ensure_warm(Cause::explicit("again")).await {
            tracing::warn!(%error, "this worker can't warm again");
        }
    }
}
