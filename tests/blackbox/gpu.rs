//! What a server does with a GPU, as far as that can be told without one: by a model that says what a GPU's driver
//! would.

use std::sync::Arc;

use serde_json::Value;

use crate::script::{Act, Script};
use crate::support::{PATIENCE, TestApp, is, photo};

#[tokio::test]
async fn memory_that_runs_out_fails_one_job_and_says_so() {
    let script = Script::inferences([Act::Driver("CUDA_ERROR_OUT_OF_MEMORY")]);
    let app = TestApp::ready_with(script, |_| ()).await;
    let (status, problem) = app.post("/v1/cutouts", photo(1)).await;
    assert_eq!(
        (status, &problem["code"], &problem["retryable"]),
        (500, &"job_failed".into(), &true.into()),
        "{problem}"
    );
    assert!(problem.to_string().contains("the GPU had not enough memory left"), "{problem}");
    assert_eq!(app.get("/readyz").await.0, 200);
    assert_eq!(app.post("/v1/cutouts", photo(1)).await.0, 200, "the worker lives on");
    assert_eq!(*app.script.loaded.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_gpu_that_is_lost_leaves_nobody_who_says_that_it_is_ready() {
    let script = Script::inferences([Act::Driver("CUDA_ERROR_ILLEGAL_ADDRESS")]);
    let app = TestApp::ready_with(script, |_| ()).await;
    let (status, problem) = app.post("/v1/cutouts", photo(1)).await;
    assert_eq!((status, &problem["code"]), (500, &"job_failed".into()), "{problem}");
    let cold = async {
        while app.get("/health").await.1["model_loaded"] == true {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cold).await.expect("it no longer says that it has a model");
    assert_eq!(app.get("/readyz").await.0, 503);
    let (_, status) = app.get("/model-status").await;
    let why = status["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("the GPU is lost") && why.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{status}");
    assert_eq!(app.post("/v1/cutouts", photo(2)).await.0, 200, "the next photo warms it again");
    assert_eq!(*app.script.loaded.lock().unwrap(), 2);
    assert_eq!(app.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_gpu_that_stays_lost_fails_the_next_warm_up_and_says_why() {
    let lost = || Act::Driver("CUDA_ERROR_LAUNCH_FAILED");
    let script = Script::inferences([lost(), lost(), lost(), lost()]);
    let app = TestApp::ready_with(script, |_| ()).await;
    assert_eq!(app.post("/v1/cutouts", photo(1)).await.0, 500);
    let (status, problem) = app.post("/v1/cutouts", photo(2)).await;
    assert_eq!((status, &problem["code"]), (503, &"warmup_failed".into()), "{problem}");
    assert!(!problem.to_string().contains("CUDA_ERROR"), "nothing of our insides: {problem}");
    let (_, status) = app.get("/model-status").await;
    assert!(status["last_error"].as_str().unwrap_or_default().contains("the GPU is lost"), "{status}");
    assert_eq!(app.get("/health").await.0, 200, "the server is up");
}

#[tokio::test]
async fn the_device_is_named_as_it_is_known_and_every_step_is_told() {
    let script = Arc::new(Script { finds: Some("cuda:1"), ..Script::default() });
    let app = TestApp::spawn(script, |_| ()).await;
    let events = app.sse("trigger=hover").await.until(is("ready", "")).await;
    let devices = |stage: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["stage"] == stage).map(|event| &event["device"]).collect()
    };
    assert!(devices("model_load").iter().all(|device| *device == "auto"), "{events:#?}");
    assert_eq!(
        (devices("gpu_ready")[0], devices("gpu_ready").last()),
        (&"auto".into(), Some(&&"cuda:1".into()))
    );
    let (ready, done) = (&events[events.len() - 1], &events[events.len() - 2]);
    assert_eq!(ready["device"], "cuda:1");
    let detail = done["detail"].as_str().unwrap_or_default();
    assert_eq!(detail, "context in 3 ms; kernels in 2 ms; the known photo gave the known answer");
    let (_, status) = app.get("/model-status").await;
    assert_eq!((&status["device"], &status["dtype"]), (&"cuda:1".into(), &"bf16".into()));
}

/// The program itself, built with CUDA, on a machine without NVIDIA's driver.
#[cfg(feature = "cuda")]
mod without_a_driver {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use serde_json::Value;

    use crate::support::{body, client};

    struct Program(Child);

    impl Drop for Program {
        fn drop(&mut self) {
            // It may have gone by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// On a machine with a GPU there is nothing to see here.
    fn is_here() -> bool {
        std::env::var_os("WARMCUT_TEST_DEVICE").is_none()
    }

    fn serve(device: &str) -> (Program, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--device", device]).env("RUST_LOG", "off");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Program(child), line.trim().strip_prefix("warmcut serves ").unwrap().to_owned())
    }

    async fn get(url: String) -> (u16, Value) {
        body(client().get(url).send().await.unwrap()).await
    }

    #[tokio::test]
    async fn auto_takes_the_cpu_and_says_why() {
        if !is_here() {
            return;
        }
        let (_program, url) = serve("auto");
        let (status, warm) = body(client().post(format!("{url}/warmup")).send().await.unwrap()).await;
        assert_eq!(status, 200, "{warm}");
        assert_eq!(get(format!("{url}/model-status")).await.1["device"], "cpu");
        let events = client().post(format!("{url}/v1/sessions?trigger=manual")).send().await.unwrap();
        let (_, opened) = body(events).await;
        let session = format!("{url}/v1/sessions/{}", opened["session"].as_str().unwrap());
        let token = opened["token"].as_str().unwrap();
        let (_, seen) = body(client().get(session).bearer_auth(token).send().await.unwrap()).await;
        let stages = seen["run"]["stages"].as_array().unwrap();
        let gpu = stages.iter().find(|stage| stage["stage"] == "gpu_ready").unwrap();
        let detail = gpu["detail"].as_str().unwrap();
        assert!(
            detail.contains("no GPU can be used: there is no NVIDIA driver here (libcuda.so.1"),
            "{detail}"
        );
        assert!(detail.contains("device chosen: ") && detail.contains("known answer"), "{detail}");
        assert_eq!(gpu["device"], "cpu");
    }

    #[tokio::test]
    async fn a_gpu_that_was_asked_for_fails_the_warm_up_and_the_server_stays() {
        if !is_here() {
            return;
        }
        let (_program, url) = serve("cuda:0");
        let (status, warmed) = body(client().post(format!("{url}/warmup")).send().await.unwrap()).await;
        assert_eq!((status, &warmed["status"]), (503, &"failed".into()), "{warmed}");
        let why = warmed["error"].as_str().unwrap_or_default();
        assert!(why.contains("cuda:0 can't be used: there is no NVIDIA driver here (libcuda"), "{warmed}");
        assert_eq!(get(format!("{url}/health")).await.0, 200);
        assert_eq!(get(format!("{url}/readyz")).await.0, 503);
        let (_, status) = get(format!("{url}/model-status")).await;
        assert_eq!((&status["device"], &status["model_loaded"]), (&"cuda:0".into(), &false.into()));
    }
}
