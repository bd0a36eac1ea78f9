//! The program itself, as a platform starts it and tells it to go.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, client};

/// A platform kills after ten seconds.
const GONE_WITHIN: Duration = Duration::from_secs(8);

struct Program(Child);

impl Program {
    /// Starts a server with a temporary folder of its own and waits until it says where it listens.
    fn start(temp: &Path) -> (Self, String) {
        Self::start_logging(temp, "off", Stdio::null())
    }

    /// The same, with its log.
    fn start_logging(temp: &Path, filter: &str, log: Stdio) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
        command.env("TMPDIR", temp).env("RUST_LOG", filter);
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("warmcut serves ").expect("where it listens").to_owned();
        (Self(child), url)
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    async fn gone(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < GONE_WITHIN, "it is still here");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spools(temp: &Path) -> usize {
    std::fs::read_dir(temp).unwrap().count()
}

#[tokio::test]
async fn a_program_that_is_told_to_go_during_its_warm_up_exits_with_zero() {
    let temp = tempfile::tempdir().unwrap();
    let (mut program, url) = Program::start(temp.path());
    let channel = client().get(format!("{url}/v1/events?trigger=hover")).send().await.unwrap();
    program.terminate();
    let events = channel.text().await.unwrap();
    assert!(events.contains("event: drain") && !events.contains("event: problem"), "{events}");
    assert_eq!(program.gone().await.code(), Some(0));
    assert_eq!(spools(temp.path()), 0);
}

#[tokio::test]
async fn what_a_killed_program_leaves_behind_goes_at_the_next_start_and_what_lives_stays() {
    let temp = tempfile::tempdir().unwrap();
    let (mut killed, _) = Program::start(temp.path());
    let (_lives, _) = Program::start(temp.path());
    assert_eq!(spools(temp.path()), 2, "neither took the other's");
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    assert_eq!(spools(temp.path()), 2);
    let (_next, _) = Program::start(temp.path());
    let swept = async {
        while spools(temp.path()) > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.expect("the killed one's goes");
    assert_eq!(spools(temp.path()), 2);
}

#[tokio::test]
async fn what_is_told_of_shoppers_is_in_no_log() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    // The libraries below log what passes through them at `trace`, for people who look for it.
    let file = std::fs::File::create(&log).unwrap();
    let (mut program, url) = Program::start_logging(temp.path(), "debug,warmcut=trace", file.into());
    for body in [
        r#"{"events":[{"event":"upload_started","was_warmed":true}]}"#,
        r#"{"events":[{"event":"upload_started","was_warmed":"marked"}]}"#,
        "marked",
    ] {
        let request = client().post(format!("{url}/v1/analytics?key=pk_marked"));
        let request = request.header("content-type", "text/plain").header("x-forwarded-for", "192.0.2.77");
        let status = request.body(body).send().await.unwrap().status().as_u16();
        assert_eq!(status, if body.contains("marked") { 400 } else { 204 });
    }
    program.terminate();
    program.gone().await;
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("/v1/analytics"), "requests are logged: {log}");
    for trace in ["marked", "upload_started", "192.0.2.77"] {
        assert!(!log.contains(trace), "{trace}: {log}");
    }
}
