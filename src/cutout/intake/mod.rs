//! Uploads on their way in: accepted, received piece by piece, judged early, turned into jobs.
//!
//! An upload belongs to its session, not to the connection that carries it. When the connection goes,
//! what has come stays for a while, and the same upload goes on over another one.

mod partial;
mod receiving;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::Digest;
use tokio::time::Instant;

use self::partial::{Partial, blob_problem};
use self::receiving::{Claim, Key, Receiving, Turn};
use super::jobs::{Jobs, NewJob};
use super::preview::{Previews, Wanted};
use super::results::{made_before, name};
use super::work::{count_hit, last_events};
use super::{Blobs, Links, Results};
use crate::clock;
use crate::protocol::options::{Options, PREVIEW_MODEL};
use crate::protocol::{Code, Event, JobId, Problem, SessionId, Timings, UploadEvent, UploadId, UploadStatus};
use crate::session::{Logs, Session};
use crate::warmup::{Cause, Pool, PoolError};

pub use partial::UploadLimits;
pub use writer::Writer;

/// Photos on their way in all sessions.
const ON_THEIR_WAY: usize = 1024;
/// Photos on their way in one session.
const UPLOADS_PER_SESSION: usize = 8;

/// A photo that is about to come.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// The browser's own id.
    pub id: UploadId,
    /// Its size, where the client says it.
    pub bytes: Option<u64>,
    /// What is wanted.
    pub options: Options,
    /// True to go on after what came before; false to begin again.
    pub resume: bool,
}

/// What became of a wish to upload.
pub enum Begun {
    /// Bytes may come.
    Receiving(Writer),
    /// They came before; this is the job.
    Exists(JobId),
}

/// Uploads on their way in.
pub struct Intake {
    receiving: Mutex<HashMap<Key, Arc<Receiving>>>,
    /// Set once no more photos are taken, before those on their way are ended: why not.
    closed: OnceLock<Problem>,
    logs: Arc<dyn Logs>,
    jobs: Arc<dyn Jobs>,
    pool: Arc<dyn Pool>,
    blobs: Arc<Blobs>,
    results: Arc<dyn Results>,
    links: Links,
    limits: UploadLimits,
    models: Vec<String>,
    previews: Option<Arc<Previews>>,
}

/// What an intake stands on.
pub struct Parts {
    /// Where uploads are told of.
    pub logs: Arc<dyn Logs>,
    /// Where jobs go.
    pub jobs: Arc<dyn Jobs>,
    /// Who is woken by an upload.
    pub pool: Arc<dyn Pool>,
    /// Where the bytes go.
    pub blobs: Arc<Blobs>,
    /// What was cut out before.
    pub results: Arc<dyn Results>,
    /// How that is found.
    pub links: Links,
    /// What uploads may be.
    pub limits: UploadLimits,
    /// The models that may be asked for, the default first.
    pub models: Vec<String>,
    /// Who makes previews, and stands in for a pool that has failed.
    pub previews: Option<Arc<Previews>>,
}

impl Intake {
    /// Nothing on its way.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { logs, jobs, pool, blobs, results, links, limits, mut models, previews } = parts;
        if let Some(previews) = &previews {
            // By its name, and by what it is for.
            models.extend([previews.model(), PREVIEW_MODEL].map(str::to_owned));
            let mut seen = HashSet::new();
            models.retain(|model| seen.insert(model.clone()));
        }
        Arc::new(Self {
            receiving: Mutex::default(),
            closed: OnceLock::new(),
            logs,
            jobs,
            pool,
            blobs,
            results,
            links,
            limits,
            models,
            previews,
        })
    }

    /// What uploads may be.
    pub fn limits(&self) -> UploadLimits {
        self.limits
    }

    /// The models that may be asked for, the default first.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Photos on their way now.
    pub fn count(&self) -> usize {
        self.receiving.lock().len()
    }

    /// Accepts an upload, finds its earlier part, or finds its job. A refusal is told to the session.
    pub async fn begin(self: &Arc<Self>, session: &Arc<Session>, new: NewUpload) -> Result<Begun, Problem> {
        loop {
            let (receiving, claimed) = self.claim(session, &new.id);
            if let Some(claim) = claimed {
                return self.accept(claim, new).await;
            }
            if let Err(problem) = self.judge(&new) {
                // Another connection carries this upload, and it goes on.
                let problem = problem.about_upload(&new.id);
                self.append(&session.id, Event::Problem(problem.clone())).await;
                return Err(problem);
            }
            if let Some(writer) = self.take_over(receiving, &new).await {
                return Ok(Begun::Receiving(writer));
            }
            // What was there has ended, and whoever asks first is the next.
        }
    }

    /// The upload of this id; with the claim to accept it, when there was none.
    fn claim(self: &Arc<Self>, session: &Arc<Session>, id: &UploadId) -> (Arc<Receiving>, Option<Claim>) {
        match self.receiving.lock().entry((session.id.clone(), id.clone())) {
            Entry::Occupied(entry) => (Arc::clone(entry.get()), None),
            Entry::Vacant(place) => {
                let now = Instant::now();
                let partial = Arc::new(tokio::sync::Mutex::new(None));
                // Whoever asks for the same upload waits until it is accepted or refused.
                let held = Arc::clone(&partial).try_lock_owned().expect("nobody else has it yet");
                let receiving = Arc::new(Receiving {
                    session: Arc::clone(session),
                    upload: id.clone(),
                    begun: now,
                    partial,
                    turn: Mutex::new(Turn { writer: 0, attached: true, last_byte: now, has_bytes: false }),
                });
                place.insert(Arc::clone(&receiving));
                let claim =
                    Claim { intake: Arc::clone(self), receiving: Arc::clone(&receiving), held, kept: false };
                (receiving, Some(claim))
            }
        }
    }

    async fn accept(self: &Arc<Self>, mut claim: Claim, new: NewUpload) -> Result<Begun, Problem> {
        let receiving = Arc::clone(&claim.receiving);
        if let Some(job) = self.job_of(&receiving.session.id, &new.id).await {
            return Ok(Begun::Exists(job));
        }
        if let Err(problem) = self.admit(&receiving.session, &new).await {
            self.refuse(&receiving, problem.clone(), (0, None)).await;
            return Err(problem.about_upload(&new.id));
        }
        receiving.session.note_upload();
        *claim.held = Some(Partial::new(self.blobs.begin(), new.bytes, new.options));
        claim.kept = true;
        self.tell(&receiving, UploadStatus::Accepted, None, (0, new.bytes)).await;
        drop(claim);
        Ok(Begun::Receiving(Writer::new(Arc::clone(self), receiving, 0, (0, new.bytes))))
    }

    fn judge(&self, new: &NewUpload) -> Result<(), Problem> {
        if let Some(closed) = self.closed.get() {
            return Err(closed.clone());
        }
        self.limits.judge_size(new.bytes)?;
        self.judge_model(&new.options)
    }

    /// Whether one more may come; it is counted already.
    async fn admit(&self, session: &Arc<Session>, new: &NewUpload) -> Result<(), Problem> {
        self.judge(new)?;
        let small = self.small(&new.options);
        if small.is_none() {
            self.wake(session).await?;
        }
        let (all, own) = {
            let receiving = self.receiving.lock();
            (receiving.len(), receiving.keys().filter(|(whose, _)| *whose == session.id).count())
        };
        if own > UPLOADS_PER_SESSION {
            let message = format!(
                "{UPLOADS_PER_SESSION} uploads of this session are on their way, the most it may have; let one finish or cancel it"
            );
            return Err(Problem::new(Code::UploadInProgress, message));
        }
        if all > ON_THEIR_WAY {
            let message = format!(
                "{ON_THEIR_WAY} photos are on their way, the most that this server takes; try again in a few seconds"
            );
            return Err(Problem::new(Code::RateLimited, message));
        }
        // Refused early when there is no place now. The place itself is taken by the photo that is here, so
        // that nobody holds one by announcing photos.
        let jobs = small.map_or(self.jobs.as_ref(), |previews| previews.own_jobs());
        jobs.room().await.map_err(|error| error.problem())
    }

    async fn wake(&self, session: &Session) -> Result<(), Problem> {
        let cause = Cause { trigger: "upload".into(), session: Some(session.id.clone()), explicit: false };
        match self.pool.ensure_warm(cause).await {
            Ok(_) => Ok(()),
            // The small model stands in.
            Err(PoolError::Cooling { .. } | PoolError::Spent { .. })
                if self.previews.as_ref().is_some_and(|previews| previews.has_model()) =>
            {
                Ok(())
            }
            Err(error) => Err(error.problem()),
        }
    }

    /// Who makes the cutout when the small model is asked for, and is another than the default one.
    fn small(&self, options: &Options) -> Option<&Arc<Previews>> {
        self.previews.as_ref().filter(|previews| {
            let by_name = |name: &str| name == previews.model() && name != self.models[0];
            options.by_preview_model() || options.model.as_deref().is_some_and(by_name)
        })
    }

    /// Whether a photo with these options waits for the pool's model.
    pub fn needs_pool(&self, options: &Options) -> bool {
        self.small(options).is_none()
    }

    /// Goes on where an earlier connection left off; none when what it left has ended or was another photo.
    async fn take_over(self: &Arc<Self>, receiving: Arc<Receiving>, new: &NewUpload) -> Option<Writer> {
        // Waits for a write of the earlier connection; its next one finds that its turn is over.
        let mut held = receiving.partial.lock().await;
        let counts = held.as_ref().map(Partial::counts);
        let Some(counts) = counts.filter(|(_, total)| new.resume && *total == new.bytes) else {
            // The photo comes again from its start; whoever still sends the earlier one has lost it.
            held.take();
            self.remove(&receiving);
            return None;
        };
        let turn = receiving.turn.lock().next_writer();
        self.tell(&receiving, UploadStatus::Accepted, None, counts).await;
        drop(held);
        Some(Writer::new(Arc::clone(self), receiving, turn, counts))
    }

    /// By identity: the next upload of the same id stays.
    fn remove(&self, receiving: &Arc<Receiving>) {
        if let Entry::Occupied(entry) = self.receiving.lock().entry(receiving.key())
            && Arc::ptr_eq(entry.get(), receiving)
        {
            entry.remove();
        }
    }

    /// Whether there is such a model.
    pub fn judge_model(&self, options: &Options) -> Result<(), Problem> {
        match &options.model {
            Some(model) if !options.by_preview_model() && !self.models.contains(model) => {
                let known = self.models.join(", ");
                Err(Problem::new(
                    Code::UnknownModel,
                    format!("there is no model {model:?}; there are: {known}"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// The job of an upload that was received before.
    async fn job_of(&self, session: &SessionId, upload: &UploadId) -> Option<JobId> {
        // The queue knows what lives for certain; the log knows the latest that have ended.
        let job = JobId::of(session, upload);
        if self.jobs.is_live(session, &job).await == Ok(true) {
            return Some(job);
        }
        let (present, _) = self.logs.present(session).await.ok()?;
        // One that neither lives nor has ended died with its process.
        let ended = present.iter().any(|entry| match &entry.event {
            Event::Job(event) => event.job == job && event.status.is_end(),
            _ => false,
        });
        ended.then_some(job)
    }

    /// Stops an upload that is on its way; false when there is none.
    pub async fn cancel(&self, session: &SessionId, upload: &UploadId) -> bool {
        let receiving = self.receiving.lock().get(&(session.clone(), upload.clone())).cloned();
        match receiving {
            Some(receiving) => {
                self.reject(&receiving, Problem::new(Code::Canceled, "the upload was canceled")).await
            }
            None => false,
        }
    }

    /// Takes no more photos, from this call on, and ends those on their way; their sessions are told
    /// when the future runs.
    pub fn close(self: &Arc<Self>, problem: Problem) -> impl Future<Output = ()> + use<> {
        self.closed.get_or_init(|| problem.clone());
        // Whoever comes later finds it closed.
        let on_their_way: Vec<_> = self.receiving.lock().values().cloned().collect();
        for receiving in &on_their_way {
            receiving.turn.lock().writer += 1;
        }
        let intake = Arc::clone(self);
        async move {
            for receiving in on_their_way {
                intake.reject(&receiving, problem.clone()).await;
            }
        }
    }

    /// Ends an upload with a problem; false when it has ended. What came of it over another gateway goes on.
    async fn reject(&self, receiving: &Arc<Receiving>, problem: Problem) -> bool {
        let mut held = receiving.partial.lock().await;
        let ended = held.take();
        if self.job_of(&receiving.session.id, &receiving.upload).await.is_some() {
            self.remove(receiving);
            return false;
        }
        if let Some(partial) = &ended {
            self.refuse(receiving, problem, partial.counts()).await;
        }
        self.remove(receiving);
        ended.is_some()
    }

    async fn refuse(&self, receiving: &Receiving, problem: Problem, counts: (u64, Option<u64>)) {
        metrics::counter!("warmcut_uploads_rejected_total", "code" => problem.code.as_str()).increment(1);
        let problem = problem.about_upload(&receiving.upload);
        self.append(&receiving.session.id, Event::Problem(problem)).await;
        self.tell(receiving, UploadStatus::Rejected, None, counts).await;
    }

    async fn tell(
        &self,
        receiving: &Receiving,
        status: UploadStatus,
        job: Option<JobId>,
        counts: (u64, Option<u64>),
    ) {
        self.append(&receiving.session.id, moved(receiving, status, job, counts)).await;
    }

    async fn append(&self, session: &SessionId, event: Event) {
        // A session that has expired has no log and nobody who would read it.
        let _ = self.logs.append(session, clock::now_ms(), event).await;
    }

    /// A photo is here whole: a job, or at once the cutout that was made of it before.
    async fn received(&self, receiving: &Receiving, partial: Partial) -> Result<JobId, Problem> {
        let Partial { bytes, digest, options, accepted, total, .. } = partial;
        let len = bytes.len();
        let photo = Arc::new(bytes.finish().await.map_err(|error| blob_problem(&error))?);
        let session = &receiving.session;
        let id = JobId::of(&session.id, &receiving.upload);
        let (digest, shop) = (digest.finalize().into(), session.shop.as_deref());
        let of_pool = || self.pool.follow().borrow().weights.clone();
        let (jobs, model, weights) = match self.small(&options) {
            Some(previews) => (previews.own_jobs(), previews.model(), previews.weights()),
            None if options.by_preview_model() => (self.jobs.as_ref(), self.models[0].as_str(), of_pool()),
            None => (self.jobs.as_ref(), options.model.as_deref().unwrap_or(&self.models[0]), of_pool()),
        };
        let cutout = name(&digest, &options, model, shop);
        let early = self.previews.as_ref().filter(|_| self.needs_pool(&options)).map(|previews| {
            let (options, name) = previews.of(&digest, &options, shop);
            let wanted = Wanted {
                job: id.clone(),
                session: session.id.clone(),
                photo: Arc::clone(&photo),
                options,
                name,
                shop: session.shop.clone(),
                unwanted: session.ended.clone(),
                received: Instant::now(),
            };
            (previews, wanted)
        });
        let job = NewJob {
            id: id.clone(),
            session: session.id.clone(),
            upload: receiving.upload.clone(),
            photo,
            options,
            cutout,
            unwanted: session.ended.clone(),
            shop: session.shop.clone(),
            accepted,
            received: Instant::now(),
        };
        let here = moved(receiving, UploadStatus::Received, Some(id.clone()), (len, total));
        // Where nobody here knows the weights, whoever has them looks.
        match made_before(self.results.as_ref(), &job.cutout, weights.as_ref()).await {
            Some(known) => {
                let upload = clock::millis(job.received - job.accepted);
                let timings =
                    Timings { upload, total: clock::millis(accepted.elapsed()), ..Timings::default() };
                let events = [here].into_iter().chain(last_events(&self.links, &job, &known, true, timings));
                self.jobs.known(&job, events.collect()).await.map_err(|error| error.problem())?;
                count_hit();
            }
            None => {
                jobs.push(job, here).await.map_err(|error| error.problem())?;
                if let Some((previews, wanted)) = early {
                    previews.offer(wanted).await;
                }
            }
        }
        metrics::counter!("warmcut_uploads_received_total").increment(1);
        Ok(id)
    }
}

fn moved(
    receiving: &Receiving,
    status: UploadStatus,
    job: Option<JobId>,
    (received_bytes, total_bytes): (u64, Option<u64>),
) -> Event {
    Event::Upload(UploadEvent { upload: receiving.upload.clone(), job, status, received_bytes, total_bytes })
}
