//! The pool's jobs and those of the small model, for whoever asks for one by its name.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cutout::jobs::{Claimed, Depth, Jobs, JobsError, Lease, NewJob};
use crate::protocol::{Event, JobId, Problem, SessionId};

/// Both. What is claimed, pushed and told of its place is the pool's alone: the small model sees to its own.
pub(super) struct AllJobs {
    pub(super) pool: Arc<dyn Jobs>,
    pub(super) own: Arc<dyn Jobs>,
}

#[async_trait]
impl Jobs for AllJobs {
    async fn room(&self) -> Result<(), JobsError> {
        self.pool.room().await
    }

    async fn push(&self, job: NewJob, received: Event) -> Result<(), JobsError> {
        self.pool.push(job, received).await
    }

    async fn known(&self, job: &NewJob, events: Vec<Event>) -> Result<(), JobsError> {
        self.pool.known(job, events).await
    }

    async fn claim(&self) -> Claimed {
        self.pool.claim().await
    }

    async fn try_claim(&self) -> Option<Claimed> {
        self.pool.try_claim().await
    }

    async fn release(&self, job: &JobId, lease: Lease) {
        self.pool.release(job, lease).await;
    }

    async fn report(&self, job: &JobId, lease: Lease, event: Event) -> bool {
        self.pool.report(job, lease, event).await
    }

    async fn tell(&self, job: &JobId, event: Event) -> bool {
        self.pool.tell(job, event).await
    }

    async fn finish(&self, job: &JobId, lease: Lease, events: Vec<Event>) -> bool {
        self.pool.finish(job, lease, events).await
    }

    async fn cancel(&self, job: &JobId) -> Result<bool, JobsError> {
        Ok(self.own.cancel(job).await? || self.pool.cancel(job).await?)
    }

    async fn fail_waiting(&self, problem: Problem) {
        self.pool.fail_waiting(problem).await;
    }

    async fn close(&self, problem: Problem) {
        self.own.close(problem.clone()).await;
        self.pool.close(problem).await;
    }

    async fn fail_all(&self, problem: Problem) {
        self.own.fail_all(problem.clone()).await;
        self.pool.fail_all(problem).await;
    }

    async fn is_live(&self, session: &SessionId, job: &JobId) -> Result<bool, JobsError> {
        Ok(self.own.is_live(session, job).await? || self.pool.is_live(session, job).await?)
    }

    async fn depth(&self) -> Result<Depth, JobsError> {
        let (own, pool) = (self.own.depth().await?, self.pool.depth().await?);
        Ok(Depth { waiting: own.waiting + pool.waiting, running: own.running + pool.running })
    }

    fn here(&self) -> usize {
        self.own.here() + self.pool.here()
    }

    async fn changed(&self) {
        self.pool.changed().await;
    }

    async fn tell_positions(&self, model_ready: bool) -> bool {
        self.pool.tell_positions(model_ready).await
    }
}
