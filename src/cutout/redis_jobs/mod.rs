//! The queue of a deployment, in Redis: a stream with a consumer group.
//!
//! A worker that claims a job has a lease, which it renews for as long as it lives. A job whose lease is lost goes
//! to another worker, three times at most, and the one that lost it can neither report nor end it: every deed
//! names its lease, in one step with what it tells. Photos are not here but in the store.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{Script, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::jobs::{Claimed, Depth, Jobs, JobsError, Lease, NewJob, POSITION_EVERY};
use super::pace::Pace;
use super::shared::SharedStore;
use super::tell::{About, Ended, canceled, failed, moved, place};
use crate::clock;
use crate::engine::{Engine, Subscription, Unreachable, Wake, script};
use crate::protocol::{Code, Event, JobId, Problem, SessionId, UploadId};
use crate::session::redis_logs::{self, LOG, session_bounds};

/// How leases are kept.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// One that isn't renewed for so long is lost.
    pub lost: Duration,
    /// Renewed this often.
    pub renewed: Duration,
}

impl Default for Leases {
    /// Twice may fail.
    fn default() -> Self {
        Self { lost: Duration::from_secs(15), renewed: Duration::from_secs(5) }
    }
}

/// One of a deployment's queues; a job is in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// For the pool's workers.
    Pool,
    /// For the small model of gateways.
    Small,
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::Pool => "jobs",
            Self::Small => "jobs:small",
        }
    }
}

/// A worker that hears of nothing looks by itself: a lease may have been lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A job that killed so many workers would kill the next one.
const DELIVERIES: u32 = 3;
/// A repeated upload finds the job that it became for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

impl From<Unreachable> for JobsError {
    fn from(_: Unreachable) -> Self {
        Self::Unavailable
    }
}

struct Scripts {
    push: Script,
    claim: Script,
    hold: Script,
    tell: Script,
    stop: Script,
    known: Script,
    place: Script,
    waiting: Script,
}

/// A queue of a deployment.
pub struct RedisJobs {
    engine: Arc<Engine>,
    stream: String,
    store: SharedStore,
    pace: Arc<Pace>,
    scripts: Scripts,
    limit: usize,
    leases: Leases,
    news: Arc<News>,
    held: Arc<Held>,
    me: Weak<Self>,
    _subscription: Subscription,
}

#[derive(Default)]
struct News {
    pushed: Notify,
    changed: Notify,
    /// Whether it is this process that counts ends of jobs, for all.
    counts: OnceLock<watch::Receiver<bool>>,
}

impl News {
    fn counts(&self) -> bool {
        self.counts.get().is_some_and(|turn| *turn.borrow())
    }
}

/// A job that this process has a lease for.
struct Holding {
    lease: Lease,
    /// Its work stops.
    canceled: CancellationToken,
    /// Its lease needn't be renewed any more.
    ended: CancellationToken,
}

type Held = Mutex<HashMap<JobId, Holding>>;

fn hear(news: &News, held: &Held, wake: Wake<'_>) {
    if let Wake::Said(said) = wake
        && let Some((job, how)) = said.strip_prefix("ended ").and_then(|ended| ended.split_once(' '))
    {
        // By whoever: the one who works on it needn't go on.
        if let Ok(job) = JobId::try_from(job.to_owned())
            && let Some(holding) = held.lock().get(&job)
        {
            holding.canceled.cancel();
        }
        if news.counts()
            && let Some(ended) = Ended::from_words(how)
        {
            ended.count();
        }
    }
    if wake == Wake::Said("redelivered") && news.counts() {
        metrics::counter!("warmcut_jobs_redelivered_total").increment(1);
    }
    news.pushed.notify_waiters();
    news.changed.notify_one();
}

/// Renews a lease until it is lost.
async fn renew(jobs: Weak<RedisJobs>, leases: Leases, job: JobId, lease: Lease) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(leases.renewed).await;
        let Some(jobs) = jobs.upgrade() else { return };
        match jobs.hold(&job, lease, "renew", &[]).await {
            Ok(true) => renewed = Instant::now(),
            Err(Unreachable) if renewed.elapsed() < leases.lost => {}
            Ok(false) | Err(Unreachable) => {
                tracing::warn!(%job, "the lease is lost");
                // It may have come back to this process, under another lease.
                if let Some(holding) = jobs.held.lock().get(&job).filter(|holding| holding.lease == lease) {
                    holding.canceled.cancel();
                }
                return;
            }
        }
    }
}

/// How a job ended, where these are its last events.
fn how(events: &[Event]) -> String {
    Ended::by(events).map(Ended::to_words).unwrap_or_default()
}

/// Arguments of a script that tells events.
fn tell(call: &mut ScriptInvocation<'_>, events: &[Event]) {
    for event in events {
        redis_logs::tell(call, clock::now_ms(), event);
    }
}

impl RedisJobs {
    /// A queue that an engine's deployment shares, for so many jobs.
    pub async fn new(
        engine: Arc<Engine>,
        store: SharedStore,
        (queue, limit, leases): (Queue, usize, Leases),
        pace: Arc<Pace>,
    ) -> Arc<Self> {
        let with_shared = |source| script(&[LOG, include_str!("shared.lua"), source]);
        let scripts = Scripts {
            push: with_shared(include_str!("push.lua")),
            claim: with_shared(include_str!("claim.lua")),
            hold: with_shared(include_str!("hold.lua")),
            tell: with_shared(include_str!("tell.lua")),
            stop: with_shared(include_str!("stop.lua")),
            known: with_shared(include_str!("known.lua")),
            place: with_shared(include_str!("place.lua")),
            waiting: with_shared(include_str!("waiting.lua")),
        };
        let (news, held) = (Arc::<News>::default(), Arc::<Held>::default());
        let stream = engine.keys().the(queue.name());
        let channel = format!("{stream}:news");
        let heard = (Arc::clone(&news), Arc::clone(&held));
        let subscription =
            engine.wakes().subscribe(channel, move |wake| hear(&heard.0, &heard.1, wake)).await;
        Arc::new_cyclic(|me| Self {
            engine,
            stream,
            store,
            pace,
            scripts,
            limit,
            leases,
            news,
            held,
            me: me.clone(),
            _subscription: subscription,
        })
    }

    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = self.engine.call(script);
        call.key(&self.stream);
        call
    }

    /// Counts the ends of all jobs, whoever does the work, for as long as it is this process's turn.
    pub fn count_in_turn(&self, turn: watch::Receiver<bool>) {
        let _ = self.news.counts.set(turn);
    }

    /// The next job, and how often it was claimed by now.
    async fn claim_one(&self) -> Result<Option<(Claimed, u32)>, Unreachable> {
        let mut call = self.call(&self.scripts.claim);
        call.arg(clock::millis(self.leases.lost));
        let answer: Option<Vec<String>> = self.engine.run(&call).await?;
        let Some(fields) = answer else { return Ok(None) };
        let Some((job, lease, deliveries)) = self.read(&fields) else {
            self.give_up_unread(&fields).await;
            return Ok(None);
        };
        let (canceled, ended) = (CancellationToken::new(), CancellationToken::new());
        let holding = Holding { lease, canceled: canceled.clone(), ended: ended.clone() };
        if let Some(lost) = self.held.lock().insert(job.id.clone(), holding) {
            // Its lease was lost, and this process hadn't heard of it.
            lost.canceled.cancel();
            lost.ended.cancel();
        }
        let me = self.me.clone();
        let id = job.id.clone();
        let leases = self.leases;
        tokio::spawn(async move { ended.run_until_cancelled(renew(me, leases, id, lease)).await });
        Ok(Some((Claimed { job: Arc::new(job), lease, canceled }, deliveries)))
    }

    /// A job of another version, which another process may be able to read; but not for ever.
    async fn give_up_unread(&self, fields: &[String]) {
        tracing::error!("a job in the queue is of another version");
        let [id, lease, deliveries, _, upload, ..] = fields else { return };
        let (Ok(job), Ok(upload)) = (JobId::try_from(id.clone()), UploadId::try_from(upload.clone())) else {
            return;
        };
        let lease = lease.parse().ok().map(Lease);
        if let Some(lease) = lease.filter(|_| deliveries.parse().is_ok_and(|times: u32| times > DELIVERIES)) {
            let problem = Problem::new(Code::JobFailed, "no worker knows what was asked for; ask for less");
            self.finish(&job, lease, failed(About { job: &job, upload: &upload }, problem)).await;
        }
    }

    /// Does a deed of who has a lease; false when it is no longer good.
    async fn hold(
        &self,
        job: &JobId,
        lease: Lease,
        deed: &str,
        events: &[Event],
    ) -> Result<bool, Unreachable> {
        let mut call = self.call(&self.scripts.hold);
        call.arg(job.as_str()).arg(lease.0).arg(deed).arg(session_bounds()).arg(clock::millis(REMEMBERED));
        call.arg(how(events));
        tell(&mut call, events);
        Ok(self.engine.run::<u8>(&call).await? == 1)
    }

    /// Ends a job that nobody here has a lease for.
    async fn stop(&self, job: &JobId, state: &str, events: &[Event]) -> Result<bool, Unreachable> {
        let mut call = self.call(&self.scripts.stop);
        call.arg(job.as_str()).arg(state).arg(session_bounds()).arg(clock::millis(REMEMBERED));
        call.arg(how(events));
        tell(&mut call, events);
        let stopped = self.engine.run::<u8>(&call).await? == 1;
        if stopped {
            self.store.forget_photo(job).await;
        }
        Ok(stopped)
    }

    fn let_go(&self, job: &JobId, lease: Lease) {
        let mut held = self.held.lock();
        if held.get(job).is_some_and(|holding| holding.lease == lease)
            && let Some(holding) = held.remove(job)
        {
            holding.ended.cancel();
        }
    }

    /// How many wait or run.
    async fn live(&self) -> Result<usize, Unreachable> {
        let mut pipe = redis::pipe();
        pipe.cmd("XLEN").arg(&self.stream);
        let (live,): (usize,) = self.engine.ask(&pipe).await?;
        Ok(live)
    }

    /// Those that wait, in order; also those that a dead worker had.
    async fn waiting(&self) -> Result<Vec<(JobId, UploadId)>, Unreachable> {
        let mut call = self.call(&self.scripts.waiting);
        call.arg(self.limit).arg(clock::millis(self.leases.lost));
        let all: Vec<(String, String, String)> = self.engine.run(&call).await?;
        let named = |(job, upload, _)| Some((JobId::try_from(job).ok()?, UploadId::try_from(upload).ok()?));
        Ok(all.into_iter().filter_map(named).collect())
    }

    fn read(&self, fields: &[String]) -> Option<(NewJob, Lease, u32)> {
        let [id, lease, deliveries, session, upload, bytes, options, cutout, shop, accepted, received] =
            fields
        else {
            return None;
        };
        let id = JobId::try_from(id.clone()).ok()?;
        let now = Instant::now();
        let ago = |ms: &String| {
            let ms = ms.parse::<i64>().ok()?.max(0).unsigned_abs();
            Some(now.checked_sub(Duration::from_millis(ms)).unwrap_or(now))
        };
        let job = NewJob {
            photo: Arc::new(self.store.photo(&id, bytes.parse().ok()?)),
            id,
            session: SessionId::try_from(session.clone()).ok()?,
            upload: UploadId::try_from(upload.clone()).ok()?,
            options: serde_json::from_str(options).ok()?,
            cutout: cutout.clone().try_into().ok()?,
            unwanted: CancellationToken::new(),
            shop: Some(shop.as_str()).filter(|shop| !shop.is_empty()).map(Into::into),
            accepted: ago(accepted)?,
            received: ago(received)?,
        };
        Some((job, Lease(lease.parse().ok()?), deliveries.parse().ok()?))
    }
}

#[async_trait]
impl Jobs for RedisJobs {
    async fn room(&self) -> Result<(), JobsError> {
        let live = self.live().await?;
        if live < self.limit { Ok(()) } else { Err(JobsError::Full { limit: self.limit }) }
    }

    async fn push(&self, job: NewJob, received: Event) -> Result<(), JobsError> {
        self.store.keep_photo(&job.id, &job.photo).await.map_err(|error| {
            metrics::counter!("warmcut_store_errors_total").increment(1);
            tracing::error!(%error, job = %job.id, "a photo can't be kept in the store");
            JobsError::Unavailable
        })?;
        let mut call = self.call(&self.scripts.push);
        call.arg(job.id.as_str()).arg(job.session.as_str()).arg(job.upload.as_str()).arg(job.photo.len());
        call.arg(serde_json::to_string(&job.options).unwrap_or_default()).arg(job.cutout.as_str());
        call.arg(job.shop.as_deref().unwrap_or_default());
        call.arg(clock::millis(job.accepted.elapsed())).arg(clock::millis(job.received.elapsed()));
        call.arg(self.limit).arg(session_bounds());
        tell(&mut call, &[received]);
        match self.engine.run::<String>(&call).await?.as_str() {
            "full" => {
                self.store.forget_photo(&job.id).await;
                Err(JobsError::Full { limit: self.limit })
            }
            _ => Ok(()),
        }
    }

    async fn known(&self, job: &NewJob, events: Vec<Event>) -> Result<(), JobsError> {
        let mut call = self.call(&self.scripts.known);
        call.arg(job.id.as_str()).arg(job.session.as_str()).arg(job.upload.as_str());
        call.arg(session_bounds()).arg(clock::millis(REMEMBERED));
        tell(&mut call, &events);
        Ok(self.engine.run::<u8>(&call).await.map(drop)?)
    }

    /// Cancel safety: a job whose claim is answered when nobody listens any more is another worker's once its
    /// lease is lost.
    async fn claim(&self) -> Claimed {
        loop {
            let pushed = self.news.pushed.notified();
            if let Some(claimed) = self.try_claim().await {
                return claimed;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, pushed).await;
        }
    }

    async fn try_claim(&self) -> Option<Claimed> {
        loop {
            match self.claim_one().await {
                Ok(Some((claimed, deliveries))) if deliveries <= DELIVERIES => return Some(claimed),
                Ok(Some((Claimed { job, lease, .. }, _))) => {
                    tracing::error!(job = %job.id, "the work on a photo broke off {DELIVERIES} times; it is given up");
                    let message = "the work on this photo broke off each time; try another photo";
                    let problem = Problem::new(Code::JobFailed, message);
                    self.finish(&job.id, lease, failed(job.about(), problem)).await;
                }
                Ok(None) | Err(Unreachable) => return None,
            }
        }
    }

    async fn release(&self, job: &JobId, lease: Lease) {
        // Where it can't be said, the lease is lost by itself.
        let _ = self.hold(job, lease, "release", &[]).await;
        self.let_go(job, lease);
    }

    async fn report(&self, job: &JobId, lease: Lease, event: Event) -> bool {
        // What can't be said now is no news later.
        self.hold(job, lease, "report", &[event]).await.unwrap_or(true)
    }

    async fn tell(&self, job: &JobId, event: Event) -> bool {
        let mut call = self.call(&self.scripts.tell);
        call.arg(job.as_str()).arg(session_bounds());
        tell(&mut call, &[event]);
        // What can't be said now is no news later.
        self.engine.run::<u8>(&call).await.is_ok_and(|told| told == 1)
    }

    async fn finish(&self, job: &JobId, lease: Lease, events: Vec<Event>) -> bool {
        let since = Instant::now();
        let ended = loop {
            match self.hold(job, lease, "finish", &events).await {
                Ok(ended) => break ended,
                Err(Unreachable) if since.elapsed() >= self.leases.lost => break false,
                Err(Unreachable) => tokio::time::sleep(AGAIN).await,
            }
        };
        self.let_go(job, lease);
        if ended {
            self.store.forget_photo(job).await;
        }
        ended
    }

    async fn cancel(&self, job: &JobId) -> Result<bool, JobsError> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGET").arg(self.engine.keys().of("job", job)).arg("upload");
        let (upload,): (Option<String>,) = self.engine.ask(&pipe).await?;
        let Some(upload) = upload.and_then(|upload| UploadId::try_from(upload).ok()) else {
            return Ok(false);
        };
        Ok(self.stop(job, "any", &canceled(About { job, upload: &upload })).await?)
    }

    async fn fail_waiting(&self, problem: Problem) {
        for (job, upload) in self.waiting().await.unwrap_or_default() {
            let events = failed(About { job: &job, upload: &upload }, problem.clone());
            // One that can't be told now is found again by who looks next.
            let _ = self.stop(&job, "waiting", &events).await;
        }
    }

    /// What waits is for other processes; this one merely goes.
    async fn close(&self, _: Problem) {}

    /// Gives what runs here to other processes.
    async fn fail_all(&self, _: Problem) {
        let held: Vec<_> = self.held.lock().iter().map(|(job, held)| (job.clone(), held.lease)).collect();
        for (job, lease) in held {
            let canceled = self.held.lock().get(&job).map(|holding| holding.canceled.clone());
            self.release(&job, lease).await;
            if let Some(canceled) = canceled {
                canceled.cancel();
            }
        }
    }

    async fn is_live(&self, session: &SessionId, job: &JobId) -> Result<bool, JobsError> {
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET").arg(self.engine.keys().of("job", job)).arg("session").arg("state");
        let ((whose, state),): ((Option<String>, Option<String>),) = self.engine.ask(&pipe).await?;
        Ok(whose.as_deref() == Some(session.as_str()) && state.is_some_and(|state| state != "ended"))
    }

    async fn depth(&self) -> Result<Depth, JobsError> {
        let waiting = self.waiting().await?.len();
        let live = self.live().await?;
        Ok(Depth { waiting, running: live.saturating_sub(waiting) })
    }

    fn here(&self) -> usize {
        self.held.lock().len()
    }

    async fn changed(&self) {
        self.news.changed.notified().await;
    }

    async fn tell_positions(&self, model_ready: bool) -> bool {
        let Ok(waiting) = self.waiting().await else { return true };
        for (n, (job, upload)) in waiting.iter().enumerate() {
            let (status, position) = place(n, model_ready);
            let eta = position.and_then(|position| self.pace.queued(position));
            let event = moved(About { job, upload }, status, position, eta);
            let mut call = self.call(&self.scripts.place);
            let told = format!("{status:?} {}", position.unwrap_or(0));
            call.arg(job.as_str()).arg(told).arg(clock::millis(POSITION_EVERY)).arg(session_bounds());
            tell(&mut call, &[event]);
            if self.engine.run::<u8>(&call).await.is_err() {
                break;
            }
        }
        // One that runs waits again when its worker dies.
        !waiting.is_empty() || self.live().await.unwrap_or(1) > 0
    }
}
