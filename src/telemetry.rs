//! Logs to standard error, metrics to `/metrics`.

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::MissedTickBehavior;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Seconds; a warm-up on a serverless GPU takes a minute, an embedded one a second or two.
const WARMUP_BUCKETS: [f64; 11] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0];
/// Seconds; one step of a job.
const STEP_BUCKETS: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Seconds; what a shopper waits for, from a warm model and a warm cache to a serverless GPU that sleeps.
const SHOPPER_BUCKETS: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0];
/// A histogram holds all that is measured until it is put into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins logging. `RUST_LOG` chooses what is logged: a level, or levels of modules as in `warn,warmcut=debug`.
pub fn log(format: LogFormat) {
    // The other filter, which also knows of spans and fields, is a megabyte of regular expressions.
    let text = std::env::var("RUST_LOG").unwrap_or_default();
    let asked = text.parse::<Targets>().ok().filter(|_| !text.is_empty());
    let not_understood = asked.is_none() && !text.is_empty();
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter);
    // A second subscriber in one process, as tests make it, changes nothing.
    let _ = match format {
        LogFormat::Text => subscriber.with(logs.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => subscriber.with(logs.json().flatten_event(true)).try_init(),
    };
    if not_understood {
        tracing::warn!(
            "RUST_LOG is not understood, and `info` is logged: it is a level, or levels of modules"
        );
    }
}

/// Begins counting. Servers of one process share what the first one began.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("warmcut_warmup_seconds".into()), &WARMUP_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_step_seconds".into()), &STEP_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full("warmcut_job_seconds".into()), &WARMUP_BUCKETS)?
        .set_buckets_for_metric(Matcher::Prefix("warmcut_analytics_".into()), &SHOPPER_BUCKETS)?
        .build_recorder();
    let handle = HANDLE.get_or_init(|| recorder.handle()).clone();
    // The same as above: only the first recorder counts.
    let _ = metrics::set_global_recorder(recorder);
    describe();
    Ok(handle)
}

/// Begins counters at zero: one that appears with its first event has increased by nothing, as alerts see it.
pub fn count_from_zero(deployment: bool) {
    for outcome in ["ready", "failed"] {
        metrics::counter!("warmcut_warmups_total", "outcome" => outcome).absolute(0);
    }
    for status in ["succeeded", "failed", "canceled"] {
        metrics::counter!("warmcut_jobs_total", "status" => status).absolute(0);
    }
    if !deployment {
        return;
    }
    for outcome in ["sent", "alive", "failed", "stalled", "refused"] {
        metrics::counter!("warmcut_wakes_total", "outcome" => outcome).absolute(0);
    }
    metrics::counter!("warmcut_redis_errors_total").absolute(0);
    metrics::counter!("warmcut_store_errors_total").absolute(0);
    metrics::counter!("warmcut_jobs_redelivered_total").absolute(0);
}

/// Puts measurements into their buckets, for ever: else only who asks for `/metrics` does, and nobody may.
pub async fn upkeep(metrics: PrometheusHandle) {
    let mut every = tokio::time::interval(UPKEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("warmcut_sessions", "Sessions that have not expired");
    describe_counter!(
        "warmcut_sessions_evicted_total",
        "Idle sessions without an upload that made room for others"
    );
    describe_gauge!("warmcut_channels", "Open SSE streams and WebSockets");
    describe_gauge!("warmcut_jobs_waiting", "Jobs that no worker has claimed");
    describe_gauge!("warmcut_jobs_running", "Jobs that a worker has");
    describe_gauge!("warmcut_model_ready", "1 when a cutout would run now");
    describe_gauge!(
        "warmcut_preview_model_ready",
        "1 when a preview would run now, and the small model could stand in; 0 when it can't be loaded"
    );
    describe_gauge!("warmcut_workers", "Workers that are wanted, that live, that are ready, by state");
    describe_counter!("warmcut_wakes_total", "Wakes of workers by outcome");
    describe_gauge!("warmcut_budget_left", "What is left of today's budget, by kind");
    describe_gauge!("warmcut_redis_up", "1 while what is said in Redis is heard");
    describe_counter!("warmcut_redis_errors_total", "What Redis did not do that it was asked");
    describe_counter!("warmcut_store_errors_total", "What the store did not keep or delete");
    describe_counter!(
        "warmcut_jobs_redelivered_total",
        "Jobs that a worker took over from one that was lost"
    );
    describe_gauge!("warmcut_resident_memory_bytes", "Memory of the process");
    describe_counter!("warmcut_warmups_total", "Warm-ups by outcome");
    describe_counter!("warmcut_jobs_total", "Ended jobs by status");
    describe_counter!("warmcut_uploads_received_total", "Photos that came whole");
    describe_counter!("warmcut_uploads_rejected_total", "Photos that were refused, by code");
    describe_counter!("warmcut_cache_hits_total", "Photos whose cutout was there already");
    describe_counter!(
        "warmcut_previews_total",
        "Previews by outcome: made, skipped (no time, or no such photo), failed, or late (the job ended first)"
    );
    describe_counter!("warmcut_problems_total", "Problems answered over HTTP, by code");
    describe_counter!(
        "warmcut_channels_too_slow_total",
        "Sockets closed because their client could not keep up"
    );
    describe_histogram!("warmcut_warmup_seconds", "From a run's start to ready or failed");
    describe_histogram!("warmcut_job_seconds", "From an upload's acceptance to its cutout");
    describe_histogram!("warmcut_job_step_seconds", "The steps of a job");
    // As shoppers' browsers tell it. `shop` is its name in the key file, empty for our own pages;
    // `holdout` is true for visitors of the share that isn't warmed for.
    describe_counter!("warmcut_analytics_warming_started_total", "Shoppers' intents that opened a channel");
    describe_histogram!("warmcut_analytics_warming_completed_seconds", "From a shopper's intent to ready");
    describe_counter!(
        "warmcut_analytics_warming_abandoned_total",
        "Shoppers who left without a photo; with ready=true the model was warmed for nobody"
    );
    describe_histogram!(
        "warmcut_analytics_warming_abandoned_seconds",
        "From the intent of a shopper who left without a photo to the leave"
    );
    describe_counter!(
        "warmcut_analytics_upload_started_total",
        "Shoppers' photos, by whether the model was ready"
    );
    describe_histogram!(
        "warmcut_analytics_cutout_completed_seconds",
        "From a shopper's choice of a photo to the cutout on the page"
    );
    describe_counter!(
        "warmcut_analytics_rejected_total",
        "Requests to tell of shoppers that were refused, by code"
    );
}
