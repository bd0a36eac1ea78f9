//! The older service's endpoints, and those of platforms.

use crate::script::{Act, Gate, Script};
use crate::support::{TestApp, photo};

#[tokio::test]
async fn the_older_endpoints_tell_the_truth_with_their_own_names() {
    let gate = Gate::default();
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await;
    let (status, health) = app.get("/health").await;
    assert_eq!((status, &health["status"], &health["model_loaded"]), (200, &"alive".into(), &false.into()));
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    let (_, started) = app.post("/warmup-async", "").await;
    let task = started["task_id"].as_str().unwrap();
    let (_, warming) = app.get(&format!("/warmup-status/{task}")).await;
    assert_eq!((&warming["status"], &warming["stage"]), (&"warming".into(), &"model_load".into()));
    let progress = warming["progress"].as_u64().unwrap();
    assert!((33..100).contains(&progress), "{warming}");
    let blocked = app.get("/warmup");
    gate.open();
    let (status, warm) = blocked.await;
    assert_eq!((status, &warm["status"], &warm["progress"]), (200, &"ready".into(), &100.into()));
    let (_, ready) = app.get(&format!("/warmup-status/{task}")).await;
    assert_eq!((&ready["status"], &ready["progress"]), (&"ready".into(), &100.into()));
    assert_eq!(app.get("/warmup-status/r_unknown").await.0, 404);
    let (_, model) = app.get("/model-status").await;
    assert_eq!(
        (&model["model_loaded"], &model["model"], &model["device"]),
        (&true.into(), &"scripted".into(), &"cpu".into())
    );
    assert!(model["load_time"].is_f64() && model["last_run"] == task);
    let (_, memory) = app.get("/memory-status").await;
    for name in ["total_mb", "available_mb", "used_mb", "percent_used"] {
        assert!(memory["system_memory"][name].as_f64().unwrap() > 0.0, "{name}: {memory}");
    }
    for name in ["rss_mb", "peak_mb", "model_mb", "cache_mb"] {
        assert!(memory["process"][name].is_f64(), "{name}: {memory}");
    }
}

#[tokio::test]
async fn health_never_starts_a_warm_up() {
    let app = TestApp::spawn(Script::loads([]), |config| config.warm = warmcut::config::Warm::Intent).await;
    for path in ["/health", "/livez", "/readyz", "/model-status", "/memory-status", "/metrics"] {
        app.get(path).await;
    }
    assert_eq!(*app.script.loaded.lock().unwrap(), 0);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let app = TestApp::ready().await;
    app.post("/v1/cutouts", photo(1)).await;
    let text = app.http.get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for name in [
        "warmcut_jobs_total",
        "warmcut_warmup_seconds_bucket",
        "warmcut_job_step_seconds",
        "warmcut_model_ready",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[tokio::test]
async fn pages_have_etags_and_the_widget_may_be_embedded_anywhere() {
    let app = TestApp::ready().await;
    let page = app.http.get(app.url("/")).send().await.unwrap();
    assert!(page.headers().contains_key("etag"));
    let widget = app.http.get(app.url("/widget.js")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(widget.headers()["access-control-allow-origin"], "*");
    assert_eq!(widget.headers()["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(widget.headers()["content-encoding"], "gzip");
    let etag = widget.headers()["etag"].clone();
    let again = app.http.get(app.url("/widget.js")).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    let any = app.http.get(app.url("/widget.js")).header("if-none-match", "*").send().await.unwrap();
    assert_eq!(any.status(), 304);
    assert_eq!(app.get("/../Cargo.toml").await.0, 404);
}
