//! What gateways and workers of a deployment share.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{Config, SharedArgs};
use crate::cutout::{Leases, Pace, Queue, RedisJobs, SharedResults, SharedStore};
use crate::engine::Engine;
use crate::scale::{Board, SharedHistory};
use crate::session::RedisLogs;
use crate::session::token::Secret;

/// Redis may start a little later than we do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The implementations for many machines.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) store: SharedStore,
    pub(super) secret: Secret,
    pub(super) logs: Arc<RedisLogs>,
    pub(super) jobs: Arc<RedisJobs>,
    pub(super) results: Arc<SharedResults>,
    pub(super) pace: Arc<Pace>,
    pub(super) board: Arc<Board>,
    pub(super) history: Arc<SharedHistory>,
}

impl Shared {
    pub(super) async fn connect(config: &Config, args: &SharedArgs) -> anyhow::Result<Self> {
        let store = SharedStore::open(&args.store).context("--store")?;
        store.is_usable().await.context("--store: photos can't be kept there")?;
        let engine = engine(args).await?;
        let secret = Secret::from_bytes(agree(&engine, &Secret::random()).await.context("--redis")?);
        tokio::spawn(keep_agreed(Arc::clone(&engine), secret.clone()));
        let logs = RedisLogs::new(Arc::clone(&engine), config.session_ttl).await;
        let pace = Arc::new(Pace::new(config.workers));
        let queue = (Queue::Pool, config.queue, Leases::default());
        let jobs = RedisJobs::new(Arc::clone(&engine), store.clone(), queue, Arc::clone(&pace)).await;
        let results = Arc::new(SharedResults::new(Arc::clone(&engine), store.clone(), config.keep));
        let board = Board::new(Arc::clone(&engine)).await;
        let history = Arc::new(SharedHistory::new(Arc::clone(&engine)));
        Ok(Self { engine, store, secret, logs, jobs, results, pace, board, history })
    }
}

async fn engine(args: &SharedArgs) -> anyhow::Result<Arc<Engine>> {
    let since = Instant::now();
    loop {
        match Engine::connect(&args.redis, &args.redis_prefix).await {
            Ok(engine) => return Ok(engine),
            // What is wrong with the address stays wrong.
            Err(error) if since.elapsed() >= PATIENCE || !error.is_io_error() => {
                return Err(anyhow::Error::new(error).context("--redis: Redis can't be used"));
            }
            Err(error) => {
                tracing::warn!(%error, "Redis can't be reached yet; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// The deployment's secret: this one where there is none yet.
async fn agree(engine: &Engine, secret: &Secret) -> anyhow::Result<[u8; 32]> {
    let key = engine.keys().the("secret");
    let mut pipe = redis::pipe();
    pipe.cmd("SET").arg(&key).arg(&secret.to_bytes()[..]).arg("NX").ignore();
    pipe.cmd("GET").arg(&key);
    let (bytes,): (Vec<u8>,) = engine.ask(&pipe).await?;
    <[u8; 32]>::try_from(bytes).ok().context("the secret in Redis is none of ours")
}

/// Agrees once more whenever Redis was away: it may have come back without its data, and who starts later must not
/// be the only one who has the new secret.
async fn keep_agreed(engine: Arc<Engine>, secret: Secret) {
    let missed = Arc::new(Notify::new());
    let heard = Arc::clone(&missed);
    let channel = engine.keys().of("secret", "news");
    let _subscription = engine.wakes().subscribe(channel, move |_| heard.notify_one()).await;
    loop {
        missed.notified().await;
        while let Err(error) = agree(&engine, &secret).await.map(|bytes| secret.adopt(bytes)) {
            tracing::warn!(%error, "the deployment's secret can't be agreed on yet");
            tokio::time::sleep(AGAIN).await;
        }
    }
}
