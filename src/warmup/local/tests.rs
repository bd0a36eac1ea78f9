//! A run that the server's end cuts short.

use std::io;

use parking_lot::Mutex as SyncMutex;

use super::*;
use crate::model::{Loaded, ModelError, Progress, Stop};
use crate::session::{EventKey, Logs, MemoryLogs, Read};
use crate::warmup::{OwnHistory, OwnRunLog};

/// Loads until the test lets go of the other end.
struct Hanging(SyncMutex<Option<std::sync::mpsc::Receiver<()>>>);

impl Loader for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn device(&self) -> String {
        "cpu".into()
    }

    fn load(&self, _: &mut dyn FnMut(Progress), _: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let gate = self.0.lock().take().expect("one load");
        let _ = gate.recv();
        Err(ModelError::Other("let go".into()))
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<SyncMutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_run_that_the_servers_end_cuts_short_is_aborted_and_not_failed() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let (open, gate) = std::sync::mpsc::channel();
    let loader = Arc::new(Hanging(SyncMutex::new(Some(gate))));
    let logs = Arc::new(MemoryLogs::default());
    let known = Arc::new(Known { rgb: Vec::new(), answer: None });
    let now = Instant::now();
    let settings = Settings {
        stage_timeout: Duration::from_secs(60),
        counts: true,
        cooldown: Duration::from_secs(60),
        slow: Duration::from_secs(60),
        deploy: "d1".into(),
        process_started: now,
        listening: now,
    };
    let (tracker, draining) = (TaskTracker::new(), CancellationToken::new());
    let shared: Arc<dyn Logs> = Arc::<MemoryLogs>::clone(&logs);
    let shared = Arc::new(OwnRunLog(shared));
    let history = Arc::new(OwnHistory::open(None));
    let pool = LocalPool::new(loader, known, shared, history, settings, (tracker.clone(), draining.clone()));
    pool.ensure_warm(Cause::explicit("start")).await.expect("begins");
    let session = crate::protocol::SessionId::random();
    logs.create(&session).await.expect("a log");

    draining.cancel();
    tracker.close();
    tracker.wait().await;

    let Read::Events(events) = logs.read(&session, EventKey::START).await.expect("there") else {
        panic!("a whole log")
    };
    assert!(events.iter().all(|entry| matches!(&entry.event, Event::Stage(_))), "{events:?}");
    let state = pool.follow().borrow().clone();
    assert_eq!((state.phase, state.error.as_deref()), (Phase::Cold, Some("the server is going away")));
    let audit = String::from_utf8(lines.0.lock().clone()).expect("text");
    assert!(audit.contains("outcome=\"aborted\"") && !audit.contains("failed"), "{audit}");
    assert!(matches!(pool.ensure_warm(Cause::explicit("warmup")).await, Err(PoolError::Draining)));
    drop(open);
}
