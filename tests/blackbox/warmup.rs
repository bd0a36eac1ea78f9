//! Stages as they happen, tries, failure and recovery, unloading.

use std::time::Duration;

use serde_json::Value;

use crate::script::{Act, Gate, Script};
use crate::support::{PATIENCE, TestApp, is, photo};

fn stages(events: &[Value]) -> Vec<(String, String)> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let is_step = |event: &&Value| event["type"] == "stage" && event["status"] != "progress";
    events.iter().filter(is_step).map(|event| (text(event, "stage"), text(event, "status"))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(stage, status)| ((*stage).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn stages_come_in_order_and_their_times_add_up() {
    let gate = Gate::default();
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await;
    let mut channel = app.sse("trigger=hover").await;
    channel.until(is("stage", "progress")).await;
    let (_, health) = app.get("/health").await;
    assert_eq!((&health["model_loading"], &health["model_loaded"]), (&true.into(), &false.into()));
    assert_eq!(app.get("/readyz").await.0, 503);
    gate.open();
    let mut events = app.sse("trigger=hover").await.until(is("ready", "")).await;
    assert_eq!(
        stages(&events),
        pairs(&[
            ("container", "started"),
            ("container", "done"),
            ("model_load", "started"),
            ("model_load", "done"),
            ("gpu_ready", "started"),
            ("gpu_ready", "done"),
        ])
    );
    let ready = events.pop().unwrap();
    let at = |event: &Value| event["at_ms"].as_u64().unwrap();
    let logged: Vec<&Value> = events.iter().filter(|event| event["id"].is_string()).collect();
    assert!(logged.windows(2).all(|pair| at(pair[0]) <= at(pair[1])), "{logged:#?}");
    for done in logged.iter().filter(|event| event["status"] == "done") {
        let started =
            logged.iter().find(|event| event["stage"] == done["stage"] && event["status"] == "started");
        assert_eq!(at(done) - at(started.unwrap()), done["elapsed_ms"].as_u64().unwrap());
    }
    assert_eq!(at(&ready) - at(logged[0]), ready["total_ms"].as_u64().unwrap());
    assert_eq!(app.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn ready_is_cold_for_who_waited_and_warm_for_who_came_after() {
    let gate = Gate::default();
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await;
    let mut early = app.sse("trigger=hover").await;
    early.until(is("stage", "started")).await;
    gate.open();
    let ready = early.until(is("ready", "")).await.pop().unwrap();
    assert_eq!(ready["cold"], true);
    while warmcut::clock::now_ms() <= ready["at_ms"].as_u64().unwrap() {
        tokio::task::yield_now().await;
    }
    let late = app.sse("trigger=hover").await.until(is("ready", "")).await;
    assert_eq!(late.last().unwrap()["cold"], false);
}

#[tokio::test]
async fn one_run_for_everybody() {
    let gate = Gate::default();
    let script = Script::loads([Act::Wait(gate.clone())]);
    let app = TestApp::spawn(script, |config| config.warm = warmcut::config::Warm::Intent).await;
    assert_eq!(app.get("/health").await.1["model_loading"], false, "nobody asked yet");
    let runs = futures_util::future::join_all((0..20).map(|_| app.post("/warmup-async", ""))).await;
    let (_, first) = &runs[0];
    assert!(runs.iter().all(|(status, run)| *status == 202 && run["task_id"] == first["task_id"]));
    gate.open();
    app.sse("trigger=hover").await.until(is("ready", "")).await;
    assert_eq!(*app.script.loaded.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_failed_try_is_told_and_the_next_one_may_succeed() {
    let script = Script::loads([Act::Fail("the disk is on fire"), Act::Panic]);
    let app = TestApp::spawn(script, |_| ()).await;
    let events = app.sse("trigger=hover").await.until(is("ready", "")).await;
    let retries: Vec<&Value> = events.iter().filter(|event| event["status"] == "retrying").collect();
    assert_eq!(retries.len(), 2, "{events:#?}");
    for (n, retry) in retries.iter().enumerate() {
        let detail = retry["detail"].as_str().unwrap();
        assert!(
            detail.starts_with(&format!("try {} of 3 failed: the server's log says why; next in", n + 1)),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn what_a_file_holds_is_not_read_again() {
    let app = TestApp::spawn(Script::loads([Act::Unreadable]), |_| ()).await;
    let events = app.sse("trigger=hover").await.until(is("problem", "")).await;
    assert_eq!(events.last().unwrap()["code"], "warmup_failed");
    assert!(events.iter().all(|event| event["status"] != "retrying"), "{events:#?}");
    assert_eq!(*app.script.loaded.lock().unwrap(), 1);
    let (status, warm) = app.post("/warmup", "").await;
    assert_eq!((status, &warm["status"]), (200, &"ready".into()), "who asks for it has it read anew");
}

#[tokio::test]
async fn after_three_tries_it_has_failed_with_the_reason_and_the_next_intent_recovers() {
    let fail = || Act::Fail("no such weights");
    let script = Script::loads([fail(), fail(), fail()]);
    let app = TestApp::spawn(script, |config| config.warmup_cooldown = PATIENCE).await;
    let mut channel = app.sse("trigger=hover").await;
    let events = channel.until(is("problem", "")).await;
    assert_eq!(events.iter().filter(|event| event["status"] == "failed").count(), 1);
    let problem = events.last().unwrap();
    assert_eq!(problem["code"], "warmup_failed");
    let told = serde_json::to_string(&events).unwrap();
    assert!(!told.contains("no such weights"), "nothing of our insides: {told}");
    assert_eq!(problem["message"], "the model could not be made ready; try again in a few minutes");
    let (_, status) = app.get("/model-status").await;
    assert!(status["last_error"].as_str().unwrap().contains("no such weights"), "{status}");

    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(ready["reason"].as_str().unwrap().contains("no such weights"));
    assert_eq!(app.get("/livez").await.0, 200, "the server is up");
    let (_, health) = app.get("/health").await;
    assert!(health["model_error"].as_str().unwrap().contains("no such weights"));
    let other = app.open_passively().await;
    let (status, refused) = app.upload(&other, "upload=u1", photo(1)).await;
    assert_eq!((status, &refused["code"]), (503, &"warmup_failed".into()), "{refused}");
    assert!(!refused.to_string().contains("no such weights"), "{refused}");

    let (status, warm) = app.post("/warmup", "").await;
    assert_eq!((status, &warm["status"]), (200, &"ready".into()), "the script has no more failures");
    assert_eq!(channel.until(is("ready", "")).await.last().unwrap()["cold"], true);
    assert_eq!(app.upload(&other, "upload=u2", photo(1)).await.0, 202);
}

#[tokio::test]
async fn jobs_that_wait_for_a_model_that_never_comes_end_with_its_failure() {
    let gate = Gate::default();
    let fail = || Act::Fail("no such weights");
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone()), fail(), fail(), fail()]), |_| ()).await;
    // The first load waits and succeeds, but its priming fails for ever.
    *app.script.inferences.lock().unwrap() = [fail(), fail(), fail()].into();
    let session = app.open().await;
    assert_eq!(app.upload(&session, "upload=u1", photo(1)).await.0, 202);
    let mut channel = app.resume(&session, None).await;
    channel.until(is("job", "starting")).await;
    gate.open();
    let events = channel.until(is("job", "failed")).await;
    let problem = &events[events.len() - 2];
    assert_eq!((&problem["type"], &problem["code"]), (&"problem".into(), &"warmup_failed".into()));
    assert!(!problem.to_string().contains("no such weights"), "{problem}");
}

#[tokio::test]
async fn a_hanging_load_is_given_up_and_never_doubled() {
    let gate = Gate::default();
    let script = Script::loads([Act::Wait(gate.clone())]);
    let app = TestApp::spawn(script, |config| config.warmup_timeout = Duration::from_millis(150)).await;
    let events = app.sse("trigger=hover").await.until(is("problem", "")).await;
    assert!(
        events
            .iter()
            .any(|event| event["detail"].as_str().is_some_and(|detail| detail.contains("not done within")))
    );
    assert_eq!(*app.script.loaded.lock().unwrap(), 1, "the thread that hangs still loads");
    gate.open();
    assert_eq!(app.post("/warmup", "").await.0, 200);
}

#[tokio::test]
async fn unloading_by_request_gives_way_to_the_next_intent() {
    let app =
        TestApp::ready_with(std::sync::Arc::default(), |config| config.operator_token = Some("op".into()))
            .await;
    assert_eq!(app.post("/model/unload", "").await.0, 401);
    let unload = || async {
        crate::support::body(app.http.post(app.url("/model/unload")).bearer_auth("op").send().await.unwrap())
            .await
    };
    assert_eq!(unload().await.1["unloaded"], true);
    assert_eq!(unload().await.1["unloaded"], false);
    let (_, status) = app.get("/model-status").await;
    assert_eq!(status["model_loaded"], false);
    assert_eq!(app.get("/readyz").await.0, 503);
    let events = app.sse("trigger=hover").await.until(is("ready", "")).await;
    assert_eq!(events.iter().filter(|event| event["type"] == "ready").count(), 1, "only the new run's");
    assert_eq!(*app.script.loaded.lock().unwrap(), 2);
}

#[tokio::test]
async fn an_idle_model_is_unloaded_and_an_upload_brings_it_back() {
    let gate = Gate::default();
    let app = TestApp::ready_with(Script::loads([Act::Succeed, Act::Wait(gate.clone())]), |config| {
        config.unload_after = Some(Duration::from_millis(500));
    })
    .await;
    assert_eq!(app.post("/v1/cutouts", photo(2)).await.0, 200);
    let unloaded = async {
        while app.get("/health").await.1["model_loaded"] == true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, unloaded).await.expect("unloaded when idle");
    // What is known waits for nobody.
    let known = tokio::time::timeout(PATIENCE, app.post("/v1/cutouts", photo(2)));
    assert_eq!(known.await.expect("answered while no model is ready").0, 200);
    gate.open();
    assert_eq!(app.post("/v1/cutouts", photo(1)).await.0, 200);
}

#[tokio::test]
async fn past_runs_give_an_estimate_from_the_fifth_on() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    for n in 0..6 {
        let script =
            if n == 5 { Script::loads([Act::Wait(gate.clone())]) } else { std::sync::Arc::default() };
        let app = TestApp::spawn(script, |config| config.state_dir = Some(dir.path().to_owned())).await;
        if n < 5 {
            assert_eq!(app.post("/warmup", "").await.0, 200);
            // The file is written behind the run's end.
            let written = async {
                loop {
                    let text = std::fs::read_to_string(dir.path().join("warmups.json")).unwrap_or_default();
                    let history: Value = serde_json::from_str(&text).unwrap_or_default();
                    if history["scripted cpu"]["first"].as_array().is_some_and(|runs| runs.len() > n) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, written).await.expect("remembered");
            if n == 4 {
                // The scripted runs take a millisecond or two; an estimate that is overdue is withdrawn.
                let slow = [60_000; 5];
                let minutes = serde_json::json!({"first": slow, "again": [], "stages": {"model_load": slow}});
                let history = serde_json::json!({"scripted cpu": minutes});
                std::fs::write(dir.path().join("warmups.json"), history.to_string()).unwrap();
            }
        } else {
            let mut channel = app.sse("trigger=hover").await;
            let events =
                channel.until(|event| event["stage"] == "model_load" && event["status"] == "started").await;
            assert!(events.last().unwrap()["eta_ms"]["p50"].is_u64(), "{events:#?}");
            assert!(events.last().unwrap()["run_eta_ms"]["p90"].is_u64(), "{events:#?}");
            gate.open();
        }
    }
}
