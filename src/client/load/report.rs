//! What a load came to, as one object.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::args::LoadArgs;
use super::summary::{Summary, ms};
use super::tally::{Book, READY, STEPS, Tally};
use crate::protocol::Stage;

/// What a load came to. `Display` is the table for people.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// The server.
    pub url: String,
    /// How the channels were carried.
    pub transports: Vec<String>,
    /// How many sessions ran at once at most.
    pub concurrency: usize,
    /// True when each session waited for `ready` before it sent its photo.
    pub waited: bool,
    /// True when Ctrl-C ended it.
    pub interrupted: bool,
    /// The photo's size.
    pub photo_bytes: usize,
    /// The sessions by what became of them.
    pub sessions: Counts,
    /// From the first session's begin to the last one's end.
    pub wall_ms: f64,
    /// Cutouts over the whole time.
    pub cutouts_per_second: f64,
    /// By transport: from asking for a channel to its first bytes.
    pub first_byte_ms: BTreeMap<String, Summary>,
    /// By stage, in their order, and `ready`.
    #[serde(serialize_with = "as_object")]
    pub stages: Vec<(&'static str, StageTimes)>,
    /// By step, in their order, as the server measured them. Cutouts from the cache are left out.
    #[serde(serialize_with = "as_object")]
    pub steps_ms: Vec<(&'static str, Summary)>,
    /// From sending the photo to having the cutout's last byte, as the client saw it.
    pub end_to_end_ms: Option<Summary>,
    /// By code.
    pub errors: BTreeMap<String, Failure>,
}

/// Sessions by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How many were asked for.
    pub requested: usize,
    /// How many began.
    pub started: usize,
    /// How many got their `session` event.
    pub opened: usize,
    /// How many had their photo taken.
    pub uploaded: usize,
    /// How many got their cutout, and it was one; with `--idle`, how many held their channel.
    pub succeeded: usize,
    /// How many were refused, or told that it failed.
    pub failed: usize,
    /// How many had their photo taken and never heard the end.
    pub dropped: usize,
    /// How many were cut off by Ctrl-C.
    pub unfinished: usize,
    /// Of those that succeeded: how many came from the results' cache.
    pub cached: usize,
    /// How often a lost channel was resumed.
    pub reconnected: usize,
}

/// How long a stage took.
#[derive(Clone, Debug, Serialize)]
pub struct StageTimes {
    /// As the server measured it, once for each run.
    pub took_ms: Option<Summary>,
    /// From a session's opening to its being told that the stage was done.
    pub seen_ms: Option<Summary>,
}

/// Errors of one code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// How many.
    pub count: usize,
    /// The first one's message.
    pub example: String,
}

impl LoadReport {
    pub(super) fn new(
        args: &LoadArgs,
        photo_bytes: usize,
        tally: &Tally,
        wall: Duration,
        interrupted: bool,
    ) -> Self {
        let mut book = tally.book();
        let mut sessions = book.counts;
        sessions.requested = args.count;
        sessions.unfinished = sessions.started - sessions.succeeded - sessions.failed - sessions.dropped;
        let first_byte = std::mem::take(&mut book.first_byte);
        let cutouts = book.end_to_end.len();
        Self {
            url: args.url.clone(),
            transports: first_byte.keys().map(ToString::to_string).collect(),
            concurrency: args.at_once(),
            waited: args.wait,
            interrupted,
            photo_bytes,
            sessions,
            wall_ms: ms(wall),
            cutouts_per_second: (cutouts as f64 / wall.as_secs_f64() * 100.0).round() / 100.0,
            first_byte_ms: first_byte
                .into_iter()
                .filter_map(|(transport, times)| Some((transport.to_string(), Summary::of(times)?)))
                .collect(),
            stages: stages(&mut book),
            steps_ms: steps(&book),
            end_to_end_ms: Summary::of(std::mem::take(&mut book.end_to_end)),
            errors: book.failures.clone(),
        }
    }

    /// True when every session that was asked for got what it came for.
    pub fn succeeded(&self) -> bool {
        self.sessions.succeeded == self.sessions.requested
    }
}

/// One field each, in their order: a map would sort "container" behind "compose" and "ready" before "upload".
fn as_object<T: Serialize, S: Serializer>(
    pairs: &[(&'static str, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

fn stages(book: &mut Book) -> Vec<(&'static str, StageTimes)> {
    let names = Stage::ALL.map(Stage::as_str).into_iter().chain([READY]);
    let times = names.map(|stage| {
        let took = book.took.remove(stage).unwrap_or_default().into_values().collect();
        let seen = book.seen.remove(stage).unwrap_or_default();
        (stage, StageTimes { took_ms: Summary::of(took), seen_ms: Summary::of(seen) })
    });
    times.collect()
}

fn steps(book: &Book) -> Vec<(&'static str, Summary)> {
    let times = STEPS.iter().filter_map(|(step, of)| {
        let times = book.timings.iter().map(|timings| of(timings) as f64).collect();
        Some((*step, Summary::of(times)?))
    });
    times.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;
    use crate::client::{ClientError, Transport};
    use crate::protocol::{CutoutEvent, CutoutId, Delivery, JobId, RunId, StageEvent, StageStatus, Timings};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    /// Three sessions: one with a cutout, one with a cached one, one that was never heard of again.
    pub(in super::super) fn example() -> LoadReport {
        let args = Cli::parse_from(["load", "http://h", "--count", "3"]).load;
        let tally = Tally::default();
        let stage = StageEvent {
            run: RunId::try_from("r_1".to_owned()).expect("an id"),
            stage: Stage::ModelLoad,
            status: StageStatus::Done,
            device: None,
            elapsed_ms: 700,
            progress: None,
            eta_ms: None,
            run_eta_ms: None,
            detail: None,
        };
        for after in [10, 20, 30] {
            tally.started();
            tally.first_byte(Transport::Ws, Duration::from_micros(after * 100));
            tally.opened();
            tally.stage(&stage, Duration::from_millis(after));
            tally.uploaded();
        }
        let mut cutout = CutoutEvent {
            job: JobId::random(),
            id_cutout: CutoutId::random(),
            url: String::new(),
            lasting_url: String::new(),
            mime: String::new(),
            width: 1,
            height: 1,
            bytes: 1,
            model: String::new(),
            cached: false,
            degraded: false,
            delivery: Delivery::Url,
            timings_ms: Timings { infer: 40, total: 50, ..Timings::default() },
            notes: vec![],
        };
        tally.succeeded(&cutout, Duration::from_millis(60));
        cutout.cached = true;
        tally.succeeded(&cutout, Duration::from_millis(4));
        tally.failed(&ClientError::Ended, true);
        LoadReport::new(&args, 9, &tally, Duration::from_secs(4), false)
    }

    #[test]
    fn a_report_keeps_its_json() {
        let report = example();
        assert!(!report.succeeded());
        let json = serde_json::to_string(&report).expect("plain data");
        let of = |name: &str| {
            let value = serde_json::to_value(&report).expect("plain data");
            value[name].to_string()
        };
        assert!(json.starts_with(
            r#"{"url":"http://h","transports":["ws"],"concurrency":3,"waited":false,"interrupted":false,"photo_bytes":9,"sessions":{"requested":3,"started":3,"opened":3,"uploaded":3,"succeeded":2,"failed":0,"dropped":1,"unfinished":0,"cached":1,"reconnected":0},"wall_ms":4000.0,"cutouts_per_second":0.5,"first_byte_ms":{"ws":{"count":3,"p50":2.0,"p90":3.0,"p99":3.0,"max":3.0}},"stages":{"container":{"took_ms":null,"seen_ms":null},"model_load":{"took_ms":{"count":1,"p50":700.0,"#
        ), "{json}");
        assert_eq!(of("end_to_end_ms"), r#"{"count":2,"max":60.0,"p50":4.0,"p90":60.0,"p99":60.0}"#);
        assert_eq!(of("errors"), r#"{"ended":{"count":1,"example":"the stream ended"}}"#);
        let steps: Vec<_> = report.steps_ms.iter().map(|(step, took)| (*step, took.max)).collect();
        assert_eq!(
            steps,
            [
                ("upload", 0.0),
                ("queue", 0.0),
                ("decode", 0.0),
                ("infer", 40.0),
                ("compose", 0.0),
                ("encode", 0.0),
                ("total", 50.0)
            ]
        );
    }
}
