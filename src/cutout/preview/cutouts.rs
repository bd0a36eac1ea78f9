//! Cutouts by the small model: for who asks for it, and for those whom the pool has failed.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::Instrument;

use super::Previews;
use crate::cutout::jobs::Claimed;
use crate::cutout::results::name;
use crate::cutout::tell;
use crate::cutout::work::{Maker, StandsIn};
use crate::protocol::{Code, CutoutId, Problem};
use crate::warmup::Phase;

/// Those who wait hear of changes of their place this often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Previews {
    /// Runs jobs that ask for the small model.
    pub(super) async fn make_cutouts(self: Arc<Self>) {
        loop {
            // Cancel safety: as with workers, claiming loses nothing but at shutdown.
            let claimed = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                claimed = self.own.claim() => claimed,
            };
            // Cancel safety: whoever cancels a job sees to its end.
            let maker = tokio::select! {
                biased;
                () = claimed.canceled.cancelled() => None,
                maker = self.maker(None) => maker,
            };
            let span = tracing::info_span!("job", job = %claimed.job.id);
            match maker {
                // The small model's device is the CPU, which isn't lost.
                Some(maker) => drop(self.own_work.run(claimed, maker).instrument(span).await),
                None => self.end(claimed).await,
            }
        }
    }

    /// Ends a job that asks for the small model and can't have it.
    async fn end(&self, Claimed { job, lease, canceled }: Claimed) {
        let events = if canceled.is_cancelled() {
            tell::canceled(job.about())
        } else {
            let message = "the small model can't be loaded; ask for another one";
            tell::failed(job.about(), Problem::new(Code::JobFailed, message))
        };
        self.own.finish(&job.id, lease, events).await;
    }

    /// Tells those who wait for that of their place.
    pub(super) async fn look_after_cutouts(self: Arc<Self>) {
        let mut later = false;
        loop {
            // Cancel safety: all of these only wait.
            tokio::select! {
                () = self.draining.cancelled() => return,
                () = self.own.changed() => {}
                () = tokio::time::sleep(TELL_EVERY), if later => {}
            }
            later = self.own.tell_positions(true).await;
        }
    }

    /// Runs jobs that the pool has failed, as long as it has no model and is not getting one.
    pub(super) async fn stand_in(self: Arc<Self>, mut given_up: watch::Receiver<Option<Problem>>) {
        loop {
            // Cancel safety: nothing is claimed here.
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                _ = given_up.changed() => {}
            }
            let Some(problem) = given_up.borrow_and_update().clone() else { continue };
            while !self.draining.is_cancelled() && !self.gets_warm() {
                let stands_in = StandsIn { name: CutoutId::random(), problem: problem.clone() };
                let maker = self.draining.run_until_cancelled(self.maker(Some(stands_in))).await;
                let Some(Some(mut maker)) = maker else {
                    self.jobs.fail_waiting(problem).await;
                    break;
                };
                let Some(claimed) = self.jobs.try_claim().await else { break };
                if let (Some(stands_in), Some(name)) = (&mut maker.stands_in, self.name_of(&claimed).await) {
                    stands_in.name = name;
                }
                let span = tracing::info_span!("job", job = %claimed.job.id);
                self.stand_in.run(claimed, maker).instrument(span).await;
            }
        }
    }

    fn gets_warm(&self) -> bool {
        matches!(self.pool.follow().borrow().phase, Phase::Warming | Phase::Ready)
    }

    async fn maker(&self, stands_in: Option<StandsIn>) -> Option<Maker> {
        let segmenter = self.model.get().await?;
        Some(Maker { segmenter, model: self.model().to_owned(), stands_in })
    }

    /// Names a job's cutout by the small model; none when its photo can't be read.
    async fn name_of(&self, claimed: &Claimed) -> Option<CutoutId> {
        let bytes = claimed.job.photo.bytes().await.ok()?;
        let digest = tokio::task::spawn_blocking(move || Sha256::digest(&bytes).into()).await.ok()?;
        Some(name(&digest, &claimed.job.options, self.model(), claimed.job.shop.as_deref()))
    }
}
