//! The pool as a gateway sees it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Wanted};
use super::budget::Budget;
use crate::clock;
use crate::engine::Unreachable;
use crate::protocol::{RunId, SessionId};
use crate::warmup::{Cause, History, Phase, Pool, PoolError, PoolState, Unload};

/// Looks by itself this often, should it ever have heard nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The log hears of a spent budget again when nobody was refused for so long.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl From<Unreachable> for PoolError {
    fn from(_: Unreachable) -> Self {
        Self::Unavailable
    }
}

/// The workers of a deployment. A gateway asks for them and never is one.
pub struct SharedPool {
    board: Arc<Board>,
    history: Arc<dyn History>,
    state: watch::Sender<PoolState>,
    cooldown: Duration,
    budget: Budget,
    draining: CancellationToken,
    told_spent: Mutex<Option<Instant>>,
}

impl SharedPool {
    /// The pool of a board's deployment.
    pub async fn new(
        board: Arc<Board>,
        history: Arc<dyn History>,
        (cooldown, budget): (Duration, Budget),
        draining: CancellationToken,
    ) -> Arc<Self> {
        let news = board.news();
        let state = watch::Sender::new(PoolState::default());
        let pool = Arc::new(Self {
            board,
            history,
            state,
            cooldown,
            budget,
            draining,
            told_spent: Mutex::default(),
        });
        pool.look().await;
        tokio::spawn(follow(Arc::downgrade(&pool), news));
        pool
    }

    // While Redis is away, what was known before still holds.
    async fn look(&self) {
        if let Ok(state) = self.board.state().await {
            self.learn(state);
        }
    }

    fn learn(&self, state: PoolState) {
        self.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
    }
}

async fn follow(pool: Weak<SharedPool>, mut news: watch::Receiver<u64>) {
    loop {
        let _ = tokio::time::timeout(LOOK_EVERY, news.changed()).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.look().await;
    }
}

#[async_trait]
impl Pool for Arc<SharedPool> {
    async fn ensure_warm(&self, cause: Cause) -> Result<RunId, PoolError> {
        if self.draining.is_cancelled() {
            return Err(PoolError::Draining);
        }
        let known = self.state.borrow().clone();
        // Where a run is under way or was, nothing is estimated anew.
        let usual = match known.phase {
            Phase::Warming | Phase::Ready => known.usual,
            Phase::Cold | Phase::Failed => self.history.estimates(&known.kind(), true).await.run,
        };
        let spend = self.budget.for_cause(&cause);
        let how = (cause.explicit, clock::millis(self.cooldown));
        let new = PoolState {
            phase: Phase::Warming,
            run: Some(RunId::random()),
            trigger: cause.trigger,
            session: cause.session,
            started_ms: clock::now_ms(),
            usual,
            model: known.model,
            device: known.device,
            load_ms: known.load_ms,
            ..PoolState::default()
        };
        // Who isn't a session waits as one.
        let who = new.session.clone().unwrap_or_else(SessionId::random);
        let (wanted, state) = self.board.want(who.as_str(), how, spend, &new).await?;
        // Which weights the workers have is known by looking alone, and may have been learnt meanwhile.
        let weights = self.state.borrow().weights.clone().filter(|_| state.phase == Phase::Ready);
        self.learn(PoolState { weights, ..state.clone() });
        match wanted {
            Wanted::Known | Wanted::Begun => state.run.or(new.run).ok_or(PoolError::Unavailable),
            Wanted::Cooling { left_ms } => Err(PoolError::Cooling {
                run: state.run,
                reason: state.error.unwrap_or_default(),
                retry_after_ms: left_ms,
            }),
            Wanted::Spent { kind, left_ms } => {
                if self
                    .told_spent
                    .lock()
                    .replace(Instant::now())
                    .is_none_or(|last| last.elapsed() >= TELL_EVERY)
                {
                    tracing::warn!(
                        kind,
                        trigger = new.trigger,
                        "today's budget is spent; intents warm nothing"
                    );
                }
                metrics::counter!("warmcut_wakes_total", "outcome" => "refused").increment(1);
                Err(PoolError::Spent { kind, retry_after_ms: left_ms })
            }
        }
    }

    fn follow(&self) -> watch::Receiver<PoolState> {
        self.state.subscribe()
    }

    async fn unload(&self, _: Unload) -> Result<bool, PoolError> {
        Err(PoolError::NotHere)
    }
}
