//! Black-box tests over real sockets: the server as its clients see it, with a scripted model where
//! the real one would only be slow.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test that can't go on has failed")]

mod admission;
mod analytics;
mod bad_input;
mod channels;
mod command_line;
mod edges;
mod golden;
mod gpu;
mod jobs;
mod older;
mod pages;
mod previews;
mod process;
mod script;
mod shutdown;
mod slow_clients;
mod sockets;
mod support;
mod warmup;
