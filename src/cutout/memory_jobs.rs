//! The queue of one process, in memory.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::jobs::{Claimed, Depth, Jobs, JobsError, Lease, NewJob, POSITION_EVERY};
use super::pace::Pace;
use super::tell::{Ended, canceled, failed, moved, place};
use crate::clock;
use crate::protocol::{Event, JobId, JobStatus, Problem, SessionId};
use crate::session::Logs;

/// What was last told of a waiting job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    status: JobStatus,
    position: Option<u32>,
}

#[derive(Debug)]
struct Slot {
    job: Arc<NewJob>,
    canceled: CancellationToken,
    /// Which lease is good, and whether the job has ended. Held while events are appended, so that
    /// nothing of a job is told after its end.
    fence: tokio::sync::Mutex<Fence>,
    told: Mutex<Option<(Told, Instant)>>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Fence {
    lease: Option<Lease>,
    ended: bool,
}

#[derive(Default)]
struct Inner {
    live: HashMap<JobId, Arc<Slot>>,
    waiting: VecDeque<Arc<Slot>>,
    leases: u64,
    /// Set once no more jobs are taken: what becomes of those that still come.
    closed: Option<Problem>,
}

/// The queue of one process.
pub struct MemoryJobs {
    inner: Mutex<Inner>,
    places: Arc<Semaphore>,
    limit: usize,
    logs: Arc<dyn Logs>,
    pace: Arc<Pace>,
    /// Whether the gauges are of this queue.
    gauged: bool,
    pushed: Notify,
    changed: Notify,
}

impl MemoryJobs {
    /// An empty queue for so many jobs, those on their way included.
    pub fn new(limit: usize, logs: Arc<dyn Logs>, pace: Arc<Pace>) -> Self {
        Self {
            inner: Mutex::default(),
            places: Arc::new(Semaphore::new(limit)),
            limit,
            logs,
            pace,
            gauged: true,
            pushed: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// A queue beside that of the pool: what waits in it is no reason for more workers, so no gauge has it.
    pub fn beside(limit: usize, logs: Arc<dyn Logs>, pace: Arc<Pace>) -> Self {
        Self { gauged: false, ..Self::new(limit, logs, pace) }
    }

    fn full(&self) -> JobsError {
        JobsError::Full { limit: self.limit }
    }

    fn slot(&self, job: &JobId) -> Option<Arc<Slot>> {
        self.inner.lock().live.get(job).cloned()
    }

    /// Ends a job once, if `may` agrees, and appends its last events before anything else can be.
    async fn end(&self, slot: &Slot, may: impl FnOnce(&Fence) -> bool, events: Vec<Event>) -> bool {
        let mut fence = slot.fence.lock().await;
        if fence.ended || !may(&fence) {
            return false;
        }
        fence.ended = true;
        {
            let mut inner = self.inner.lock();
            inner.live.remove(&slot.job.id);
            inner.waiting.retain(|waiting| waiting.job.id != slot.job.id);
            self.gauge(&inner);
        }
        if let Some(ended) = Ended::by(&events) {
            ended.count();
        }
        for event in events {
            self.append(slot, event).await;
        }
        self.changed.notify_one();
        true
    }

    /// Ends the live jobs that `which` chooses.
    async fn fail(&self, problem: &Problem, which: impl Fn(&Fence) -> bool) {
        let live: Vec<_> = self.inner.lock().live.values().cloned().collect();
        for slot in live {
            if self.end(&slot, &which, failed(slot.job.about(), problem.clone())).await {
                // After its end, so that the worker that hears of it can't make it a canceled one.
                slot.canceled.cancel();
            }
        }
    }

    /// Ends a job that came to a closed queue.
    async fn end_if_closed(&self, slot: &Slot) {
        let closed = self.inner.lock().closed.clone();
        if let Some(problem) = closed {
            self.end(slot, is_waiting, failed(slot.job.about(), problem)).await;
        }
    }

    async fn append(&self, slot: &Slot, event: Event) {
        // A session that has expired has no log and nobody who would read it.
        let _ = self.logs.append(&slot.job.session, clock::now_ms(), event).await;
    }

    async fn cancel_slot(&self, slot: &Slot) -> bool {
        slot.canceled.cancel();
        self.end(slot, |_| true, canceled(slot.job.about())).await
    }

    fn gauge(&self, inner: &Inner) {
        if !self.gauged {
            return;
        }
        metrics::gauge!("warmcut_jobs_waiting").set(inner.waiting.len() as f64);
        metrics::gauge!("warmcut_jobs_running").set((inner.live.len() - inner.waiting.len()) as f64);
    }

    async fn tell_place(&self, slot: &Slot, told: Told) {
        let fence = slot.fence.lock().await;
        // Claimed or ended since it was looked at: its place is no news any more.
        if fence.ended || fence.lease.is_some() {
            return;
        }
        *slot.told.lock() = Some((told, Instant::now()));
        let eta = told.position.and_then(|position| self.pace.queued(position));
        self.append(slot, moved(slot.job.about(), told.status, told.position, eta)).await;
    }
}

fn is_waiting(fence: &Fence) -> bool {
    fence.lease.is_none()
}

#[async_trait]
impl Jobs for MemoryJobs {
    async fn room(&self) -> Result<(), JobsError> {
        if self.places.available_permits() == 0 { Err(self.full()) } else { Ok(()) }
    }

    async fn known(&self, job: &NewJob, events: Vec<Event>) -> Result<(), JobsError> {
        for event in events {
            // As with `append`.
            let _ = self.logs.append(&job.session, clock::now_ms(), event).await;
        }
        Ok(())
    }

    async fn push(&self, job: NewJob, received: Event) -> Result<(), JobsError> {
        // One that is known takes no second place.
        if self.slot(&job.id).is_some() {
            return Ok(());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.full())?;
        let canceled = job.unwanted.child_token();
        let slot = Arc::new(Slot {
            job: Arc::new(job),
            canceled,
            fence: tokio::sync::Mutex::default(),
            told: Mutex::new(None),
            _place: place,
        });
        // Nothing else is told of it before that it is here.
        let fence = slot.fence.lock().await;
        {
            let mut inner = self.inner.lock();
            if inner.live.contains_key(&slot.job.id) {
                return Ok(());
            }
            inner.live.insert(slot.job.id.clone(), Arc::clone(&slot));
            inner.waiting.push_back(Arc::clone(&slot));
            self.gauge(&inner);
        }
        self.append(&slot, received).await;
        drop(fence);
        self.end_if_closed(&slot).await;
        self.pushed.notify_one();
        self.changed.notify_one();
        Ok(())
    }

    async fn claim(&self) -> Claimed {
        loop {
            if let Some(claimed) = self.try_claim().await {
                return claimed;
            }
            self.pushed.notified().await;
        }
    }

    async fn try_claim(&self) -> Option<Claimed> {
        loop {
            let (slot, lease) = {
                let mut inner = self.inner.lock();
                inner.leases += 1;
                let lease = Lease(inner.leases);
                let slot = inner.waiting.pop_front();
                self.gauge(&inner);
                (slot?, lease)
            };
            // Another worker may be waiting for the job behind this one.
            self.pushed.notify_one();
            if slot.canceled.is_cancelled() {
                self.cancel_slot(&slot).await;
                continue;
            }
            let mut fence = slot.fence.lock().await;
            if fence.ended {
                continue;
            }
            fence.lease = Some(lease);
            self.changed.notify_one();
            return Some(Claimed { job: Arc::clone(&slot.job), lease, canceled: slot.canceled.clone() });
        }
    }

    async fn release(&self, job: &JobId, lease: Lease) {
        let Some(slot) = self.slot(job) else { return };
        let mut fence = slot.fence.lock().await;
        if !fence.ended && fence.lease == Some(lease) {
            fence.lease = None;
            *slot.told.lock() = None;
            self.inner.lock().waiting.push_front(Arc::clone(&slot));
            drop(fence);
            self.end_if_closed(&slot).await;
            self.pushed.notify_one();
            self.changed.notify_one();
        }
    }

    async fn report(&self, job: &JobId, lease: Lease, event: Event) -> bool {
        let Some(slot) = self.slot(job) else { return false };
        let fence = slot.fence.lock().await;
        let good = !fence.ended && fence.lease == Some(lease);
        if good {
            self.append(&slot, event).await;
        }
        good
    }

    async fn tell(&self, job: &JobId, event: Event) -> bool {
        let Some(slot) = self.slot(job) else { return false };
        let fence = slot.fence.lock().await;
        if !fence.ended {
            self.append(&slot, event).await;
        }
        !fence.ended
    }

    async fn finish(&self, job: &JobId, lease: Lease, events: Vec<Event>) -> bool {
        match self.slot(job) {
            Some(slot) => self.end(&slot, |fence| fence.lease == Some(lease), events).await,
            None => false,
        }
    }

    async fn cancel(&self, job: &JobId) -> Result<bool, JobsError> {
        match self.slot(job) {
            Some(slot) => Ok(self.cancel_slot(&slot).await),
            None => Ok(false),
        }
    }

    async fn fail_waiting(&self, problem: Problem) {
        self.fail(&problem, is_waiting).await;
    }

    async fn close(&self, problem: Problem) {
        self.inner.lock().closed.get_or_insert(problem.clone());
        self.fail(&problem, is_waiting).await;
    }

    async fn fail_all(&self, problem: Problem) {
        self.inner.lock().closed.get_or_insert(problem.clone());
        self.fail(&problem, |_| true).await;
    }

    async fn is_live(&self, session: &SessionId, job: &JobId) -> Result<bool, JobsError> {
        Ok(self.inner.lock().live.get(job).is_some_and(|slot| slot.job.session == *session))
    }

    async fn depth(&self) -> Result<Depth, JobsError> {
        let inner = self.inner.lock();
        Ok(Depth { waiting: inner.waiting.len(), running: inner.live.len() - inner.waiting.len() })
    }

    fn here(&self) -> usize {
        self.inner.lock().live.len()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn tell_positions(&self, model_ready: bool) -> bool {
        let waiting: Vec<_> = self.inner.lock().waiting.iter().cloned().collect();
        let mut later = false;
        for (n, slot) in waiting.iter().enumerate() {
            if slot.canceled.is_cancelled() {
                self.cancel_slot(slot).await;
                continue;
            }
            let (status, position) = place(n, model_ready);
            let told = Told { status, position };
            let last = *slot.told.lock();
            match last {
                Some((last, _)) if last == told => {}
                Some((last, at)) if last.status == told.status && at.elapsed() < POSITION_EVERY => {
                    later = true
                }
                _ => self.tell_place(slot, told).await,
            }
        }
        later
    }
}
