//! `warmcut load`: real sessions against a server, and how long each step took them.
//!
//! Each session does what a shopper's page does: opens a channel, sees the stages, sends a photo,
//! waits for the cutout, looks at it, and leaves. The room measures; [`LoadReport`]'s `Display`
//! and `Serialize` are what is printed. A session is one task and nothing beside it, so that ten
//! thousand idle ones cost ten thousand sockets and little more.

mod args;
mod bar;
mod drive;
mod errand;
mod report;
mod summary;
mod table;
mod tally;
mod visitor;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

pub(super) use args::address;
pub use args::{Carriers, LoadArgs};
use bar::Bar;
use drive::Plan;
pub use report::{Counts, Failure, LoadReport, StageTimes};
pub use summary::Summary;
use tally::Tally;

use super::ClientError;

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);

/// Drives the sessions and says what they saw. `sample` is the photo when the arguments name none.
/// Ends early with what there is on Ctrl-C or SIGTERM.
pub async fn load(args: LoadArgs, sample: &'static [u8]) -> Result<LoadReport, ClientError> {
    let plan = Arc::new(Plan::new(&args, sample).await?);
    let tally = Arc::new(Tally::default());
    let bar = Bar::new(args.count, args.json);
    let begun = Instant::now();

    let next = Arc::new(AtomicUsize::new(0));
    let mut visitors = JoinSet::new();
    for _ in 0..args.at_once() {
        let (plan, tally, next, count) =
            (Arc::clone(&plan), Arc::clone(&tally), Arc::clone(&next), args.count);
        visitors.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                drive::visit(&plan, &tally, number).await;
            }
        });
    }

    let mut redraw = tokio::time::interval(REDRAW);
    let mut interrupt = std::pin::pin!(interrupt());
    let interrupted = loop {
        tokio::select! {
            () = &mut interrupt => break true,
            ended = visitors.join_next() => match ended {
                None => break false,
                Some(Ok(())) => {}
                Some(Err(panic)) => tally.broken(&panic),
            },
            _ = redraw.tick() => bar.show(&tally),
        }
    };
    visitors.shutdown().await;
    bar.clear();
    Ok(LoadReport::new(&args, plan.photo_bytes(), &tally, begun.elapsed(), interrupted))
}

/// Ctrl-C, or SIGTERM as `timeout` sends it; never where they can't be heard.
async fn interrupt() {
    let heard = async |kind| match signal(kind) {
        Ok(mut signal) => signal.recv().await,
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = heard(SignalKind::interrupt()) => {}
        _ = heard(SignalKind::terminate()) => {}
    }
}
