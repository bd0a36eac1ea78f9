//! A deployment on this machine: its processes, and what can befall them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warmcut::client::{Identity, Server};

/// Nothing that a test waits for takes so long unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_warmcut");

/// A process of ours or of others.
pub struct Process {
    child: Child,
    pub log: PathBuf,
}

impl Process {
    fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    /// As a crash does.
    pub fn kill(&mut self) {
        // It may have gone by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// It stands still, and its connections stay open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// As a platform does that wants it to go.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub async fn gone(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it is still here");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn signal_to(pid: u32, signal: &str) {
    let kill = format!("kill -{signal} {pid}");
    // Who is gone already can't be told.
    let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
}

/// A gateway, and how to speak to it.
pub struct Gateway {
    pub process: Process,
    pub server: Server,
}

/// Redis, a folder as the store, and whatever was started.
pub struct Fleet {
    folder: TempDir,
    redis: Option<Process>,
}

impl Fleet {
    pub async fn start() -> Self {
        // Several tests in one process: the first one chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let mut fleet = Self { folder, redis: None };
        fleet.start_redis().await;
        fleet
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn redis_url(&self) -> String {
        format!("redis+unix://{}", self.path().join("redis.sock").display())
    }

    pub async fn start_redis(&mut self) {
        let mut command = Command::new("redis-server");
        command.current_dir(self.path()).stdout(Stdio::null());
        command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--maxmemory-policy", "noeviction"]);
        let child = command.spawn().expect("redis-server is installed");
        self.redis = Some(Process { child, log: PathBuf::new() });
        let client = redis::Client::open(self.redis_url()).unwrap();
        while client.get_multiplexed_async_connection().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn kill_redis(&mut self) {
        self.redis = None;
    }

    /// What a Redis that isn't running kept is lost.
    pub fn lose_data(&self) {
        fs::remove_dir_all(self.path().join("appendonlydir")).unwrap();
    }

    fn shared(&self) -> Vec<String> {
        let store = format!("file://{}", self.path().join("store").display());
        ["--redis", &self.redis_url(), "--store", &store].map(str::to_owned).to_vec()
    }

    /// Starts one of ours and waits until it says where it listens.
    fn spawn(&self, role: &str, before: &[&str], args: &[&str]) -> (Process, String) {
        let number = fs::read_dir(self.path()).unwrap().count();
        let log = self.path().join(format!("{role}-{number}.log"));
        let mut words = before.to_vec();
        words.extend([BINARY, role, "--listen", "127.0.0.1:0"]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(self.shared()).args(args).env("TMPDIR", self.path());
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        let process = Process { child, log };
        assert!(url.starts_with("http://"), "{line:?} {}", process.log());
        (process, url)
    }

    pub fn gateway(&self, args: &[&str]) -> Gateway {
        self.gateway_before(&[], args)
    }

    /// The same with variables of the environment, each as `NAME=value`.
    pub fn gateway_with(&self, variables: &[&str], args: &[&str]) -> Gateway {
        self.gateway_before(&[&["env"], variables].concat(), args)
    }

    /// The same behind another program.
    pub fn gateway_before(&self, before: &[&str], args: &[&str]) -> Gateway {
        let (process, url) = self.spawn("gateway", before, args);
        let server = Server::new(&url, Identity::default()).unwrap();
        Gateway { process, server }
    }

    pub fn worker(&self, args: &[&str]) -> Process {
        self.spawn("worker", &[], args).0
    }

    /// The same, and where it listens.
    pub fn worker_at(&self, args: &[&str]) -> (Process, String) {
        self.spawn("worker", &[], args)
    }

    pub fn worker_before(&self, before: &[&str], args: &[&str]) -> Process {
        self.spawn("worker", before, args).0
    }

    /// A line for `--wake-cmd` that starts a worker after some seconds.
    pub fn launcher(&self, after_s: u32, args: &str) -> String {
        let (pids, log) = (self.path().join("pids"), self.path().join("launched.log"));
        let shared = self.shared().join(" ");
        format!(
            "echo $$ >> {}; sleep {after_s}; exec {BINARY} worker --listen 127.0.0.1:0 {shared} {args} 2>> {}",
            pids.display(),
            log.display()
        )
    }

    /// Workers that a launcher was asked for.
    pub fn launched(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.path().join("pids")).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The store can be written to no more, until it is mended.
    pub fn break_store(&self) {
        let (store, away) = (self.path().join("store"), self.path().join("away"));
        fs::rename(&store, &away).unwrap();
        fs::write(&store, "no folder").unwrap();
    }

    pub fn mend_store(&self) {
        let (store, away) = (self.path().join("store"), self.path().join("away"));
        fs::remove_file(&store).unwrap();
        fs::rename(&away, &store).unwrap();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for pid in self.launched() {
            signal_to(pid, "KILL");
        }
    }
}
