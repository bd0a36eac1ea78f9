//! The program itself, as a platform starts it and tells it to go.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::client;

/// A platform kills after ten seconds.
const GONE_WITHIN: Duration = Duration::from_secs(8);

struct Program(Child);

impl Program {
    /// Starts a server and waits until it says where it listens.
    fn start() -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
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

#[tokio::test]
async fn a_program_that_is_told_to_go_during_its_warm_up_exits_with_zero() {
    let (mut program, url) = Program::start();
    let channel = client().get(format!("{url}/v1/events?trigger=hover")).send().await.unwrap();
    program.terminate();
    let events = channel.text().await.unwrap();
    assert!(events.contains("event: drain") && !events.contains("event: problem"), "{events}");
    assert_eq!(program.gone().await.code(), Some(0));
}
