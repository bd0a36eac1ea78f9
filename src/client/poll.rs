//! A channel over snapshots: asks again and again, and tells what is new in the channel's words.
//!
//! A snapshot has the present, not what led to it. So fast stages may be missing between two of
//! them, and times that a snapshot doesn't carry are those of its arrival.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde::Deserialize;

use super::server::accepted;
use super::{ClientError, Pass, Resume, Server};
use crate::protocol::{
    CutoutEvent, Eta, Event, Framed, Job, JobId, JobStatus, PreviewEvent, Problem, Ready, RunId,
    SessionEvent, Stage, StageEvent, UploadId,
};

/// A server that names no time, or none at all, is not asked faster than this.
const SOONEST: Duration = Duration::from_millis(100);

/// The answer to `GET /v1/sessions/{session}`.
#[derive(Debug, Deserialize)]
pub struct Snapshot {
    /// Where a channel would go on.
    pub last_event_id: Option<String>,
    /// When to ask again.
    pub poll_after_ms: u64,
    /// The warm-up; none before the first.
    pub run: Option<RunNow>,
    /// The session's jobs.
    pub jobs: Vec<JobNow>,
}

/// Where the warm-up is.
#[derive(Debug, Deserialize)]
pub struct RunNow {
    /// Which.
    pub run: RunId,
    /// How it stands.
    pub status: RunStatus,
    /// Since it began.
    pub elapsed_ms: u64,
    /// The last event of each stage.
    pub stages: Vec<StageNow>,
}

/// How a warm-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Under way.
    Warming,
    /// Done.
    Ready,
    /// Given up.
    Failed,
}

/// The last event of a stage.
#[derive(Debug, Deserialize)]
pub struct StageNow {
    #[serde(flatten)]
    event: StageEvent,
    at_ms: Option<u64>,
    id: Option<String>,
}

/// Where a job is.
#[derive(Debug, Deserialize)]
pub struct JobNow {
    job: JobId,
    upload: UploadId,
    status: JobStatus,
    position: Option<u32>,
    eta_ms: Option<Eta>,
    preview: Option<PreviewEvent>,
    cutout: Option<CutoutEvent>,
    problem: Option<Problem>,
}

/// A session that is asked for.
#[derive(Debug)]
pub struct Poll {
    server: Server,
    pass: Pass,
    model: String,
    wait: Duration,
    told: Told,
    news: VecDeque<Framed>,
}

/// What was told already.
#[derive(Debug, Default)]
struct Told {
    stages: HashMap<Stage, StageEvent>,
    ready: Option<RunId>,
    jobs: HashMap<JobId, Job>,
    extras: HashMap<JobId, (bool, bool, bool)>,
}

impl Poll {
    /// Opens a session, or goes on with one.
    pub async fn open(server: &Server, resume: Option<Resume<'_>>) -> Result<Self, ClientError> {
        let Some(Resume { pass, .. }) = resume else { return Self::open_session(server).await };
        Ok(Self::new(server, pass.clone(), String::new(), VecDeque::new()))
    }

    /// Asks again at once: something was done that has news.
    pub fn hurry(&mut self) {
        self.wait = Duration::ZERO;
    }

    async fn open_session(server: &Server) -> Result<Self, ClientError> {
        let request = server.request_url(Method::POST, server.opening_url("/v1/sessions")?);
        let answer = accepted("POST /v1/sessions", request.send().await?).await?.bytes().await?;
        let event: SessionEvent = serde_json::from_slice(&answer)
            .map_err(|error| ClientError::garbled("the answer to POST /v1/sessions", error))?;
        let (pass, model) = (Pass::from(&event), event.models.first().cloned().unwrap_or_default());
        let opened = Framed { event: Event::Session(Box::new(event)), at_ms: now_ms(), id: None };
        Ok(Self::new(server, pass, model, VecDeque::from([opened])))
    }

    fn new(server: &Server, pass: Pass, model: String, news: VecDeque<Framed>) -> Self {
        Self { server: server.clone(), pass, model, wait: Duration::ZERO, told: Told::default(), news }
    }

    /// The next news; asks until there are some.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing: it stops a wait or a question, and the next call asks again.
    pub async fn next(&mut self) -> Result<Framed, ClientError> {
        loop {
            if let Some(framed) = self.news.pop_front() {
                return Ok(framed);
            }
            tokio::time::sleep(self.wait).await;
            let snapshot = snapshot(&self.server, &self.pass).await?;
            self.wait = Duration::from_millis(snapshot.poll_after_ms).max(SOONEST);
            self.told.tell(snapshot, &self.model, now_ms(), &mut self.news);
        }
    }
}

/// Where a session stands.
pub async fn snapshot(server: &Server, pass: &Pass) -> Result<Snapshot, ClientError> {
    let request = server.request(Method::GET, &format!("/v1/sessions/{}", pass.session))?;
    let response =
        accepted("GET /v1/sessions/{session}", request.bearer_auth(&pass.token).send().await?).await?;
    serde_json::from_slice(&response.bytes().await?)
        .map_err(|error| ClientError::garbled("the snapshot", error))
}

impl Told {
    /// Says what is new in a snapshot, in the contract's order.
    fn tell(&mut self, snapshot: Snapshot, model: &str, now_ms: u64, news: &mut VecDeque<Framed>) {
        let mut say = |event, at_ms: Option<u64>, id| {
            news.push_back(Framed { event, at_ms: at_ms.unwrap_or(now_ms), id })
        };
        if let Some(run) = snapshot.run {
            let device = run.stages.iter().rev().find_map(|stage| stage.event.device.clone());
            for StageNow { event, at_ms, id } in run.stages {
                if self.stages.get(&event.stage) != Some(&event) {
                    self.stages.insert(event.stage, event.clone());
                    say(Event::Stage(event), at_ms, id);
                }
            }
            if run.status == RunStatus::Ready && self.ready.as_ref() != Some(&run.run) {
                self.ready = Some(run.run.clone());
                let (model, device) = (model.to_owned(), device.unwrap_or_default());
                // Whether the session opened before it, a snapshot doesn't say.
                let ready = Ready { run: run.run, cold: false, total_ms: run.elapsed_ms, model, device };
                say(Event::Ready(ready), None, None);
            }
        }
        for job in snapshot.jobs {
            let told = self.extras.entry(job.job.clone()).or_default();
            if let Some(preview) = job.preview.filter(|_| !std::mem::replace(&mut told.0, true)) {
                say(Event::Preview(preview), None, None);
            }
            if let Some(cutout) = job.cutout.filter(|_| !std::mem::replace(&mut told.1, true)) {
                say(Event::Cutout(Box::new(cutout)), None, None);
            }
            if let Some(problem) = job.problem.filter(|_| !std::mem::replace(&mut told.2, true)) {
                say(Event::Problem(problem), None, None);
            }
            let (status, position, eta_ms) = (job.status, job.position, job.eta_ms);
            let now = Job {
                job: job.job,
                upload: job.upload,
                status,
                position,
                eta_ms,
                step: None,
                progress: None,
            };
            if self.jobs.get(&now.job) != Some(&now) {
                self.jobs.insert(now.job.clone(), now.clone());
                say(Event::Job(now), None, None);
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM: &str = r#"{"session":"s_1","expires_in_ms":1,"last_event_id":"1","poll_after_ms":500,
        "run":{"run":"r_1","status":"ready","stage":"gpu_ready","progress":1.0,"elapsed_ms":70,"eta_ms":null,"stages":[
            {"type":"stage","run":"r_1","stage":"container","status":"done","device":"cpu","elapsed_ms":5,
             "progress":1.0,"eta_ms":null,"detail":null,"at_ms":9,"id":"1.0.x"}]},
        "jobs":[{"job":"j_1","upload":"u_1","status":"failed","position":null,"eta_ms":null,"preview":null,"cutout":null,
            "problem":{"code":"job_failed","message":"m","retryable":true}}]}"#;

    #[test]
    fn each_piece_of_news_is_told_once() {
        let (mut told, mut news) = (Told::default(), VecDeque::new());
        for expected in [["stage", "ready", "problem", "job"].as_slice(), &[]] {
            told.tell(serde_json::from_str(WARM).expect("valid"), "m", 10, &mut news);
            let kinds: Vec<_> = news.drain(..).map(|framed| framed.event.kind()).collect();
            assert_eq!(kinds, expected);
        }
    }
}
