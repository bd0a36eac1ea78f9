//! Events, server to browser.

use serde::{Deserialize, Serialize};

use super::{CutoutId, JobId, Problem, RunId, SessionId, UploadId};

/// A remaining time in milliseconds, from measured runs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eta {
    /// Half of the measured ones were done by then.
    pub p50: u64,
    /// Nine of ten were.
    pub p90: u64,
}

/// What a server takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest photo in bytes.
    pub max_upload_bytes: u64,
    /// The largest photo in pixels, width times height.
    pub max_pixels: u64,
    /// The MIME types of photos.
    pub accepts: Vec<String>,
}

/// The first event of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// The session of this channel.
    pub session: SessionId,
    /// What authorises further requests of this session.
    pub token: String,
    /// The session lives so long without a channel or a request.
    pub expires_in_ms: u64,
    /// False when the session began with this channel.
    pub resumed: bool,
    /// What may be uploaded.
    pub limits: Limits,
    /// The models that an upload may ask for, the default first.
    pub models: Vec<String>,
}

/// A step of a warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the process's start to its listening socket.
    Container,
    /// The weights, from where they are kept to where they are used.
    ModelLoad,
    /// The device chosen, primed and validated by a real inference.
    GpuReady,
}

impl Stage {
    /// All of them in the order of their dependencies.
    pub const ALL: [Self; 3] = [Self::Container, Self::ModelLoad, Self::GpuReady];

    /// As it is spelled on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::ModelLoad => "model_load",
            Self::GpuReady => "gpu_ready",
        }
    }
}

/// What happened to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// The work started just now.
    Started,
    /// It goes on.
    Progress,
    /// The work is done just now.
    Done,
    /// It failed for good; the run is over.
    Failed,
    /// It failed and will be tried again.
    Retrying,
}

/// A stage moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageEvent {
    /// The warm-up it belongs to.
    pub run: RunId,
    /// Which step.
    pub stage: Stage,
    /// What happened to it.
    pub status: StageStatus,
    /// What the work runs on, as it really is.
    pub device: Option<String>,
    /// Since the stage started, in milliseconds.
    pub elapsed_ms: u64,
    /// 0 to 1, null where nothing can be measured.
    pub progress: Option<f32>,
    /// Until the stage is done; null with fewer than five measured runs or past their p90.
    pub eta_ms: Option<Eta>,
    /// Until the whole run is ready, under the same conditions.
    pub run_eta_ms: Option<Eta>,
    /// For people: what exactly, or why.
    pub detail: Option<String>,
}

/// A real inference gave the known answer: cutouts run now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The warm-up that got there.
    pub run: RunId,
    /// True when this session opened before it, so that its shopper waited.
    pub cold: bool,
    /// From the run's first stage to now, in milliseconds.
    pub total_ms: u64,
    /// The model that is ready.
    pub model: String,
    /// What it runs on.
    pub device: String,
}

/// What happened to an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// Bytes may come, from `received_bytes` on.
    Accepted,
    /// Some have come.
    Progress,
    /// All have come and the photo's header is good; `job` is set.
    Received,
    /// It can't be taken; a `problem` before it says why.
    Rejected,
}

/// An upload moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadEvent {
    /// The browser's own id.
    pub upload: UploadId,
    /// The job, from `received` on.
    pub job: Option<JobId>,
    /// What happened.
    pub status: UploadStatus,
    /// Bytes so far.
    pub received_bytes: u64,
    /// Bytes in all; null when the client didn't say.
    pub total_bytes: Option<u64>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// The photo is here and the model isn't yet.
    Starting,
    /// It waits for its turn.
    Queued,
    /// It runs.
    Processing,
    /// The end: there is a cutout.
    Succeeded,
    /// The end: a `problem` says why not.
    Failed,
    /// The end: somebody asked for it, or nobody waits any more.
    Canceled,
}

impl JobStatus {
    /// True for the three ends.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

/// What a processing job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStep {
    /// The photo's bytes become pixels.
    Decode,
    /// The network runs.
    Infer,
    /// The mask meets the photo.
    Compose,
    /// Pixels become bytes.
    Encode,
}

/// A job moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Which.
    pub job: JobId,
    /// The upload that it was born from.
    pub upload: UploadId,
    /// Where it is.
    pub status: JobStatus,
    /// 1 is next; null when not queued.
    pub position: Option<u32>,
    /// Until its end; null until five jobs were measured.
    pub eta_ms: Option<Eta>,
    /// What it does while processing.
    pub step: Option<JobStep>,
    /// 0 to 1: steps done of all steps.
    pub progress: Option<f32>,
}

/// How the bytes of a result come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Ask for `url`.
    Url,
    /// They follow on this socket in binary frames.
    Inline,
}

/// Where the milliseconds of a job went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the upload's acceptance to its last byte.
    pub upload: u64,
    /// Waiting: for the model, a worker and the inference thread.
    pub queue: u64,
    /// Bytes to upright sRGB pixels.
    pub decode: u64,
    /// The network, with the resize before it.
    pub infer: u64,
    /// Mask to full size, and onto the photo.
    pub compose: u64,
    /// Pixels to bytes.
    pub encode: u64,
    /// From the upload's acceptance to now.
    pub total: u64,
}

/// An early, cheaper cutout of the same job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewEvent {
    /// Which job.
    pub job: JobId,
    /// The name of its bytes: another than the cutout's.
    pub id_cutout: CutoutId,
    /// Path on this origin; needs the session's token.
    pub url: String,
    /// Of the bytes.
    pub mime: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How many.
    pub bytes: u64,
    /// What made it.
    pub model: String,
    /// How the bytes come on this channel.
    pub delivery: Delivery,
}

/// The job's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutoutEvent {
    /// Which job.
    pub job: JobId,
    /// For `GET /v1/cutouts/{id}`.
    pub id_cutout: CutoutId,
    /// Path on this origin; needs the session's token.
    pub url: String,
    /// Path on this origin that needs no token and expires with the cutout; for orders.
    pub lasting_url: String,
    /// Of the bytes.
    pub mime: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How many.
    pub bytes: u64,
    /// What made it.
    pub model: String,
    /// True when the same photo with the same options was cut out before.
    pub cached: bool,
    /// True when a lesser model answered than was asked for.
    pub degraded: bool,
    /// How the bytes come on this channel.
    pub delivery: Delivery,
    /// Where the time went.
    pub timings_ms: Timings,
    /// What the shopper should know, such as `animated_first_frame`.
    pub notes: Vec<String>,
}

/// Anything that a channel carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// First on a channel.
    Session(Box<SessionEvent>),
    /// A stage moved.
    Stage(StageEvent),
    /// Cutouts run now.
    Ready(Ready),
    /// An upload moved.
    Upload(UploadEvent),
    /// A job moved.
    Job(Job),
    /// An early cutout.
    Preview(PreviewEvent),
    /// The cutout.
    Cutout(Box<CutoutEvent>),
    /// Something went wrong.
    Problem(Problem),
    /// The replay can't go on from the given id; what describes the present follows.
    Reset {
        /// Why.
        reason: String,
    },
    /// The server is going away; nothing is lost.
    Drain {
        /// Wait so long before coming back.
        reconnect_in_ms: u64,
    },
    /// Nothing happened for a while.
    Ping {},
}

impl Event {
    /// As `type` and as the SSE event's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Stage(_) => "stage",
            Self::Ready(_) => "ready",
            Self::Upload(_) => "upload",
            Self::Job(_) => "job",
            Self::Preview(_) => "preview",
            Self::Cutout(_) => "cutout",
            Self::Problem(_) => "problem",
            Self::Reset { .. } => "reset",
            Self::Drain { .. } => "drain",
            Self::Ping {} => "ping",
        }
    }
}

/// An event as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Framed {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When it happened, Unix milliseconds.
    pub at_ms: u64,
    /// Its place in the session's log; none for what belongs to a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Framed {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events are plain data with string keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(event: Event, json: &str) {
        let framed = Framed { event, at_ms: 1, id: Some("7.0.x".into()) };
        assert_eq!(framed.to_json(), json);
        assert_eq!(serde_json::from_str::<Framed>(json).expect("reads back"), framed);
    }

    fn run() -> RunId {
        RunId::try_from("r_1".to_owned()).expect("an id")
    }

    fn job() -> JobId {
        JobId::try_from("j_1".to_owned()).expect("an id")
    }

    fn upload() -> UploadId {
        UploadId::try_from("u_1".to_owned()).expect("an id")
    }

    #[test]
    fn stages_keep_their_json() {
        pinned(
            Event::Stage(StageEvent {
                run: run(),
                stage: Stage::ModelLoad,
                status: StageStatus::Progress,
                device: Some("cpu".into()),
                elapsed_ms: 12,
                progress: Some(0.5),
                eta_ms: Some(Eta { p50: 1, p90: 2 }),
                run_eta_ms: None,
                detail: None,
            }),
            r#"{"type":"stage","run":"r_1","stage":"model_load","status":"progress","device":"cpu","elapsed_ms":12,"progress":0.5,"eta_ms":{"p50":1,"p90":2},"run_eta_ms":null,"detail":null,"at_ms":1,"id":"7.0.x"}"#,
        );
        pinned(
            Event::Ready(Ready {
                run: run(),
                cold: true,
                total_ms: 9,
                model: "u2netp".into(),
                device: "cpu".into(),
            }),
            r#"{"type":"ready","run":"r_1","cold":true,"total_ms":9,"model":"u2netp","device":"cpu","at_ms":1,"id":"7.0.x"}"#,
        );
    }

    #[test]
    fn uploads_and_jobs_keep_their_json() {
        pinned(
            Event::Upload(UploadEvent {
                upload: upload(),
                job: None,
                status: UploadStatus::Accepted,
                received_bytes: 0,
                total_bytes: Some(5),
            }),
            r#"{"type":"upload","upload":"u_1","job":null,"status":"accepted","received_bytes":0,"total_bytes":5,"at_ms":1,"id":"7.0.x"}"#,
        );
        pinned(
            Event::Job(Job {
                job: job(),
                upload: upload(),
                status: JobStatus::Queued,
                position: Some(1),
                eta_ms: None,
                step: None,
                progress: None,
            }),
            r#"{"type":"job","job":"j_1","upload":"u_1","status":"queued","position":1,"eta_ms":null,"step":null,"progress":null,"at_ms":1,"id":"7.0.x"}"#,
        );
    }

    #[test]
    fn results_keep_their_json() {
        pinned(
            Event::Preview(PreviewEvent {
                job: job(),
                id_cutout: CutoutId::try_from("c_2".to_owned()).expect("an id"),
                url: "/p".into(),
                mime: "image/png".into(),
                width: 2,
                height: 3,
                bytes: 4,
                model: "u2netp".into(),
                delivery: Delivery::Url,
            }),
            r#"{"type":"preview","job":"j_1","id_cutout":"c_2","url":"/p","mime":"image/png","width":2,"height":3,"bytes":4,"model":"u2netp","delivery":"url","at_ms":1,"id":"7.0.x"}"#,
        );
        pinned(
            Event::Cutout(Box::new(CutoutEvent {
                job: job(),
                id_cutout: CutoutId::try_from("c_1".to_owned()).expect("an id"),
                url: "/u".into(),
                lasting_url: "/l".into(),
                mime: "image/png".into(),
                width: 2,
                height: 3,
                bytes: 4,
                model: "u2netp".into(),
                cached: false,
                degraded: false,
                delivery: Delivery::Inline,
                timings_ms: Timings::default(),
                notes: vec![],
            })),
            r#"{"type":"cutout","job":"j_1","id_cutout":"c_1","url":"/u","lasting_url":"/l","mime":"image/png","width":2,"height":3,"bytes":4,"model":"u2netp","cached":false,"degraded":false,"delivery":"inline","timings_ms":{"upload":0,"queue":0,"decode":0,"infer":0,"compose":0,"encode":0,"total":0},"notes":[],"at_ms":1,"id":"7.0.x"}"#,
        );
    }

    #[test]
    fn what_belongs_to_a_channel_has_no_id() {
        let ping = Framed { event: Event::Ping {}, at_ms: 5, id: None };
        assert_eq!(ping.to_json(), r#"{"type":"ping","at_ms":5}"#);
        let drain = Framed { event: Event::Drain { reconnect_in_ms: 100 }, at_ms: 5, id: None };
        assert_eq!(drain.to_json(), r#"{"type":"drain","reconnect_in_ms":100,"at_ms":5}"#);
    }
}
