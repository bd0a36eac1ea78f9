//! Gateways that push and workers that claim, on one Redis and one store: every job ends once.

use super::*;
use crate::cutout::Blobs;
use crate::engine::testing::Server;
use crate::protocol::options::Options;
use crate::protocol::{CutoutId, JobStatus, UploadEvent, UploadStatus};
use crate::session::{EventKey, LogError, Logs, Read, RedisLogs};

const QUICK: Leases = Leases { lost: Duration::from_millis(300), renewed: Duration::from_millis(60) };

struct Fixture {
    server: Server,
    logs: Arc<RedisLogs>,
    gateway: Arc<RedisJobs>,
    session: SessionId,
    blobs: Blobs,
    folder: tempfile::TempDir,
}

async fn fixture(limit: usize) -> Fixture {
    let (server, folder) = (Server::start().await, tempfile::tempdir().expect("a temporary folder"));
    let logs = RedisLogs::new(server.engine().await, Duration::from_secs(60)).await;
    let session = SessionId::random();
    logs.create(&session).await.expect("a log");
    let blobs = Blobs::new(folder.path(), 1000, 1000).expect("a store");
    std::fs::create_dir(folder.path().join("store")).expect("a folder");
    let gateway = process(&server, &folder, limit).await;
    Fixture { server, logs, gateway, session, blobs, folder }
}

async fn process(server: &Server, folder: &tempfile::TempDir, limit: usize) -> Arc<RedisJobs> {
    let store = format!("file://{}", folder.path().join("store").display());
    let store = SharedStore::open(&store).expect("a store");
    RedisJobs::new(server.engine().await, store, (Queue::Pool, limit, QUICK), Arc::new(Pace::new(1))).await
}

impl Fixture {
    async fn worker(&self) -> Arc<RedisJobs> {
        process(&self.server, &self.folder, 9).await
    }

    async fn push(&self, upload: &str) -> Result<JobId, JobsError> {
        let (job, received) = self.job(upload).await;
        let id = job.id.clone();
        self.gateway.push(job, received).await.map(|()| id)
    }

    async fn job(&self, upload: &str) -> (NewJob, Event) {
        let upload = UploadId::try_from(upload.to_owned()).expect("an id");
        let id = JobId::of(&self.session, &upload);
        let now = Instant::now();
        let job = NewJob {
            id: id.clone(),
            session: self.session.clone(),
            upload: upload.clone(),
            photo: Arc::new(self.blobs.put(format!("photo {upload}").into()).await.expect("fits")),
            options: Options { crop: true, ..Options::default() },
            cutout: CutoutId::random(),
            unwanted: CancellationToken::new(),
            shop: Some("a shop".into()),
            accepted: now - Duration::from_millis(1500),
            received: now,
        };
        let received = UploadEvent {
            upload,
            job: Some(id),
            status: UploadStatus::Received,
            received_bytes: 5,
            total_bytes: None,
        };
        (job, Event::Upload(received))
    }

    /// All leases are lost, as after a long while.
    async fn lose_leases(&self) {
        let engine = self.server.engine().await;
        let mut pipe = redis::pipe();
        pipe.cmd("XRANGE").arg(engine.keys().the("jobs")).arg("-").arg("+");
        let (entries,): (Vec<(String, Vec<String>)>,) = engine.ask(&pipe).await.expect("answers");
        for (entry, _) in entries {
            let mut pipe = redis::pipe();
            let claim = pipe.cmd("XCLAIM").arg(engine.keys().the("jobs")).arg("workers").arg("worker");
            claim.arg(0).arg(entry).arg("IDLE").arg(60_000).arg("JUSTID").ignore();
            engine.ask::<()>(&pipe).await.expect("answers");
        }
    }

    /// What the log tells, in order.
    async fn told(&self) -> Vec<String> {
        let entries = loop {
            match self.logs.read(&self.session, EventKey::START).await {
                Ok(Read::Events(entries)) => break entries,
                Ok(Read::Gone(..)) => panic!("a whole log"),
                Err(error) => assert_eq!(error, LogError::Unavailable),
            }
        };
        let told = entries.iter().map(|entry| match &entry.event {
            Event::Upload(upload) => format!("{} here", upload.upload),
            Event::Job(job) => format!("{} {:?}", job.upload, job.status).to_lowercase(),
            Event::Problem(problem) => problem.code.as_str().to_owned(),
            other => format!("{other:?}"),
        });
        told.collect()
    }

    fn photos(&self) -> usize {
        let photos = self.folder.path().join("store/photos");
        std::fs::read_dir(photos).map_or(0, Iterator::count)
    }
}

fn done(claimed: &Claimed) -> Vec<Event> {
    vec![moved(claimed.job.about(), JobStatus::Succeeded, None, None)]
}

/// As a machine that stands still does.
fn freeze(worker: &RedisJobs) {
    worker.held.lock().values().for_each(|holding| holding.ended.cancel());
}

#[tokio::test]
async fn a_job_goes_from_one_process_to_another_and_ends_once() {
    let queue = fixture(9).await;
    let id = queue.push("a").await.expect("pushed");
    queue.push("a").await.expect("the same again");
    assert_eq!(queue.gateway.depth().await, Ok(Depth { waiting: 1, running: 0 }));
    let worker = queue.worker().await;
    let claimed = worker.claim().await;
    assert_eq!(claimed.job.id, id);
    assert_eq!(claimed.job.photo.bytes().await.expect("in the store"), "photo a");
    assert_eq!((claimed.job.shop.as_deref(), claimed.job.options.crop), (Some("a shop"), true));
    let (waited, upload) = (claimed.job.received.elapsed(), claimed.job.received - claimed.job.accepted);
    assert!(
        waited < Duration::from_secs(5) && upload.as_millis().abs_diff(1500) < 20,
        "{waited:?} {upload:?}"
    );
    assert_eq!(queue.gateway.is_live(&queue.session, &id).await, Ok(true));
    assert_eq!(queue.gateway.depth().await, Ok(Depth { waiting: 0, running: 1 }));

    // Longer than a lease: it is renewed.
    tokio::time::sleep(QUICK.lost * 2).await;
    let processing = moved(claimed.job.about(), JobStatus::Processing, None, None);
    assert!(worker.report(&id, claimed.lease, processing).await);
    assert!(worker.finish(&id, claimed.lease, done(&claimed)).await);
    assert!(!worker.finish(&id, claimed.lease, done(&claimed)).await);
    assert_eq!(queue.told().await, ["a here", "a processing", "a succeeded"]);
    assert_eq!(queue.gateway.is_live(&queue.session, &id).await, Ok(false));
    assert_eq!(queue.gateway.depth().await, Ok(Depth::default()));
    assert_eq!(queue.photos(), 0);
    queue.push("a").await.expect("known");
    assert_eq!(queue.gateway.depth().await, Ok(Depth::default()), "what has ended doesn't begin again");
}

#[tokio::test]
async fn a_worker_that_stood_still_past_its_lease_ends_nothing() {
    let queue = fixture(9).await;
    queue.push("a").await.expect("pushed");
    let (slow, other) = (queue.worker().await, queue.worker().await);
    let first = slow.claim().await;
    freeze(&slow);
    let second = other.claim().await;
    assert_eq!(second.job.id, first.job.id);
    let late = moved(first.job.about(), JobStatus::Processing, None, None);
    assert!(!slow.report(&first.job.id, first.lease, late).await);
    assert!(!slow.finish(&first.job.id, first.lease, done(&first)).await);
    slow.release(&first.job.id, first.lease).await;
    assert!(other.finish(&second.job.id, second.lease, done(&second)).await);
    assert_eq!(queue.told().await, ["a here", "a succeeded"]);
}

#[tokio::test]
async fn a_lost_job_is_found_behind_many_that_are_worked_on() {
    let queue = fixture(20).await;
    let (busy, dead) = (queue.worker().await, queue.worker().await);
    for n in 0..15 {
        queue.push(&n.to_string()).await.expect("pushed");
        busy.claim().await;
    }
    queue.push("lost").await.expect("pushed");
    dead.claim().await;
    freeze(&dead);
    let found = tokio::time::timeout(QUICK.lost * 30, queue.worker().await.claim()).await.expect("in time");
    assert_eq!(found.job.upload.as_str(), "lost");
}

#[tokio::test]
async fn a_photo_that_three_workers_did_not_survive_fails_and_the_others_go_on() {
    let queue = fixture(9).await;
    queue.push("poison").await.expect("pushed");
    for _ in 0..DELIVERIES {
        let worker = queue.worker().await;
        worker.claim().await;
        freeze(&worker);
    }
    queue.push("good").await.expect("pushed");
    let worker = queue.worker().await;
    let good = loop {
        let claimed = worker.claim().await;
        if claimed.job.upload.as_str() == "good" {
            break claimed;
        }
    };
    assert!(worker.finish(&good.job.id, good.lease, done(&good)).await);
    // Its last lease may not have been lost yet when the other one was claimed.
    while worker.depth().await != Ok(Depth::default()) {
        let next = tokio::time::timeout(QUICK.lost, worker.claim()).await;
        assert!(next.is_err(), "it is given to nobody any more");
    }
    let told = queue.told().await;
    assert_eq!(told.iter().filter(|told| *told == "job_failed").count(), 1, "{told:?}");
    assert!(
        told.contains(&"poison failed".to_owned()) && told.contains(&"good succeeded".to_owned()),
        "{told:?}"
    );
    assert_eq!(queue.photos(), 0);
}

#[tokio::test]
async fn a_cancel_reaches_what_waits_and_what_runs_elsewhere() {
    let queue = fixture(9).await;
    let (runs, waits) =
        (queue.push("runs").await.expect("pushed"), queue.push("waits").await.expect("pushed"));
    let worker = queue.worker().await;
    let running = worker.claim().await;
    assert_eq!(running.job.id, runs);
    assert_eq!(queue.gateway.cancel(&waits).await, Ok(true));
    assert_eq!(queue.gateway.cancel(&runs).await, Ok(true));
    running.canceled.cancelled().await;
    assert_eq!(queue.gateway.cancel(&runs).await, Ok(false), "it has ended");
    assert!(!worker.finish(&runs, running.lease, done(&running)).await);
    assert_eq!(queue.told().await, ["runs here", "waits here", "waits canceled", "runs canceled"]);
    assert_eq!(queue.photos(), 0);
}

#[tokio::test]
async fn the_queue_is_bounded_and_what_is_given_back_is_next() {
    let queue = fixture(2).await;
    let first = queue.push("first").await.expect("pushed");
    assert_eq!(queue.gateway.room().await, Ok(()));
    queue.push("second").await.expect("pushed");
    let full = Err(JobsError::Full { limit: 2 });
    assert_eq!((queue.gateway.room().await, queue.push("third").await.map(drop)), (full, full));
    assert_eq!(queue.photos(), 2, "the one that was refused isn't kept");
    let worker = queue.worker().await;
    let claimed = worker.claim().await;
    worker.release(&claimed.job.id, claimed.lease).await;
    assert_eq!(queue.gateway.depth().await, Ok(Depth { waiting: 2, running: 0 }));
    let again = queue.worker().await.claim().await;
    assert_eq!((&again.job.id, &claimed.job.id), (&first, &first));
    worker.fail_all(Problem::new(Code::Draining, "going")).await;
    assert_eq!(
        queue.gateway.depth().await,
        Ok(Depth { waiting: 1, running: 1 }),
        "it has nothing to give back"
    );
}

#[tokio::test]
async fn those_who_wait_hear_of_their_place_once_whoever_tells_them() {
    let queue = fixture(9).await;
    queue.push("a").await.expect("pushed");
    queue.push("b").await.expect("pushed");
    let other = queue.worker().await;
    for teller in [&queue.gateway, &other, &other] {
        assert!(teller.tell_positions(false).await);
    }
    other.tell_positions(true).await;
    let expected = ["a here", "b here", "a starting", "b starting", "a queued", "b queued"];
    assert_eq!(queue.told().await, expected);
    queue.gateway.fail_waiting(Problem::new(Code::WarmupFailed, "no model")).await;
    assert_eq!(queue.told().await[6..], ["warmup_failed", "a failed", "warmup_failed", "b failed"]);
    assert!(!queue.gateway.tell_positions(true).await);
}

#[tokio::test]
async fn a_job_that_ends_while_redis_is_away_ends_when_it_is_back() {
    let mut queue = fixture(9).await;
    queue.push("a").await.expect("pushed");
    let worker = queue.worker().await;
    let claimed = worker.claim().await;
    queue.server.kill();
    assert_eq!(queue.push("b").await, Err(JobsError::Unavailable));
    let (id, lease, events) = (claimed.job.id.clone(), claimed.lease, done(&claimed));
    // Longer than a quick lease is no use here: nobody else claims it meanwhile.
    let ending = tokio::spawn(async move { while !worker.finish(&id, lease, events.clone()).await {} });
    queue.server.start_again().await;
    ending.await.expect("no panic");
    assert_eq!(queue.told().await, ["a here", "a succeeded"]);
}

#[tokio::test]
async fn a_job_can_be_told_of_until_it_has_ended_whoever_has_it() {
    let queue = fixture(9).await;
    let id = queue.push("a").await.expect("pushed");
    let worker = queue.worker().await;
    let word = || {
        moved(
            About { job: &id, upload: &UploadId::try_from("a".to_owned()).expect("an id") },
            JobStatus::Queued,
            None,
            None,
        )
    };
    assert!(queue.gateway.tell(&id, word()).await, "it waits");
    let claimed = worker.try_claim().await.expect("it waits");
    assert!(worker.try_claim().await.is_none(), "nothing else does");
    assert!(queue.gateway.tell(&id, word()).await, "it runs elsewhere");
    assert!(worker.finish(&id, claimed.lease, done(&claimed)).await);
    assert!(!queue.gateway.tell(&id, word()).await);
    assert!(
        !queue.gateway.tell(&JobId::of(&queue.session, &UploadId::random()), word()).await,
        "no such job"
    );
    assert_eq!(queue.told().await, ["a here", "a queued", "a queued", "a succeeded"]);
}

#[tokio::test]
async fn a_process_that_gets_its_own_lost_job_back_works_on_it() {
    let queue = fixture(9).await;
    queue.push("a").await.expect("pushed");
    let worker = queue.worker().await;
    let first = worker.claim().await;
    queue.lose_leases().await;
    let second = worker.try_claim().await.expect("its lease was lost");
    assert!(first.canceled.is_cancelled(), "nobody waits for that work");
    // Who renews the first lease finds that it is lost.
    renew(Arc::downgrade(&worker), QUICK, first.job.id.clone(), first.lease).await;
    assert!(!second.canceled.is_cancelled());
    assert!(!worker.finish(&first.job.id, first.lease, canceled(first.job.about())).await);
    assert!(worker.finish(&second.job.id, second.lease, done(&second)).await);
    assert_eq!(queue.told().await, ["a here", "a succeeded"]);
}

#[tokio::test]
async fn a_job_that_nobody_can_read_fails_after_three_deliveries() {
    let queue = fixture(9).await;
    let id = queue.push("a").await.expect("pushed");
    let worker = queue.worker().await;
    let mut pipe = redis::pipe();
    let record = worker.engine.keys().of("job", &id);
    pipe.cmd("HSET").arg(record).arg("options").arg(r#"{"of": "tomorrow"}"#).ignore();
    worker.engine.ask::<()>(&pipe).await.expect("answers");
    for _ in 0..=DELIVERIES {
        assert_eq!(queue.gateway.is_live(&queue.session, &id).await, Ok(true));
        assert!(worker.try_claim().await.is_none());
        queue.lose_leases().await;
    }
    assert_eq!(queue.told().await, ["a here", "job_failed", "a failed"]);
    assert_eq!(queue.gateway.depth().await, Ok(Depth::default()));
}

#[tokio::test]
async fn a_job_whose_cutout_is_known_is_told_of_once() {
    let queue = fixture(9).await;
    let (job, received) = queue.job("a").await;
    let events = || vec![received.clone(), moved(job.about(), JobStatus::Succeeded, None, None)];
    for gateway in [&queue.gateway, &queue.worker().await] {
        gateway.known(&job, events()).await.expect("answers");
    }
    assert_eq!(queue.told().await, ["a here", "a succeeded"]);
    queue.push("a").await.expect("known");
    assert_eq!(queue.gateway.depth().await, Ok(Depth::default()));
}
