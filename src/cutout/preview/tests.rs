//! Previews and the ends of their jobs; where time counts, on a paused clock.

use parking_lot::Mutex as SyncMutex;
use sha2::{Digest, Sha256};

use super::*;
use crate::cutout::image::Limits;
use crate::cutout::jobs::NewJob;
use crate::cutout::{Blobs, MemoryJobs, MemoryResults};
use crate::model::{Loaded, ModelError, Progress, Segmenter, Stop};
use crate::protocol::{Code, JobStatus, RunId, UploadId};
use crate::session::token::Secret;
use crate::session::{EventKey, Logs, MemoryLogs, Read};
use crate::warmup::{Answer, Cause, PoolError, PoolState, Unload};

const SIZE: usize = 4;

/// Where the pool is, as a test says.
struct Said(watch::Sender<PoolState>);

#[async_trait::async_trait]
impl Pool for Said {
    async fn ensure_warm(&self, _: Cause) -> Result<RunId, PoolError> {
        Ok(RunId::random())
    }

    fn follow(&self) -> watch::Receiver<PoolState> {
        self.0.subscribe()
    }

    async fn unload(&self, _: Unload) -> Result<bool, PoolError> {
        Ok(false)
    }
}

/// A small model that loads and runs when the test lets it; a gate whose other end is gone is open.
struct Small {
    load: SyncMutex<Option<Gate>>,
    runs: Arc<SyncMutex<Option<Gate>>>,
}

type Gate = std::sync::mpsc::Receiver<()>;

fn pass(gate: &SyncMutex<Option<Gate>>) {
    if let Some(gate) = gate.lock().take() {
        let _ = gate.recv();
    }
}

impl Loader for Small {
    fn name(&self) -> &str {
        "small"
    }

    fn device(&self) -> String {
        "cpu".into()
    }

    fn load(&self, _: &mut dyn FnMut(Progress), _: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        pass(&self.load);
        Ok(Box::new(InPlace(Arc::clone(&self.runs))))
    }
}

struct InPlace(Arc<SyncMutex<Option<Gate>>>);

impl Loaded for InPlace {
    fn bytes(&self) -> u64 {
        1
    }

    fn size(&self) -> u32 {
        SIZE as u32
    }

    fn prime(
        self: Box<Self>,
        _: &[u8],
        _: &mut dyn FnMut(Progress),
        _: &Stop,
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError> {
        Ok((Arc::new(*self), vec![1.0; SIZE * SIZE]))
    }
}

impl Segmenter for InPlace {
    fn size(&self) -> u32 {
        SIZE as u32
    }

    fn bytes(&self) -> u64 {
        1
    }

    fn segment(&self, _: &[u8]) -> Result<Vec<f32>, ModelError> {
        pass(&self.0);
        Ok(vec![1.0; SIZE * SIZE])
    }
}

struct Fixture {
    previews: Arc<Previews>,
    jobs: Arc<MemoryJobs>,
    logs: Arc<MemoryLogs>,
    pool: Arc<Said>,
    blobs: Arc<Blobs>,
    session: SessionId,
    tracker: TaskTracker,
    draining: CancellationToken,
    _folder: tempfile::TempDir,
}

/// With gates before the load and the first run of the small model.
async fn fixture(load: Option<Gate>, run: Option<Gate>) -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
    logs.create(&session).await.expect("a log");
    let shared: Arc<dyn Logs> = Arc::<MemoryLogs>::clone(&logs);
    let pace = Arc::new(Pace::new(1));
    let jobs = Arc::new(MemoryJobs::new(9, Arc::clone(&shared), Arc::clone(&pace)));
    let blobs = Arc::new(Blobs::new(folder.path(), 100_000, 100_000).expect("a store"));
    let pool =
        Arc::new(Said(watch::Sender::new(PoolState { phase: Phase::Warming, ..PoolState::default() })));
    let (tracker, draining) = (TaskTracker::new(), CancellationToken::new());
    let parts = PreviewParts {
        jobs: Arc::<MemoryJobs>::clone(&jobs),
        own: (Arc::new(MemoryJobs::beside(CUTOUTS, shared, Arc::clone(&pace))), Arc::clone(&pace)),
        pool: Arc::<Said>::clone(&pool),
        pace,
        results: Arc::new(MemoryResults::new(Arc::clone(&blobs), Duration::from_secs(60), 100_000)),
        links: Links::new(Secret::random()),
        loader: Arc::new(Small { load: SyncMutex::new(load), runs: Arc::new(SyncMutex::new(run)) }),
        known: Known { rgb: Vec::new(), answer: Some(Answer { cells: vec![255], side: 1 }) },
        limits: Limits { max_pixels: 10_000 },
        pixels: Pixels::new(1 << 20, None),
        cutout_pixels: Pixels::new(1 << 20, None),
        job_timeout: Duration::from_secs(60),
    };
    let previews = Previews::spawn(parts, &tracker, &draining).expect("threads");
    Fixture { previews, jobs, logs, pool, blobs, session, tracker, draining, _folder: folder }
}

fn png() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 20, 10);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&[7; 600]).expect("pixels");
    drop(writer);
    file
}

fn gate() -> (std::sync::mpsc::Sender<()>, Option<Gate>) {
    let (open, gate) = std::sync::mpsc::channel();
    (open, Some(gate))
}

impl Fixture {
    async fn push(&self, photo: Vec<u8>, unwanted: &CancellationToken) -> Wanted {
        let upload = UploadId::random();
        let id = JobId::of(&self.session, &upload);
        let photo = Arc::new(self.blobs.put(photo.into()).await.expect("fits"));
        let now = Instant::now();
        let job = NewJob {
            id: id.clone(),
            session: self.session.clone(),
            upload,
            photo: Arc::clone(&photo),
            options: Options::default(),
            cutout: CutoutId::random(),
            unwanted: unwanted.clone(),
            shop: None,
            accepted: now,
            received: now,
        };
        self.jobs.push(job, Event::Reset { reason: "here".to_owned() }).await.expect("a place");
        let (options, name) = self.previews.of(&[0; 32], &Options::default(), None);
        let (session, unwanted) = (self.session.clone(), unwanted.clone());
        Wanted { job: id, session, photo, options, name, shop: None, unwanted, received: now }
    }

    /// What became of it, in a task of its own.
    fn make(&self, wanted: Wanted) -> tokio::task::JoinHandle<Outcome> {
        let previews = Arc::clone(&self.previews);
        tokio::spawn(async move { previews.try_make(&wanted).await })
    }

    async fn told(&self) -> Vec<Event> {
        let read = self.logs.read(&self.session, EventKey::START).await.expect("there");
        let Read::Events(entries) = read else { panic!("a whole log") };
        entries.iter().map(|entry| entry.event.clone()).collect()
    }

    async fn previews(&self) -> usize {
        self.told().await.iter().filter(|event| matches!(event, Event::Preview(_))).count()
    }

    fn phase(&self, phase: Phase) {
        self.pool.0.send_modify(|state| state.phase = phase);
    }

    /// Waits until the small model is at work on a photo.
    async fn busy(&self) {
        while self.previews.running.available_permits() == RUNNING {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_preview_is_told_and_kept_and_is_there_at_once_the_next_time() {
    let fixture = fixture(None, None).await;
    let wanted = fixture.push(png(), &CancellationToken::new()).await;
    assert_eq!(fixture.make(wanted).await.expect("ends"), Outcome::Made);
    let Some(Event::Preview(told)) = fixture.told().await.pop() else { panic!("no preview") };
    assert_eq!((told.width, told.height, told.model.as_str()), (20, 10, "small"));
    // Nobody could run it: it comes from what is kept.
    fixture.previews.running.close();
    let again = fixture.push(png(), &CancellationToken::new()).await;
    assert_eq!(fixture.make(again).await.expect("ends"), Outcome::Made);
    assert_eq!(fixture.previews().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_preview_that_waits_for_more_than_two_seconds_is_skipped() {
    let (open, load) = gate();
    let fixture = fixture(load, None).await;
    let wanted = fixture.push(png(), &CancellationToken::new()).await;
    let mut made = fixture.make(wanted);
    tokio::task::yield_now().await;
    tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
    assert!(futures_util::poll!(&mut made).is_pending());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(made.await.expect("ends"), Outcome::Skipped);
    drop(open);
}

#[tokio::test]
async fn a_preview_needs_none_of_the_threads_that_the_large_network_runs_on() {
    let (open, run) = std::sync::mpsc::channel::<()>();
    let run = SyncMutex::new(run);
    // Each of them waits, for the test or for the one that does.
    rayon::spawn_broadcast(move |_| {
        let _ = run.lock().recv();
    });
    let fixture = fixture(None, None).await;
    let wanted = fixture.push(png(), &CancellationToken::new()).await;
    assert_eq!(fixture.make(wanted).await.expect("ends"), Outcome::Made);
    drop(open);
}

#[tokio::test]
async fn only_so_many_wait() {
    let fixture = fixture(None, None).await;
    let _others = fixture.previews.running.acquire_many(RUNNING as u32).await.expect("open");
    for _ in 0..WAITING + 5 {
        let wanted = fixture.push(png(), &CancellationToken::new()).await;
        // The queue has its own bound.
        fixture.jobs.cancel(&wanted.job).await.expect("here");
        fixture.previews.offer(wanted).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.previews.waiting.available_permits(), 0);
    assert!(fixture.tracker.len() <= WAITING + 4, "{} tasks", fixture.tracker.len());
}

#[tokio::test]
async fn nothing_is_told_after_the_jobs_end() {
    let (open, run) = gate();
    let fixture = fixture(None, run).await;
    let wanted = fixture.push(png(), &CancellationToken::new()).await;
    let (job, name) = (wanted.job.clone(), wanted.name.clone());
    let made = fixture.make(wanted);
    fixture.busy().await;
    assert_eq!(fixture.jobs.cancel(&job).await, Ok(true));
    drop(open);
    assert_eq!(made.await.expect("ends"), Outcome::Late);
    assert_eq!(fixture.previews().await, 0);
    assert!(fixture.previews.results.get(&name).await.expect("there").is_none(), "it went no further");
}

#[tokio::test]
async fn a_preview_and_its_jobs_end_at_once_are_told_in_order_or_the_preview_is_not() {
    for _ in 0..50 {
        let fixture = fixture(None, None).await;
        let wanted = fixture.push(png(), &CancellationToken::new()).await;
        let job = wanted.job.clone();
        // The photo is kept already, so that nothing but the telling is left.
        let known = fixture.push(png(), &CancellationToken::new()).await;
        fixture.make(known).await.expect("ends");
        let jobs = Arc::clone(&fixture.jobs);
        let (outcome, _) = tokio::join!(fixture.make(wanted), async { jobs.cancel(&job).await });
        let events = fixture.told().await;
        let of_job = |event: &Event| match event {
            Event::Preview(preview) => preview.job == job,
            Event::Job(moved) => moved.job == job,
            _ => false,
        };
        let last = events.iter().rfind(|event| of_job(event)).expect("an end");
        assert!(matches!(last, Event::Job(moved) if moved.status == JobStatus::Canceled), "{last:?}");
        let told = events.iter().any(|event| of_job(event) && matches!(event, Event::Preview(_)));
        assert_eq!(told, outcome.expect("ends") == Outcome::Made);
    }
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_previews() {
    let (open, run) = gate();
    let fixture = fixture(None, run).await;
    let unwanted = CancellationToken::new();
    let wanted = fixture.push(png(), &unwanted).await;
    fixture.previews.offer(wanted).await;
    fixture.busy().await;
    let told = Instant::now();
    unwanted.cancel();
    while fixture.previews.waiting.available_permits() < WAITING {
        tokio::task::yield_now().await;
    }
    assert!(told.elapsed() < LONGEST / 2, "not merely given up");
    drop(open);
    assert_eq!(fixture.previews().await, 0);
}

#[tokio::test]
async fn a_server_that_drains_finishes_the_preview_that_it_makes_and_begins_no_other() {
    let (open, run) = gate();
    let fixture = fixture(None, run).await;
    let wanted = fixture.push(png(), &CancellationToken::new()).await;
    fixture.previews.offer(wanted).await;
    fixture.busy().await;
    fixture.draining.cancel();
    let late = fixture.push(png(), &CancellationToken::new()).await;
    fixture.previews.offer(late).await;
    drop(open);
    fixture.tracker.close();
    fixture.tracker.wait().await;
    assert_eq!(fixture.previews().await, 1);
}

#[tokio::test]
async fn a_photo_that_waits_is_worth_a_preview_and_one_that_is_stood_in_for_is_not() {
    let fixture = fixture(None, None).await;
    for (phase, would) in
        [(Phase::Cold, true), (Phase::Warming, true), (Phase::Ready, false), (Phase::Failed, false)]
    {
        fixture.phase(phase);
        assert_eq!(fixture.previews.would_wait().await, would, "{phase:?}");
    }
    fixture.phase(Phase::Ready);
    let unwanted = CancellationToken::new();
    fixture.push(png(), &unwanted).await;
    let _running = fixture.jobs.claim().await;
    assert!(!fixture.previews.would_wait().await, "it runs");
    fixture.push(png(), &unwanted).await;
    assert!(fixture.previews.would_wait().await, "it waits, nobody knows how long");
    (0..5).for_each(|_| fixture.previews.pace.record(Duration::from_millis(600)));
    assert!(!fixture.previews.would_wait().await, "not for long");
    fixture.push(png(), &unwanted).await;
    assert!(fixture.previews.would_wait().await, "for more than a second");
}

#[tokio::test]
async fn a_broken_photo_gets_no_preview_and_no_word_of_it() {
    let fixture = fixture(None, None).await;
    let mut broken = png();
    broken.truncate(60);
    let wanted = fixture.push(broken, &CancellationToken::new()).await;
    assert_eq!(fixture.make(wanted).await.expect("ends"), Outcome::Skipped);
    assert!(matches!(fixture.told().await.as_slice(), [Event::Reset { .. }]));
}

#[tokio::test]
async fn those_whom_the_pool_has_failed_are_stood_in_for_until_it_is_tried_again() {
    let fixture = fixture(None, None).await;
    fixture.push(png(), &CancellationToken::new()).await;
    fixture.phase(Phase::Failed);
    let mut log = fixture.logs.follow(&fixture.session).await.expect("there");
    fixture.previews.give_up(Problem::new(Code::WarmupFailed, "no"));
    let told = loop {
        log.mark_seen();
        let told = fixture.told().await;
        if matches!(told.last(), Some(Event::Job(moved)) if moved.status.is_end()) {
            break told;
        }
        log.changed().await.expect("there");
    };
    let [.., Event::Cutout(made), Event::Job(end)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(end.status, JobStatus::Succeeded);
    assert!(made.degraded && made.notes.contains(&"preview_model_stood_in".to_owned()), "{made:?}");
    assert_eq!((made.model.as_str(), made.width), ("small", 20));
    // Named by its photo and the weights of the model that made it.
    let work = name(&Sha256::digest(png()).into(), &Options::default(), "small", None);
    assert_eq!(made.id_cutout, made_by(&work, &Fingerprint::default()));
    assert!(fixture.previews.results.get(&made.id_cutout).await.expect("there").is_some());

    fixture.phase(Phase::Warming);
    fixture.push(png(), &CancellationToken::new()).await;
    fixture.previews.give_up(Problem::new(Code::WarmupFailed, "no"));
    tokio::task::yield_now().await;
    assert_eq!(fixture.jobs.depth().await.expect("here").waiting, 1);
}
