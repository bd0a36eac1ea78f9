//! Sessions: one browser's visit, with a log that any channel can replay.
//!
//! What reaches a browser always goes through a log first, so that a live channel, a replay and
//! polling can't disagree. Two logs feed a channel: the run log, where a stage is appended once for
//! everybody, and the session's own log with its uploads and jobs. One key orders both (see
//! [`key::EventKey`]), so an event id says where a channel stands in each of them.
//!
//! The room must not know HTTP or candle.

pub mod follow;
pub mod key;
pub mod log;
mod memory_log;
pub(crate) mod redis_logs;
mod redis_sessions;
pub mod registry;
mod ring;
pub mod snapshot;
mod table;
pub mod token;
mod view;

pub use follow::{Followed, Follower};
pub use key::EventKey;
pub use log::{Entry, LogError, Logs, Read};
pub use memory_log::MemoryLogs;
pub use redis_logs::RedisLogs;
pub use redis_sessions::RedisSessions;
pub use registry::{MemorySessions, OpenError, Opened, Opening, Session, SessionError, Sessions};
pub use table::{SessionBounds, counted_as};
