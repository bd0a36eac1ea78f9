//! The pool's record, with a Redis server of each test's own.

use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Joined, Wanted, Worker};
use super::{Budget, SharedHistory, SharedPool, Sizing};
use crate::clock;
use crate::engine::Engine;
use crate::engine::testing::Server;
use crate::protocol::{Event, Problem, RunId, SessionId, Stage};
use crate::session::{EventKey, Logs, Read, RedisLogs};
use crate::warmup::{Cause, History, Percentiles, Phase, Pool, PoolError, PoolState, warmup_failed};

const PLENTY: (u64, u64) = (100, 1_000_000);

fn warming() -> PoolState {
    let run = Some(RunId::random());
    PoolState { phase: Phase::Warming, run, started_ms: clock::now_ms(), ..PoolState::default() }
}

fn worker(phase: Phase) -> Worker {
    Worker { phase, started_ms: clock::now_ms(), running: 0, at_once: 2, usual: None, weights: None }
}

fn sizing() -> Sizing {
    let (linger, limit) = (Duration::from_secs(60), Duration::from_secs(60));
    let budget = Budget { wakes: 100, gpu: Duration::from_secs(1000) };
    Sizing { max_workers: 3, jobs_per_worker: 8, linger, limit, budget }
}

struct Fixture {
    _server: Server,
    engine: Arc<Engine>,
    board: Arc<Board>,
    logs: Arc<RedisLogs>,
}

async fn fixture() -> Fixture {
    let server = Server::start().await;
    let engine = server.engine().await;
    let board = Board::new(Arc::clone(&engine)).await;
    let logs = RedisLogs::new(Arc::clone(&engine), Duration::from_secs(60)).await;
    Fixture { _server: server, engine, board, logs }
}

impl Fixture {
    async fn want(&self, who: &str, new: &PoolState) -> Wanted {
        self.board.want(who, (false, 60_000), PLENTY, new).await.expect("answers").0
    }

    /// A worker has said nothing for longer than anybody waits.
    async fn is_lost(&self, worker: &str) {
        let mut pipe = redis::pipe();
        let long_ago = clock::now_ms() - 60_000;
        pipe.cmd("ZADD").arg(self.engine.keys().of("pool", "heard")).arg(long_ago).arg(worker).ignore();
        self.engine.ask::<()>(&pipe).await.expect("answers");
    }

    async fn phase(&self) -> Phase {
        self.board.state().await.expect("answers").phase
    }

    /// What a session that opens now is told of runs.
    async fn told(&self) -> usize {
        let session = SessionId::random();
        self.logs.create(&session).await.expect("a log");
        match self.logs.read(&session, EventKey::START).await.expect("answers") {
            Read::Events(events) | Read::Gone(events, _) => events.len(),
        }
    }
}

fn anything() -> [(u64, Event); 1] {
    [(clock::now_ms(), Event::Problem(warmup_failed()))]
}

#[tokio::test]
async fn a_run_is_told_by_who_leads_it_and_by_nobody_else() {
    let all = fixture().await;
    let run = warming();
    assert_eq!(all.want("s_1", &run).await, Wanted::Begun);
    assert_eq!(all.want("s_2", &warming()).await, Wanted::Known, "one run for both");
    assert!(
        all.board.tell(("", 0), &run, &anything()).await.expect("answers"),
        "nobody leads it: the keeper tells"
    );
    let joined = all.board.join("w_1", &worker(Phase::Warming), &warming()).await.expect("answers");
    assert!(matches!(joined, Joined::Leads(state) if state.run == run.run));
    let joined = all.board.join("w_2", &worker(Phase::Warming), &warming()).await.expect("answers");
    assert!(matches!(joined, Joined::Silent));
    for other in ["", "w_2"] {
        assert!(
            !all.board.tell((other, 0), &run, &anything()).await.expect("answers"),
            "{other:?} leads nothing"
        );
    }
    assert!(!all.board.tell(("w_1", 0), &warming(), &anything()).await.expect("answers"), "another run");
    assert_eq!(all.told().await, 1);
    // The second is ready first, and tells so.
    let joined = all.board.join("w_2", &worker(Phase::Ready), &warming()).await.expect("answers");
    assert!(matches!(joined, Joined::Leads(_)));
    assert!(!all.board.tell(("w_1", 0), &run, &anything()).await.expect("answers"));
    let ready = PoolState { phase: Phase::Ready, ..run };
    assert!(all.board.tell(("w_2", 0), &ready, &anything()).await.expect("answers"));
    assert_eq!(all.phase().await, Phase::Ready);
}

#[tokio::test]
async fn who_is_lost_leads_nothing_and_without_a_ready_worker_the_pool_is_cold() {
    let all = fixture().await;
    let run = warming();
    all.want("s_1", &run).await;
    all.board.join("w_1", &worker(Phase::Warming), &warming()).await.expect("answers");
    all.is_lost("w_1").await;
    let look = sizing().look(&all.board, None).await.expect("answers");
    assert!(!look.led && look.workers.is_empty(), "the run waits for another worker");
    let joined = all.board.join("w_2", &worker(Phase::Warming), &warming()).await.expect("answers");
    assert!(matches!(joined, Joined::Leads(_)));
    let beat = all.board.beat("w_1", &worker(Phase::Warming), 0).await.expect("answers");
    assert!(
        !beat.known && beat.older == 1,
        "it hears that it was thought to be dead, and is the younger one now"
    );
    all.board.leave("w_1").await.expect("answers");

    all.board.beat("w_2", &worker(Phase::Ready), 2000).await.expect("answers");
    let ready = PoolState { phase: Phase::Ready, ..run };
    assert!(all.board.tell(("w_2", 0), &ready, &anything()).await.expect("answers"));
    assert_eq!(all.told().await, 1);
    all.is_lost("w_2").await;
    let look = sizing().look(&all.board, None).await.expect("answers");
    assert_eq!((look.state.phase, look.gpu_ms), (Phase::Cold, 2000));
    assert_eq!(all.told().await, 0, "who comes now isn't told that it is ready");
}

#[tokio::test]
async fn the_weights_of_a_pool_are_those_that_all_its_ready_workers_have() {
    let all = fixture().await;
    let with = |weights: &str| Worker {
        weights: serde_json::from_value(weights.into()).ok(),
        ..worker(Phase::Ready)
    };
    let known = async || {
        let weights = all.board.state().await.expect("answers").weights;
        weights.map(|weights| weights.to_string())
    };
    let run = warming();
    all.want("s_1", &run).await;
    all.board.join("w_1", &with("old"), &warming()).await.expect("answers");
    assert_eq!(known().await, None, "it isn't ready");
    let ready = PoolState { phase: Phase::Ready, ..run };
    assert!(all.board.tell(("w_1", 0), &ready, &anything()).await.expect("answers"));
    all.board.beat("w_2", &worker(Phase::Warming), 0).await.expect("answers");
    assert_eq!(known().await.as_deref(), Some("old"));
    all.board.beat("w_2", &with("new"), 0).await.expect("answers");
    assert_eq!(known().await, None, "new ones are being rolled out");
    let mut news = all.board.news();
    news.mark_unchanged();
    all.board.leave("w_1").await.expect("answers");
    let heard = tokio::time::timeout(Duration::from_secs(5), news.changed()).await;
    heard.expect("gateways hear of it at once").expect("the board lives");
    assert_eq!(known().await.as_deref(), Some("new"));
    all.board.beat("w_2", &worker(Phase::Ready), 0).await.expect("answers");
    assert_eq!(known().await, None, "a worker that doesn't say");
}

#[tokio::test]
async fn one_gateway_at_a_time_keeps_the_machines() {
    let all = fixture().await;
    let keeps = async |name, keeps_ms| {
        sizing().look(&all.board, Some((name, keeps_ms))).await.expect("answers").keeps
    };
    assert!(keeps("g_1", 60_000).await && !keeps("g_2", 60_000).await && keeps("g_1", 60_000).await);
    // It goes.
    assert!(keeps("g_1", 1).await);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(keeps("g_2", 60_000).await && !keeps("g_1", 60_000).await);
}

#[tokio::test]
async fn intents_count_while_their_shopper_may_send_a_photo_or_waits_for_the_model() {
    let all = fixture().await;
    let (brief, long) = (Duration::from_millis(30), Duration::from_secs(60));
    let waiting = async |linger| {
        Sizing { linger, ..sizing() }.look(&all.board, None).await.expect("answers").waiting_sessions
    };
    let run = warming();
    all.want("s_1", &run).await;
    all.want("s_2", &run).await;
    all.want("s_2", &run).await;
    tokio::time::sleep(brief * 2).await;
    assert_eq!(waiting(brief).await, 2, "both wait for the model, however long it takes");
    all.board.join("w_1", &worker(Phase::Ready), &warming()).await.expect("answers");
    let ready = PoolState { phase: Phase::Ready, ..run };
    assert!(all.board.tell(("w_1", 0), &ready, &[]).await.expect("answers"));
    assert_eq!((waiting(long).await, waiting(brief).await), (2, 0));
}

#[tokio::test]
async fn who_only_looks_is_refused_first_when_the_day_has_cost_enough() {
    let all = fixture().await;
    let budget = Budget { wakes: 5, gpu: Duration::from_secs(100) };
    let history: Arc<dyn History> = Arc::new(SharedHistory::new(Arc::clone(&all.engine)));
    let draining = tokio_util::sync::CancellationToken::new();
    let ways = (Duration::from_secs(60), budget);
    let pool = SharedPool::new(Arc::clone(&all.board), history, ways, draining).await;
    let cause = |trigger: &str| Cause { trigger: trigger.into(), session: None, explicit: false };
    for n in 0..4 {
        all.board.launch(&format!("l_{n}")).await.expect("answers");
    }
    let refused = pool.ensure_warm(cause("hover")).await.expect_err("four fifths are spent");
    assert!(
        matches!(refused, PoolError::Spent { kind: "wakes", retry_after_ms } if retry_after_ms <= 86_400_000)
    );
    let Problem { code, retry_after_s, .. } = refused.problem();
    assert!(code.status() == 429 && retry_after_s.is_some());
    let run = pool.ensure_warm(cause("upload")).await.expect("a photo may");
    assert_eq!(pool.ensure_warm(cause("hover")).await, Ok(run.clone()), "and who looks has it then");

    // A failed run: only a person is let try at once.
    let failed = PoolState { phase: Phase::Failed, ..all.board.state().await.expect("answers") };
    assert!(all.board.tell(("", 0), &failed, &[]).await.expect("answers"));
    assert!(matches!(pool.ensure_warm(cause("upload")).await, Err(PoolError::Cooling { .. })));
    assert_ne!(pool.ensure_warm(Cause::explicit("warmup")).await.expect("a person may"), run);
}

#[tokio::test]
async fn every_machine_knows_what_runs_took_on_any() {
    let all = fixture().await;
    let (here, there) =
        (SharedHistory::new(Arc::clone(&all.engine)), SharedHistory::new(Arc::clone(&all.engine)));
    for total in [10, 20, 30, 40, 50] {
        assert_eq!(there.estimates("m", true).await.run, None);
        here.record("m", true, total, &[(Stage::Container, total / 10)]).await;
    }
    let estimates = there.estimates("m", true).await;
    assert_eq!(estimates.run, Some(Percentiles { p50: 30, p90: 50 }));
    assert_eq!(estimates.stages[&Stage::Container], Percentiles { p50: 3, p90: 5 });
    assert_eq!(there.estimates("m", false).await.run, None, "those began with a wake");
}

#[tokio::test]
async fn what_is_told_again_because_no_answer_came_is_told_once() {
    let all = fixture().await;
    let run = warming();
    all.want("s_1", &run).await;
    all.board.join("w_1", &worker(Phase::Warming), &warming()).await.expect("answers");
    let ready = PoolState { phase: Phase::Ready, ..run.clone() };
    for (number, state) in [(1, &run), (1, &run), (2, &ready), (2, &ready)] {
        assert!(all.board.tell(("w_1", number), state, &anything()).await.expect("answers"));
    }
    assert_eq!((all.told().await, all.phase().await), (2, Phase::Ready));
}

#[tokio::test]
async fn nobody_is_lost_while_redis_was_away() {
    let all = fixture().await;
    all.board.beat("w_1", &worker(Phase::Ready), 0).await.expect("answers");
    all.is_lost("w_1").await;
    let mut pipe = redis::pipe();
    let long_ago = clock::now_ms() - 30_000;
    pipe.cmd("HSET").arg(all.engine.keys().the("pool")).arg("looked_ms").arg(long_ago).ignore();
    all.engine.ask::<()>(&pipe).await.expect("answers");
    assert_eq!(sizing().look(&all.board, None).await.expect("answers").workers.len(), 1);
    all.is_lost("w_1").await;
    assert!(sizing().look(&all.board, None).await.expect("answers").workers.is_empty());
}

#[tokio::test]
async fn a_launch_has_come_up_with_the_first_word_of_a_worker_whatever_that_is() {
    let all = fixture().await;
    all.board.launch("l_1").await.expect("answers");
    all.board.launch("l_2").await.expect("answers");
    all.board.beat("w_1", &worker(Phase::Warming), 0).await.expect("answers");
    all.board.join("w_1", &worker(Phase::Warming), &warming()).await.expect("answers");
    let look = sizing().look(&all.board, None).await.expect("answers");
    assert_eq!((look.launches, look.arrived), (1, 1));
    all.board.join("w_2", &worker(Phase::Warming), &warming()).await.expect("answers");
    let look = sizing().look(&all.board, None).await.expect("answers");
    assert_eq!((look.launches, look.arrived), (0, 2));
    assert_eq!(all.board.give_up("l_1").await, Ok(false), "it is no longer waited for");
}
