//! The end of a queue: whatever waits, runs or still comes has exactly one.

use super::*;
use crate::cutout::Blobs;
use crate::protocol::options::Options;
use crate::protocol::{Code, CutoutId, SessionId, UploadId};
use crate::session::{EventKey, MemoryLogs, Read};

struct Fixture {
    jobs: MemoryJobs,
    logs: Arc<MemoryLogs>,
    session: SessionId,
    blobs: Blobs,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
    logs.create(&session).await.expect("a log");
    let shared: Arc<dyn Logs> = Arc::<MemoryLogs>::clone(&logs);
    let jobs = MemoryJobs::new(9, shared, Arc::new(Pace::new(1)));
    let blobs = Blobs::new(folder.path(), 1000, 1000).expect("a store");
    Fixture { jobs, logs, session, blobs, _folder: folder }
}

impl Fixture {
    async fn push(&self, upload: &str) {
        let upload = UploadId::try_from(upload.to_owned()).expect("an id");
        let photo = Arc::new(self.blobs.put("photo".into()).await.expect("fits"));
        let now = Instant::now();
        let job = NewJob {
            id: JobId::of(&self.session, &upload),
            session: self.session.clone(),
            upload,
            photo,
            options: Options::default(),
            cutout: CutoutId::random(),
            unwanted: CancellationToken::new(),
            shop: None,
            accepted: now,
            received: now,
        };
        let received = Event::Reset { reason: "here".to_owned() };
        self.jobs.push(job, received).await.expect("a place");
    }

    /// The uploads whose jobs failed, with the codes of the problems before.
    async fn failed(&self) -> Vec<(String, Code)> {
        let read = self.logs.read(&self.session, EventKey::START).await.expect("there");
        let Read::Events(entries) = read else { panic!("a whole log") };
        let pairs = entries.windows(2).filter_map(|pair| match (&pair[0].event, &pair[1].event) {
            (Event::Problem(problem), Event::Job(job)) if job.status == JobStatus::Failed => {
                Some((job.upload.to_string(), problem.code))
            }
            _ => None,
        });
        pairs.collect()
    }
}

fn draining() -> Problem {
    Problem::new(Code::Draining, "going")
}

fn ended(uploads: &[&str]) -> Vec<(String, Code)> {
    uploads.iter().map(|upload| ((*upload).to_owned(), Code::Draining)).collect()
}

#[tokio::test]
async fn a_closed_queue_ends_what_waits_and_what_still_comes_and_lets_the_rest_finish() {
    let queue = fixture().await;
    queue.push("runs").await;
    let running = queue.jobs.claim().await;
    queue.push("waits").await;
    queue.jobs.close(draining()).await;
    assert_eq!(queue.failed().await, ended(&["waits"]));
    queue.push("late").await;
    assert_eq!(queue.failed().await, ended(&["waits", "late"]));
    assert_eq!(queue.jobs.depth().await, Ok(Depth { waiting: 0, running: 1 }));
    assert!(!running.canceled.is_cancelled());
    let done = vec![moved(running.job.about(), JobStatus::Succeeded, None, None)];
    assert!(queue.jobs.finish(&running.job.id, running.lease, done).await);
    assert_eq!(queue.jobs.depth().await, Ok(Depth::default()));
}

#[tokio::test]
async fn a_job_that_is_given_back_to_a_closed_queue_ends() {
    let queue = fixture().await;
    queue.push("runs").await;
    let running = queue.jobs.claim().await;
    queue.jobs.close(draining()).await;
    queue.jobs.release(&running.job.id, running.lease).await;
    assert_eq!(queue.failed().await, ended(&["runs"]));
    assert_eq!(queue.jobs.depth().await, Ok(Depth::default()));
}

#[tokio::test]
async fn failing_all_ends_what_runs_with_the_problem_and_closes_the_queue() {
    let queue = fixture().await;
    queue.push("runs").await;
    let running = queue.jobs.claim().await;
    queue.jobs.fail_all(draining()).await;
    assert!(running.canceled.is_cancelled(), "its worker stops");
    assert_eq!(queue.jobs.cancel(&running.job.id).await, Ok(false), "it comes too late to cancel it");
    queue.push("late").await;
    assert_eq!(queue.failed().await, ended(&["runs", "late"]));
    assert_eq!(queue.jobs.depth().await, Ok(Depth::default()));
}

#[tokio::test]
async fn a_job_can_be_told_of_until_it_has_ended_whoever_has_it() {
    let queue = fixture().await;
    queue.push("u1").await;
    let word = || Event::Reset { reason: "a word".to_owned() };
    let id = JobId::of(&queue.session, &UploadId::try_from("u1".to_owned()).expect("an id"));
    assert!(queue.jobs.tell(&id, word()).await, "it waits");
    let running = queue.jobs.try_claim().await.expect("it waits");
    assert!(queue.jobs.try_claim().await.is_none(), "nothing else does");
    assert!(queue.jobs.tell(&id, word()).await, "it runs");
    let done = vec![moved(running.job.about(), JobStatus::Succeeded, None, None)];
    assert!(queue.jobs.finish(&id, running.lease, done).await);
    assert!(!queue.jobs.tell(&id, word()).await);
    let Read::Events(told) = queue.logs.read(&queue.session, EventKey::START).await.expect("there") else {
        panic!("a whole log")
    };
    assert_eq!(told.iter().filter(|entry| entry.event == word()).count(), 2);
    assert!(matches!(&told.last().expect("an end").event, Event::Job(job) if job.status.is_end()));
}

#[tokio::test]
async fn a_word_that_comes_with_the_jobs_end_comes_before_it_or_not_at_all() {
    let queue = fixture().await;
    queue.push("u1").await;
    let id = JobId::of(&queue.session, &UploadId::try_from("u1".to_owned()).expect("an id"));
    let slot = queue.jobs.slot(&id).expect("it waits");
    let held = slot.fence.lock().await;
    let mut end = queue.jobs.cancel(&id);
    assert!(futures_util::poll!(&mut end).is_pending());
    let mut word = queue.jobs.tell(&id, Event::Reset { reason: "a word".to_owned() });
    assert!(futures_util::poll!(&mut word).is_pending(), "the job is still here");
    drop(held);
    assert_eq!((end.await, word.await), (Ok(true), false));
}
