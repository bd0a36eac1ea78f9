//! A gateway: holds the channels, and has the small model for previews.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::{Model, Opening, Seams, Server, keys, session_bounds, spool};
use crate::client;
use crate::config::GatewayArgs;
use crate::cutout::{CUTOUTS, Leases, Pace, Pixels, Queue, RedisJobs, SharedStore, look_after};
use crate::scale::{CommandWakes, Demands, Elsewhere, HttpWakes, Keeper, Means, SharedPool};
use crate::session::RedisSessions;
use crate::warmup::Pool;

/// The store is swept so often; one that expires by itself has nothing left to sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// No photo waits so long for a worker.
const PHOTOS_KEPT: Duration = Duration::from_secs(6 * 3600);

impl Server {
    /// Listens. Nothing is warmed because a gateway started.
    pub async fn gateway(args: &GatewayArgs) -> anyhow::Result<Self> {
        let config = &args.serve;
        let keys = keys(config)?;
        let means = means(args)?;
        let opening = Opening::new(config, true).await?;
        let spool = spool(config)?;
        let shared = Shared::connect(config, &args.shared).await?;
        let (tracker, draining) = (opening.tracker.clone(), opening.draining.clone());
        let bounds = session_bounds(config, keys.as_ref());
        let engine = Arc::clone(&shared.engine);
        let sessions = RedisSessions::new(engine, shared.secret.clone(), config.session_ttl, bounds);

        let sizing = args.sizing();
        let (board, history) = (Arc::clone(&shared.board), Arc::clone(&shared.history));
        let ways = (config.warmup_cooldown, sizing.budget);
        let pool = SharedPool::new(Arc::clone(&board), history.clone(), ways, draining.clone()).await;
        let pool: Arc<dyn Pool> = Arc::new(pool);
        let pace = Arc::clone(&shared.pace);
        let keeper = Keeper::new(
            Arc::clone(&board),
            history,
            pace,
            (means, sizing),
            (config.warmup_cooldown, config.deploy()),
        );
        let turn = keeper.keeps();
        tracker.spawn(keeper.run(draining.clone()));
        shared.jobs.count_in_turn(turn.clone());
        let mut seams = Seams {
            logs: shared.logs,
            sessions,
            pool,
            jobs: shared.jobs,
            previews: None,
            results: shared.results,
            secret: shared.secret,
            models: vec![config.default_model.clone()],
            demands: Some(Demands::new(board, sizing)),
        };
        let model = Model::of(&config.small_entry()?, "previews")?;
        let pixels = Pixels::new(config.pixel_memory, config.gateway_pixel_limit());
        let own_pace = Arc::new(Pace::new(1));
        let queue = (Queue::Small, CUTOUTS, Leases::default());
        let engine = Arc::clone(&shared.engine);
        let own = RedisJobs::new(engine, shared.store.clone(), queue, Arc::clone(&own_pace)).await;
        own.count_in_turn(turn.clone());
        seams.add_previews(config, &opening, model, (own, own_pace), (shared.pace, pixels))?;
        let theirs = (Arc::clone(&seams.jobs), Arc::clone(&seams.pool), seams.previews.clone());
        tracker.spawn(in_turn(turn.clone(), draining.clone(), move |end| {
            let (jobs, pool, previews) = theirs.clone();
            look_after(jobs, pool, previews, end)
        }));
        let (store, keep) = (shared.store, config.keep);
        tracker.spawn(in_turn(turn, draining, move |end| sweep(store.clone(), keep, end)));
        Self::of(config, opening, (keys, spool), seams)
    }
}

/// Does what one gateway does for all, whenever it is this one's turn.
async fn in_turn<F: Future<Output = ()>>(
    mut turn: watch::Receiver<bool>,
    draining: CancellationToken,
    task: impl Fn(CancellationToken) -> F,
) {
    while turn.wait_for(|turn| *turn).await.is_ok() && !draining.is_cancelled() {
        let end = draining.child_token();
        // Cancel safety: both tasks may be broken off anywhere, what they do is done by who has the next turn.
        tokio::select! {
            () = task(end) => {}
            _ = turn.wait_for(|turn| !*turn) => {}
        }
    }
}

async fn sweep(store: SharedStore, keep: Duration, end: CancellationToken) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = every.tick() => {}
        }
        if let Err(error) = store.sweep(keep, PHOTOS_KEPT).await {
            metrics::counter!("warmcut_store_errors_total").increment(1);
            tracing::warn!(%error, "the store can't be swept");
        }
    }
}

fn means(args: &GatewayArgs) -> anyhow::Result<Box<dyn Means>> {
    if let Some(command) = &args.wake_cmd {
        return Ok(Box::new(CommandWakes::new(command.clone())));
    }
    let Some(url) = &args.wake else { return Ok(Box::new(Elsewhere)) };
    let client = client::plain_client().context("--wake")?;
    Ok(Box::new(HttpWakes::new(client, url.clone(), args.wake_auth(), args.wake_hold)))
}
