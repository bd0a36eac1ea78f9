//! Uploads on their way in: accepted, received piece by piece, judged early, turned into jobs.
//!
//! An upload belongs to its session, not to the connection that carries it. When the connection goes,
//! what has come stays for a while, and the same upload goes on over another one.

mod partial;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::partial::{Partial, blob_problem};
use super::jobs::{Jobs, NewJob, Place};
use super::results::name;
use super::worker::last_events;
use super::{Blobs, Links, Results};
use crate::clock;
use crate::protocol::options::Options;
use crate::protocol::{Code, Event, JobId, Problem, SessionId, Timings, UploadEvent, UploadId, UploadStatus};
use crate::session::{Logs, Session};
use crate::warmup::{Cause, Pool};

pub use partial::UploadLimits;
pub use writer::Writer;

/// An open connection that sends nothing for so long has stalled.
const SILENCE: Duration = Duration::from_secs(30);
/// What came over a connection that is gone is kept so long for another one.
const ABANDONED: Duration = Duration::from_secs(120);
/// The same, when nothing had come yet.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// However slowly they come, all bytes of a photo come within this time: 25 MB at 350 kbit/s.
const WHOLE: Duration = Duration::from_secs(600);
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

type Key = (SessionId, UploadId);

struct Receiving {
    session: Arc<Session>,
    begun: Instant,
    /// The bytes and what is known of them; taken by the one who writes.
    partial: tokio::sync::Mutex<Option<Partial>>,
    /// Who writes: a later connection takes over from an earlier one.
    turn: Mutex<Turn>,
}

struct Turn {
    writer: u64,
    attached: bool,
    last_byte: Instant,
    has_bytes: bool,
}

impl Turn {
    fn byte_came(&mut self) {
        (self.last_byte, self.has_bytes) = (Instant::now(), true);
    }
}

/// Uploads on their way in.
pub struct Intake {
    receiving: Mutex<HashMap<Key, Arc<Receiving>>>,
    /// Set once no more photos are taken, while `receiving` is locked: why not.
    closed: OnceLock<Problem>,
    logs: Arc<dyn Logs>,
    jobs: Arc<dyn Jobs>,
    pool: Arc<dyn Pool>,
    blobs: Arc<Blobs>,
    results: Arc<Results>,
    links: Links,
    limits: UploadLimits,
    models: Vec<String>,
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
    pub results: Arc<Results>,
    /// How that is found.
    pub links: Links,
    /// What uploads may be.
    pub limits: UploadLimits,
    /// The models that may be asked for, the default first.
    pub models: Vec<String>,
}

impl Intake {
    /// Nothing on its way.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { logs, jobs, pool, blobs, results, links, limits, models } = parts;
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
        let id = new.id.clone();
        match self.try_begin(session, new).await {
            Err(problem) => {
                self.refuse(session, &id, problem.clone(), (0, None)).await;
                Err(problem.about_upload(&id))
            }
            begun => {
                session.note_upload();
                begun
            }
        }
    }

    async fn try_begin(self: &Arc<Self>, session: &Arc<Session>, new: NewUpload) -> Result<Begun, Problem> {
        if let Some(job) = self.job_of(&session.id, &new.id).await {
            return Ok(Begun::Exists(job));
        }
        let key = (session.id.clone(), new.id.clone());
        let existing = self.receiving.lock().get(&key).cloned();
        match existing {
            Some(receiving) if new.resume => {
                if let Some(writer) = self.take_over(key.clone(), receiving, &new).await? {
                    return Ok(Begun::Receiving(writer));
                }
            }
            // The photo comes again from its start; whoever still sends the earlier one has lost it.
            Some(receiving) => receiving.turn.lock().writer += 1,
            None => {}
        }
        self.limits.judge_size(new.bytes)?;
        self.judge_model(&new.options)?;
        let cause = Cause { trigger: "upload".into(), session: Some(session.id.clone()), explicit: false };
        self.pool.ensure_warm(cause).await.map_err(|error| error.problem())?;
        let others = self.receiving.lock().keys().filter(|(whose, _)| *whose == session.id).count();
        if others >= UPLOADS_PER_SESSION {
            let message = format!(
                "{others} uploads of this session are on their way, the most it may have; let one finish or cancel it"
            );
            return Err(Problem::new(Code::UploadInProgress, message));
        }
        if self.count() >= ON_THEIR_WAY {
            let message = format!(
                "{ON_THEIR_WAY} photos are on their way, the most that this server takes; try again in a few seconds"
            );
            return Err(Problem::new(Code::RateLimited, message));
        }
        // Refused early when there is no place now. The place itself is taken by the photo that is here, so
        // that nobody holds one by announcing photos.
        drop(self.place()?);
        let now = Instant::now();
        let partial = Partial {
            bytes: self.blobs.begin(),
            total: new.bytes,
            head: Vec::new(),
            judged: false,
            digest: Sha256::new(),
            options: new.options,
            accepted: now,
            told: now,
        };
        let receiving = Arc::new(Receiving {
            session: Arc::clone(session),
            begun: now,
            partial: tokio::sync::Mutex::new(Some(partial)),
            turn: Mutex::new(Turn { writer: 0, attached: true, last_byte: now, has_bytes: false }),
        });
        {
            let mut on_their_way = self.receiving.lock();
            if let Some(closed) = self.closed.get() {
                return Err(closed.clone());
            }
            on_their_way.insert(key.clone(), Arc::clone(&receiving));
        }
        self.tell(&key, UploadStatus::Accepted, None, (0, new.bytes)).await;
        Ok(Begun::Receiving(Writer {
            intake: Arc::clone(self),
            key,
            receiving,
            turn: 0,
            received: 0,
            total: new.bytes,
        }))
    }

    /// Goes on where an earlier connection left off; none when what it left is gone or was another photo.
    async fn take_over(
        self: &Arc<Self>,
        key: Key,
        receiving: Arc<Receiving>,
        new: &NewUpload,
    ) -> Result<Option<Writer>, Problem> {
        let turn = {
            let mut turn = receiving.turn.lock();
            turn.writer += 1;
            turn.attached = true;
            turn.last_byte = Instant::now();
            turn.writer
        };
        // Waits for a write of the earlier connection; its next one finds that its turn is over.
        let same =
            receiving.partial.lock().await.as_ref().map(|partial| (partial.bytes.len(), partial.total));
        let Some((received, total)) = same.filter(|(_, total)| *total == new.bytes) else {
            self.receiving.lock().remove(&key);
            return Ok(None);
        };
        self.tell(&key, UploadStatus::Accepted, None, (received, total)).await;
        Ok(Some(Writer { intake: Arc::clone(self), key, receiving, turn, received, total }))
    }

    fn place(&self) -> Result<Place, Problem> {
        self.jobs.reserve().map_err(|full| Problem::new(Code::QueueFull, full.to_string()))
    }

    fn judge_model(&self, options: &Options) -> Result<(), Problem> {
        match &options.model {
            Some(model) if !self.models.contains(model) => {
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
        let (present, _) = self.logs.present(session).await.ok()?;
        present.iter().find_map(|entry| match &entry.event {
            Event::Upload(event) if event.upload == *upload => event.job.clone(),
            _ => None,
        })
    }

    /// Stops an upload that is on its way; false when there is none.
    pub async fn cancel(&self, session: &SessionId, upload: &UploadId) -> bool {
        let key = (session.clone(), upload.clone());
        let problem = Problem::new(Code::Canceled, "the upload was canceled");
        self.reject(&key, problem).await
    }

    /// Takes no more photos, from this call on, and ends those on their way; their sessions are told
    /// when the future runs.
    pub fn close(self: &Arc<Self>, problem: Problem) -> impl Future<Output = ()> + use<> {
        let ended: Vec<_> = {
            let mut receiving = self.receiving.lock();
            self.closed.get_or_init(|| problem.clone());
            receiving.drain().inspect(|(_, receiving)| receiving.turn.lock().writer += 1).collect()
        };
        let intake = Arc::clone(self);
        async move {
            for (key, receiving) in ended {
                intake.reject_taken(&key, &receiving, problem.clone()).await;
            }
        }
    }

    /// Ends uploads that have stalled or were abandoned, for ever.
    pub async fn sweep(self: Arc<Self>) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            for (key, problem) in self.stalled(Instant::now()) {
                self.reject(&key, problem).await;
            }
        }
    }

    fn stalled(&self, now: Instant) -> Vec<(Key, Problem)> {
        let receiving = self.receiving.lock();
        let stalled = receiving.iter().filter_map(|(key, receiving)| {
            let turn = receiving.turn.lock();
            let patience = match (turn.attached, turn.has_bytes) {
                (true, _) => SILENCE,
                (false, true) => ABANDONED,
                (false, false) => ANNOUNCED,
            };
            let silent = now.saturating_duration_since(turn.last_byte);
            let message = if silent >= patience {
                format!("the upload stopped: no byte came for {} s; send it again", silent.as_secs())
            } else if now.saturating_duration_since(receiving.begun) >= WHOLE {
                format!("the upload was not done within {} s; send a smaller photo", WHOLE.as_secs())
            } else if receiving.session.ended.is_cancelled() {
                "the session expired before the upload was done".to_owned()
            } else {
                return None;
            };
            Some((key.clone(), Problem::new(Code::UploadIncomplete, message)))
        });
        stalled.collect()
    }

    /// Ends an upload with a problem; false when it isn't on its way.
    async fn reject(&self, key: &Key, problem: Problem) -> bool {
        let Some(receiving) = self.receiving.lock().remove(key) else { return false };
        receiving.turn.lock().writer += 1;
        self.reject_taken(key, &receiving, problem).await
    }

    async fn reject_taken(&self, key: &Key, receiving: &Receiving, problem: Problem) -> bool {
        // Without its bytes it has come whole, and is a job by now or in a moment.
        let Some(partial) = receiving.partial.lock().await.take() else { return false };
        let counts = (partial.bytes.len(), partial.total);
        self.refuse(&receiving.session, &key.1, problem, counts).await;
        true
    }

    async fn refuse(
        &self,
        session: &Session,
        upload: &UploadId,
        problem: Problem,
        counts: (u64, Option<u64>),
    ) {
        metrics::counter!("warmcut_uploads_rejected_total", "code" => problem.code.as_str()).increment(1);
        let key = (session.id.clone(), upload.clone());
        self.append(&key.0, Event::Problem(problem.about_upload(upload))).await;
        self.tell(&key, UploadStatus::Rejected, None, counts).await;
    }

    async fn tell(&self, key: &Key, status: UploadStatus, job: Option<JobId>, counts: (u64, Option<u64>)) {
        let (received_bytes, total_bytes) = counts;
        let event = UploadEvent { upload: key.1.clone(), job, status, received_bytes, total_bytes };
        self.append(&key.0, Event::Upload(event)).await;
    }

    async fn append(&self, session: &SessionId, event: Event) {
        // A session that has expired has no log and nobody who would read it.
        let _ = self.logs.append(session, clock::now_ms(), event).await;
    }

    /// A photo is here whole: a job, or at once the cutout that was made of it before.
    async fn received(&self, key: Key, session: &Session, partial: Partial) -> Result<JobId, Problem> {
        let Partial { bytes, digest, options, accepted, total, .. } = partial;
        let len = bytes.len();
        let place = self.place()?;
        let photo = bytes.finish().await.map_err(|error| blob_problem(&error))?;
        let id = JobId::of(&key.0, &key.1);
        let model = options.model.as_ref().unwrap_or(&self.models[0]);
        let cutout = name(&digest.finalize().into(), &options, model, session.shop.as_deref());
        let job = NewJob {
            id: id.clone(),
            session: key.0.clone(),
            upload: key.1.clone(),
            photo,
            options,
            cutout,
            unwanted: session.ended.clone(),
            shop: session.shop.clone(),
            accepted,
            received: Instant::now(),
        };
        self.tell(&key, UploadStatus::Received, Some(id.clone()), (len, total)).await;
        metrics::counter!("warmcut_uploads_received_total").increment(1);
        match self.results.get(&job.cutout) {
            Some(known) => {
                metrics::counter!("warmcut_cache_hits_total").increment(1);
                let upload = clock::millis(job.received - job.accepted);
                let timings =
                    Timings { upload, total: clock::millis(accepted.elapsed()), ..Timings::default() };
                for event in last_events(&self.links, &job, &known, true, timings) {
                    self.append(&key.0, event).await;
                }
            }
            None => self.jobs.push(place, job).await,
        }
        Ok(id)
    }
}
