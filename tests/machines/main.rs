//! Many machines: real gateways, workers and a real Redis, with faults put into them from outside.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test that can't go on has failed")]

mod away;
mod deaths;
mod everywhere;
mod fleet;
mod rolling;
mod shopper;
mod waking;
