//! warmcut: a realtime background-removal service that streams its own warm-up.
//!
//! # The way of one photo
//! ```text
//! browser ──intent──▶ http (channel) ──▶ session ──▶ warmup  (single flight, stages as they happen)
//! browser ◀─stages── http ◀── session log (replayable) ◀── warmup
//! browser ──photo───▶ http (limits) ──▶ cutout intake ──▶ queue (bounded) ──▶ pipeline ──▶ model
//! browser ◀─cutout── http ◀── session log ◀── cutout pipeline (compose, encode)
//! ```
//! One direction in, one direction out. What reaches a browser always goes through the session log,
//! so live, replay and polling can't disagree.
//!
//! # The rooms
//! | room | holds |
//! | --- | --- |
//! | [`config`] | the validated configuration |
//! | [`protocol`] | the wire: events, messages, options, analytics, problem codes |
//! | [`http`] | channels, uploads, results, analytics, the older endpoints, admission, assets |
//! | [`session`] | tokens, logs and their order, the registry |
//! | [`warmup`] | a run, its stages, tries, validation, history, audit |
//! | [`cutout`] | intake, queue, workers, pipeline, image codecs, results |
//! | [`engine`] | Redis, behind the seams of many machines |
//! | [`scale`] | many machines: the shared pool, waking, what is wanted |
//! | [`model`] | networks by name, weights, the device |
//! | [`client`] | the other end: `load` and `doctor` |
//! | [`app`] | builds all of it and shuts it down |

pub mod app;
pub mod client;
pub mod clock;
pub mod config;
pub mod cutout;
pub mod engine;
pub mod http;
pub mod memory;
pub mod model;
pub mod model_command;
pub mod oneshot;
pub mod protocol;
pub mod scale;
pub mod session;
mod spool;
pub mod telemetry;
pub mod warmup;
