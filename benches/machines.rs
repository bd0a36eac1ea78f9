//! What a stage costs on its way to many channels, on two gateways and in one process:
//! `cargo bench --bench machines`. It needs `redis-server`.
//!
//! A stage event is appended twenty times a second while browsers hold their channels open. Measured are the delay
//! from append to browser, what the servers and Redis do for it, and the servers' memory, whose growth is the sessions'.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use warmcut::app::Server;
use warmcut::config::{Config, Warm};
use warmcut::engine::Engine;
use warmcut::protocol::{Event, RunId, Stage, StageEvent, StageStatus};
use warmcut::session::{Logs, RedisLogs};

const SESSIONS: [usize; 2] = [200, 2000];
/// For as long as it takes until every session has said once that it is used.
const EVENTS: u32 = 500;
const EVERY: Duration = Duration::from_millis(50);

fn main() {
    // Of the benchmark itself: the one process, which appends to its own log when it is told to.
    if std::env::args().any(|arg| arg == "--one-process") {
        return runtime().block_on(one_process());
    }
    println!("{EVENTS} stage events, one every {EVERY:?}\n");
    println!(
        "| | sessions | deliveries/s | delay p50 | p99 | most | servers' CPU for 1,000 deliveries | servers' memory | Redis commands for an event | a second at rest |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let memory = SESSIONS.map(|sessions| {
        [runtime().block_on(measure_one(sessions)), runtime().block_on(measure_two(sessions))]
    });
    let more = (SESSIONS[1] - SESSIONS[0]) as f64;
    let of_one = |n: usize| (memory[1][n] as f64 - memory[0][n] as f64) / more / 1000.0;
    println!(
        "\nA session with its channel takes {:.1} KB in one process and {:.1} KB on two gateways.",
        of_one(0),
        of_one(1)
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

async fn append_all(logs: &dyn Logs) {
    let run = RunId::random();
    let mut every = tokio::time::interval(EVERY);
    for n in 0..EVENTS {
        every.tick().await;
        let event = Event::Stage(StageEvent {
            run: run.clone(),
            stage: Stage::ModelLoad,
            status: StageStatus::Progress,
            device: Some("cpu".into()),
            elapsed_ms: u64::from(n),
            progress: None,
            eta_ms: None,
            run_eta_ms: None,
            // To the microsecond, which the event's own time isn't.
            detail: Some(format!("at {} us", now_us())),
        });
        logs.append_run(now_us() / 1000, event).await.unwrap();
    }
}

async fn one_process() {
    let config = Config {
        listen: Some(([127, 0, 0, 1], 0).into()),
        warm: Warm::Intent,
        max_sessions_per_address: 0,
        ..Config::default()
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start(&config, Instant::now()).await.unwrap();
    let logs = server.logs();
    println!("serves http://{}", server.address);
    tokio::spawn(server.run(std::future::pending()));
    let go = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    });
    go.await.unwrap();
    append_all(logs.as_ref()).await;
    println!("done");
    std::future::pending().await
}

/// A server's process and where it listens.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { child, stdin, stdout, address }
    }

    /// Resident bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Of user and system, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        // utime and stime, in hundredths of a second (proc(5)).
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a channel and notes the delay of each of our events, until all have come.
async fn browser(
    address: String,
    nonce: usize,
    delays: Arc<Mutex<Vec<u64>>>,
    open: Arc<tokio::sync::Semaphore>,
) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    // `manual` would begin a run; who merely looks at a pool with no budget does not.
    let request = format!(
        "GET /v1/events?trigger=hover&open=00000000000000000000000000{nonce:06} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut buffer, mut seen) = (vec![0; 16 << 10], 0);
    let mut text = String::new();
    let mut told = false;
    while seen < EVENTS {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the server hung up: {text}");
        let at = now_us();
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        if !told && text.contains("event: session") {
            told = true;
            open.add_permits(1);
        }
        let mut mine = Vec::new();
        while let Some(begin) = text.find("\"at ") {
            let Some(end) = text[begin..].find(" us\"") else { break };
            mine.push(at.saturating_sub(text[begin + 4..begin + end].parse().unwrap()));
            text.drain(..begin + end);
            seen += 1;
        }
        if !mine.is_empty() {
            delays.lock().extend(mine);
        }
    }
}

/// Opens channels at addresses in turn, and waits until all are open.
async fn browsers(sessions: usize, addresses: &[String]) -> (tokio::task::JoinSet<()>, Arc<Mutex<Vec<u64>>>) {
    let (delays, open) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::new(tokio::sync::Semaphore::new(0)));
    let mut set = tokio::task::JoinSet::new();
    for n in 0..sessions {
        let address = addresses[n % addresses.len()].clone();
        set.spawn(browser(address, n, Arc::clone(&delays), Arc::clone(&open)));
        if n % 100 == 99 {
            // Not all at once into the system's queue.
            drop(open.acquire_many(n as u32 - 98).await.unwrap());
        }
    }
    drop(open.acquire_many(sessions as u32).await.unwrap());
    (set, delays)
}

struct Before {
    cpu: f64,
    began: Instant,
}

/// Answers the servers' memory in bytes.
fn report(
    name: &str,
    sessions: usize,
    delays: &Mutex<Vec<u64>>,
    servers: &[&Process],
    before: &Before,
    redis: Option<(f64, f64)>,
) -> u64 {
    let took = before.began.elapsed().as_secs_f64();
    let mut delays = std::mem::take(&mut *delays.lock());
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() * share / 1000).min(delays.len() - 1)] as f64 / 1000.0;
    let cpu = servers.iter().map(|server| server.cpu()).sum::<f64>() - before.cpu;
    let memory = servers.iter().map(|server| server.memory()).sum::<u64>();
    let redis = redis.map_or_else(|| "– | –".to_owned(), |(event, rest)| format!("{event:.1} | {rest:.0}"));
    println!(
        "| {name} | {sessions} | {:.0} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} MB | {redis} |",
        delays.len() as f64 / took,
        at(500),
        at(990),
        at(1000),
        cpu * 1e6 / delays.len() as f64,
        memory as f64 / 1e6,
    );
    memory
}

async fn measure_one(sessions: usize) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--one-process");
    let mut server = Process::start(command);
    let (mut set, delays) = browsers(sessions, std::slice::from_ref(&server.address)).await;
    // The run that the first of them began has ended by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = Before { cpu: server.cpu(), began: Instant::now() };
    writeln!(server.stdin, "go").unwrap();
    while set.join_next().await.transpose().unwrap().is_some() {}
    let memory = report("one process", sessions, &delays, &[&server], &before, None);
    let _ = server.stdout.read_line(&mut String::new());
    memory
}

async fn measure_two(sessions: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Command::new("redis-server");
    redis.current_dir(folder.path()).stdout(Stdio::null());
    redis.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
    let mut redis = redis.spawn().expect("redis-server is installed");
    let url = format!("redis+unix://{}", folder.path().join("redis.sock").display());
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let gateway = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
        command.args(["gateway", "--listen", "127.0.0.1:0", "--redis", &url]);
        // Nobody is woken, so nothing else is told.
        command.args(["--budget-wakes", "0", "--max-sessions-per-address", "0"]);
        command.arg("--store").arg(format!("file://{}", folder.path().display()));
        Process::start(command)
    };
    let gateways = [gateway(), gateway()];
    let addresses = gateways.each_ref().map(|gateway| gateway.address.clone());
    let (mut set, delays) = browsers(sessions, &addresses).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut commands = async || {
        let info: String = redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    // What sessions cost while nothing is told.
    let resting = commands().await;
    tokio::time::sleep(EVERY * EVENTS).await;
    let (commands_before, cpu) = (commands().await, gateways.iter().map(Process::cpu).sum());
    let resting = commands_before - resting;
    let before = Before { cpu, began: Instant::now() };
    let engine = Engine::connect(&url, "warmcut").await.unwrap();
    let logs = RedisLogs::new(engine, Duration::from_secs(1800)).await;
    append_all(logs.as_ref()).await;
    while set.join_next().await.transpose().unwrap().is_some() {}
    let done = (commands().await - commands_before - resting) / f64::from(EVENTS);
    let resting = resting / (EVERY * EVENTS).as_secs_f64();
    let memory = report(
        "two gateways",
        sessions,
        &delays,
        &[&gateways[0], &gateways[1]],
        &before,
        Some((done, resting)),
    );
    redis.kill().unwrap();
    redis.wait().unwrap();
    memory
}
