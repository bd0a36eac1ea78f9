//! From an accepted photo to a cutout: intake, queue, workers, pipeline, results.
//!
//! ```text
//! chunks ─▶ intake ─▶ jobs (bounded, in order) ─▶ worker ─▶ decode ─▶ infer ─▶ compose ─▶ encode ─▶ results
//! ```
//!
//! Every step is told to the session's log. Steps that compute run on blocking threads, the network on
//! a thread of its own. Everything is bounded: photos in memory and on disk, jobs, pixels at once,
//! results.
//!
//! The room must not know HTTP; it knows a session only as the log it writes to.

pub mod blobs;
mod budget;
pub mod image;
mod infer;
pub mod intake;
mod jobs;
mod memory_jobs;
mod pace;
mod pipeline;
mod preview;
mod redis_jobs;
pub mod results;
mod shared;
mod shared_results;
mod tell;
mod work;
mod worker;

pub use blobs::{Blob, BlobError, Blobs};
pub use infer::Inference;
pub use intake::{Begun, Intake, NewUpload, Writer};
pub use jobs::{Claimed, Depth, Jobs, JobsError, Lease, NewJob};
pub use memory_jobs::MemoryJobs;
pub use pace::Pace;
pub use pipeline::Pixels;
pub use preview::{CUTOUTS, PreviewParts, Previews};
pub use redis_jobs::{Leases, Queue, RedisJobs};
pub use results::{Cutout, Links, MemoryResults, Results};
pub use shared::SharedStore;
pub use shared_results::SharedResults;
pub use worker::{Workers, look_after, spawn_workers};
