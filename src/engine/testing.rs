//! A Redis server of a test's own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;

/// Ends with its test.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    running: Option<Child>,
}

impl Server {
    /// Starts Debian's `redis-server`, which `tests/run` installs.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { folder, running: None };
        server.start_again().await;
        server
    }

    /// With the data that is there.
    pub(crate) async fn start_again(&mut self) {
        let child = Command::new("redis-server")
            .current_dir(self.folder.path())
            .args(["--port", "0", "--unixsocket", "socket", "--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--maxmemory-policy", "noeviction"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.running = Some(child);
        let client = redis::Client::open(self.url()).expect("an address");
        while client.get_multiplexed_async_connection().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    /// What it kept is lost.
    pub(crate) fn lose_data(&self) {
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).expect("removed");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("socket").display())
    }

    /// One process's connection.
    pub(crate) async fn engine(&self) -> Arc<Engine> {
        Engine::connect(&self.url(), "test").await.expect("connects")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
