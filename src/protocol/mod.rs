//! The wire and nothing else: events, messages, upload options, analytics and problem codes.
//!
//! Every word here is the contract's. The room knows how things are spelled, not what they do:
//! it must not touch sessions, the model or HTTP. The tests pin the JSON, so that a renamed
//! field is a failing test and not a broken shop.

pub mod analytics;
mod event;
mod id;
mod message;
pub mod options;
mod problem;
mod trigger;

pub use event::{
    CutoutEvent, Delivery, Eta, Event, Framed, Job, JobStatus, JobStep, Limits, PreviewEvent, Ready,
    SessionEvent, Stage, StageEvent, StageStatus, Timings, UploadEvent, UploadStatus,
};
pub use id::{CutoutId, IdError, JobId, RunId, SessionId, UploadId, random_name};
pub use message::{Deliver, Message};
pub use problem::{Code, Problem};
pub use trigger::Trigger;
