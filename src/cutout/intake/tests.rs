//! Uploads that stall, are abandoned, or are taken over; on a paused clock.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::partial::MAGIC;
use super::sweep::{ABANDONED, ANNOUNCED, SILENCE};
use super::*;
use crate::cutout::image::Limits;
use crate::cutout::{MemoryJobs, MemoryResults, Pace};
use crate::protocol::RunId;
use crate::session::token::Secret;
use crate::session::{EventKey, MemoryLogs, Read};
use crate::warmup::{PoolError, PoolState, Unload};

/// Warm, whoever asks; after a moment, so that two who ask at once meet.
struct Warm;

#[async_trait]
impl Pool for Warm {
    async fn ensure_warm(&self, _: Cause) -> Result<RunId, PoolError> {
        tokio::task::yield_now().await;
        Ok(RunId::random())
    }

    fn follow(&self) -> watch::Receiver<PoolState> {
        watch::Sender::new(PoolState::default()).subscribe()
    }

    async fn unload(&self, _: Unload) -> Result<bool, PoolError> {
        Ok(false)
    }
}

struct Fixture {
    intake: Arc<Intake>,
    logs: Arc<MemoryLogs>,
    session: Arc<Session>,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logs = Arc::new(MemoryLogs::default());
    let session = Arc::new(Session::detached(None));
    logs.create(&session.id).await.expect("a log");
    let blobs = Arc::new(Blobs::new(folder.path(), 1000, 1000).expect("a store"));
    let shared: Arc<dyn Logs> = Arc::<MemoryLogs>::clone(&logs);
    let intake = Intake::new(Parts {
        jobs: Arc::new(MemoryJobs::new(1, Arc::clone(&shared), Arc::new(Pace::new(1)))),
        logs: shared,
        pool: Arc::new(Warm),
        results: Arc::new(MemoryResults::new(Arc::clone(&blobs), Duration::from_secs(60), 1000)),
        blobs,
        links: Links::new(Secret::random()),
        limits: UploadLimits { max_bytes: 1000, image: Limits { max_pixels: 1000 } },
        models: vec!["m".to_owned()],
        previews: None,
    });
    tokio::spawn(Arc::clone(&intake).sweep());
    Fixture { intake, logs, session, _folder: folder }
}

impl Fixture {
    async fn begin(&self) -> Result<Writer, Problem> {
        match self.announce(100, true).await? {
            Begun::Receiving(writer) => Ok(writer),
            Begun::Exists(job) => panic!("{job} exists"),
        }
    }

    async fn announce(&self, bytes: usize, resume: bool) -> Result<Begun, Problem> {
        let id = UploadId::try_from("u1".to_owned()).expect("an id");
        let new = NewUpload { id, bytes: Some(bytes as u64), options: Options::default(), resume };
        self.intake.begin(&self.session, new).await
    }

    /// What the log tells of the upload, problems as their code.
    async fn told(&self) -> Vec<String> {
        let read = self.logs.read(&self.session.id, EventKey::START).await.expect("there");
        let Read::Events(entries) = read else { panic!("a whole log") };
        let told = entries.iter().filter_map(|entry| match &entry.event {
            Event::Problem(problem) => Some(problem.code.as_str().to_owned()),
            Event::Upload(upload) => Some(format!("{:?}", upload.status).to_lowercase()),
            _ => None,
        });
        told.collect()
    }

    /// The code of the last problem, if the upload was rejected last.
    async fn rejected(&self) -> Option<Code> {
        let read = self.logs.read(&self.session.id, EventKey::START).await.expect("there");
        let Read::Events(entries) = read else { panic!("a whole log") };
        match [&entries[entries.len() - 2].event, &entries[entries.len() - 1].event] {
            [Event::Problem(problem), Event::Upload(last)] if last.status == UploadStatus::Rejected => {
                Some(problem.code)
            }
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_falls_silent_is_rejected() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    writer.write(b"\x89PNG").await.expect("taken");
    assert!(fixture.intake.jobs.room().await.is_ok(), "a photo that isn't here takes no place");
    tokio::time::sleep(SILENCE + Duration::from_secs(2)).await;
    assert_eq!(fixture.rejected().await, Some(Code::UploadIncomplete));
    assert!(writer.write(b"more").await.is_err(), "too late");
    assert_eq!(fixture.intake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_announced_photo_whose_connection_goes_is_soon_forgotten() {
    let fixture = fixture().await;
    drop(fixture.begin().await.expect("accepted"));
    tokio::time::sleep(ANNOUNCED + Duration::from_secs(2)).await;
    assert_eq!(fixture.intake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_upload_waits_for_another_connection_for_a_while() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    writer.write(b"\x89PNG").await.expect("taken");
    drop(writer);
    tokio::time::sleep(ABANDONED - Duration::from_secs(5)).await;
    let writer = fixture.begin().await.expect("goes on");
    assert_eq!(writer.received(), 4);
    drop(writer);
    tokio::time::sleep(ABANDONED + Duration::from_secs(2)).await;
    assert_eq!(fixture.rejected().await, Some(Code::UploadIncomplete));
    assert_eq!(fixture.begin().await.expect("begins again").received(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_hold_its_place_for_ever() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    // A JPEG whose first segment is long, so that its header can't be judged yet.
    writer.write(b"\xff\xd8\xff\xe0\xff\xff").await.expect("taken");
    while writer.write(b"\0").await.is_ok() {
        tokio::time::sleep(SILENCE / 2).await;
    }
    assert_eq!(fixture.rejected().await, Some(Code::UploadIncomplete));
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_pause_is_told_of() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    for _ in 0..2 {
        // In one burst: so many events would tell nothing more.
        for byte in b"\xff\xd8\xff\xe0\xff\xff" {
            writer.write(&[*byte]).await.expect("taken");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fixture.told().await, ["accepted", "progress", "progress"]);
    let (present, _) = fixture.logs.present(&fixture.session.id).await.expect("there");
    let Some(Event::Upload(last)) = present.last().map(|entry| &entry.event) else { panic!("another event") };
    assert_eq!((last.received_bytes, last.total_bytes), (12, Some(100)));
}

#[tokio::test]
async fn a_later_connection_takes_over_from_an_earlier_one() {
    let fixture = fixture().await;
    let mut first = fixture.begin().await.expect("accepted");
    first.write(b"\x89PNG").await.expect("taken");
    let mut second = fixture.begin().await.expect("takes over");
    let lost = first.write(b"old").await.expect_err("its turn is over");
    assert_eq!(lost.code, Code::UploadInProgress);
    drop(first);
    second.write(b"\r\n").await.expect("goes on");
    assert_eq!(second.received(), 6);
}

fn png(side: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![7; (side * side) as usize]).expect("pixels");
    drop(writer);
    file
}

#[tokio::test]
async fn two_who_announce_the_same_upload_at_once_share_it() {
    let fixture = fixture().await;
    let (first, second) = tokio::join!(fixture.begin(), fixture.begin());
    let (mut first, mut second) = (first.expect("accepted"), second.expect("takes over"));
    assert!(first.write(b"\x89PNG").await.is_err(), "its turn is over");
    second.write(b"\x89PNG").await.expect("goes on");
    assert_eq!((second.received(), fixture.intake.count()), (4, 1));
}

#[tokio::test]
async fn an_upload_is_not_rejected_because_a_second_announcement_of_it_is() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    let refused = fixture.announce(5000, true).await.err().expect("too large");
    assert_eq!(refused.code, Code::UploadTooLarge);
    writer.write(b"\x89PNG").await.expect("goes on");
    assert_eq!(fixture.told().await, ["accepted", "upload_too_large"]);
}

#[tokio::test]
async fn a_photo_that_comes_again_from_its_start_replaces_what_was_there() {
    let fixture = fixture().await;
    let mut first = fixture.begin().await.expect("accepted");
    first.write(b"\x89PNG").await.expect("taken");
    let Ok(Begun::Receiving(second)) = fixture.announce(100, false).await else { panic!("accepted") };
    assert_eq!(second.received(), 0);
    assert!(first.write(b"\r\n").await.is_err(), "its turn is over");
    // The first one's end must not take the second's place.
    first.reject(Problem::new(Code::UploadIncomplete, "gone")).await;
    assert_eq!(fixture.intake.count(), 1);
    assert_eq!(fixture.told().await, ["accepted", "accepted"]);
}

#[tokio::test]
async fn who_asks_while_the_job_is_being_made_gets_the_job() {
    let (fixture, photo) = (fixture().await, png(10));
    let Ok(Begun::Receiving(mut writer)) = fixture.announce(photo.len(), true).await else {
        panic!("accepted")
    };
    writer.write(&photo).await.expect("taken");
    let (made, asked) = tokio::join!(writer.finish(), fixture.announce(photo.len(), true));
    let Ok(Begun::Exists(job)) = asked else { panic!("a second upload") };
    assert_eq!(made, Ok(job));
    assert_eq!(fixture.intake.count(), 0);
    assert_eq!(fixture.told().await, ["accepted", "received"]);
}

#[tokio::test]
async fn a_connection_that_goes_at_the_last_byte_leaves_a_job() {
    let (fixture, photo) = (fixture().await, png(10));
    let Ok(Begun::Receiving(mut writer)) = fixture.announce(photo.len(), true).await else {
        panic!("accepted")
    };
    writer.write(&photo).await.expect("taken");
    let mut finishing = Box::pin(writer.finish());
    assert!(futures_util::poll!(&mut finishing).is_pending());
    drop(finishing);
    let claimed = fixture.intake.jobs.claim().await;
    assert_eq!(claimed.job.upload.as_str(), "u1");
}

#[tokio::test]
async fn nothing_is_told_of_an_upload_between_its_end_and_its_next_beginning() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    writer.write(b"\x89PNG").await.expect("taken");
    let id = writer.upload().clone();
    let (canceled, again) = tokio::join!(fixture.intake.cancel(&fixture.session.id, &id), fixture.begin());
    assert!(canceled);
    again.expect("accepted again");
    assert_eq!(fixture.told().await, ["accepted", "canceled", "rejected", "accepted"]);
}

#[tokio::test]
async fn a_photo_is_judged_by_its_header_however_slowly_that_comes() {
    let large = png(100);
    let cases: [(&[u8], Code, usize); 2] = [
        (b"this is no photo, whatever its name says", Code::UnsupportedMediaType, MAGIC),
        (&large, Code::ImageTooLarge, 2 * 33),
    ];
    for (file, code, soon) in cases {
        let fixture = fixture().await;
        let mut writer = fixture.begin().await.expect("accepted");
        let mut taken = 0;
        let refused = loop {
            match writer.write(&file[taken..=taken]).await {
                Ok(()) => taken += 1,
                Err(problem) => break problem,
            }
        };
        assert_eq!(refused.code, code);
        assert!(taken <= soon, "{taken} bytes were taken");
    }
}

#[tokio::test]
async fn a_closed_intake_ends_what_is_half_here_and_takes_nothing_more() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    writer.write(b"\x89PNG").await.expect("taken");
    let told = fixture.intake.close(Problem::new(Code::Draining, "going"));
    // From here on, whether the session has been told yet or not.
    assert_eq!(writer.write(b"more").await.expect_err("closed").code, Code::Draining);
    assert_eq!(fixture.begin().await.err().expect("closed").code, Code::Draining);
    told.await;
    assert_eq!(fixture.rejected().await, Some(Code::Draining));
    assert_eq!(fixture.intake.count(), 0);
}

fn received(fixture: &Fixture) -> Event {
    let upload = UploadId::try_from("u1".to_owned()).expect("an id");
    let job = Some(JobId::of(&fixture.session.id, &upload));
    let status = UploadStatus::Received;
    Event::Upload(UploadEvent { upload, job, status, received_bytes: 9, total_bytes: None })
}

#[tokio::test]
async fn a_photo_whose_job_died_with_its_process_is_taken_again() {
    let fixture = fixture().await;
    fixture.logs.append(&fixture.session.id, 1, received(&fixture)).await.expect("appended");
    fixture.begin().await.expect("accepted");
}

#[tokio::test(start_paused = true)]
async fn what_stopped_here_and_came_whole_elsewhere_is_not_rejected() {
    let fixture = fixture().await;
    let mut writer = fixture.begin().await.expect("accepted");
    writer.write(b"\x89PNG").await.expect("taken");
    drop(writer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Event::Upload(here) = received(&fixture) else { panic!("an upload") };
    let job = here.job.clone().expect("a job");
    let ended = moved_to_its_end(&job, &here.upload);
    fixture.logs.append(&fixture.session.id, 1, Event::Upload(here)).await.expect("appended");
    fixture.logs.append(&fixture.session.id, 1, ended).await.expect("appended");
    tokio::time::sleep(ABANDONED + Duration::from_secs(2)).await;
    assert_eq!(
        (fixture.told().await, fixture.intake.count()),
        (vec!["accepted".into(), "progress".into(), "received".into()], 0)
    );
}

fn moved_to_its_end(job: &JobId, upload: &UploadId) -> Event {
    crate::cutout::tell::moved(
        crate::cutout::tell::About { job, upload },
        crate::protocol::JobStatus::Succeeded,
        None,
        None,
    )
}
