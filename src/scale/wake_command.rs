//! Waking by a command: a process for each worker that is wanted and isn't there.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::keeper::{Heard, Means};

/// Processes that are or start workers.
pub struct CommandWakes {
    command: String,
    /// Those that run, to be ended when no worker comes up.
    started: Vec<oneshot::Sender<()>>,
}

impl CommandWakes {
    /// A line for `sh`. What it starts outlives this process: workers go by themselves.
    pub fn new(command: String) -> Self {
        Self { command, started: Vec::new() }
    }
}

impl Means for CommandWakes {
    fn missing(&mut self, wanted: usize, here: usize) -> usize {
        self.started.retain(|end| !end.is_closed());
        wanted.saturating_sub(here)
    }

    fn wake(&mut self, launch: String, heard: mpsc::Sender<Heard>) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // Not ended with the gateway's own group, and endable as one.
        command.process_group(0);
        let (end, ended) = oneshot::channel();
        self.started.push(end);
        match command.spawn() {
            Ok(child) => drop(tokio::spawn(watch(child, launch, heard, ended))),
            Err(error) => {
                let reason = format!("the wake command can't be started: {error}");
                // The keeper takes what is heard one by one and never waits for it.
                let _ = heard.try_send(Heard::Failed { launch, reason });
            }
        }
    }

    /// Workers go by themselves.
    fn keep(&mut self, _: usize) {}

    fn start_over(&mut self) {
        for end in self.started.drain(..) {
            let _ = end.send(());
        }
    }
}

async fn watch(mut child: Child, launch: String, heard: mpsc::Sender<Heard>, ended: oneshot::Receiver<()>) {
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        // Dropped with the gateway, it isn't asked to end.
        Ok(()) = ended => None,
    };
    match by_itself {
        Some(Ok(status)) if status.success() => drop(heard.send(Heard::Ended).await),
        Some(status) => {
            let reason = format!("the wake command ended with {}", words(status));
            let _ = heard.send(Heard::Died { launch, reason }).await;
        }
        None => {
            // With all that it started: nobody has heard of any of them.
            let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
        }
    }
}

fn words(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
