//! Processes that die or stand still in the middle of things.

use std::time::Duration;

use warmcut::protocol::{Event, JobId, JobStatus, JobStep};

use crate::fleet::{Fleet, signal_to};
use crate::shopper::{Shopper, is_processing, is_ready, photo};

#[tokio::test]
async fn another_worker_finishes_what_a_dead_one_had() {
    let fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let mut dies = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    let job = shopper.send(&gateway.server, &photo("in the hands of one who dies")).await;
    shopper.until(|event| is_processing(event, &job)).await;
    dies.kill();
    let _lives = fleet.worker(&[]);
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    shopper.check();
}

#[tokio::test]
async fn a_worker_that_stood_still_past_its_lease_ends_nothing_a_second_time() {
    let fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let still = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    let job = shopper.send(&gateway.server, &photo("in the hands of one who sleeps")).await;
    shopper.until(|event| is_processing(event, &job)).await;
    still.freeze();
    let _works = fleet.worker(&[]);
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    still.thaw();
    // It goes on, finds that its lease is lost, and does the next job like any other.
    let next = shopper.send(&gateway.server, &photo("after it woke")).await;
    assert_eq!(shopper.until_ended(&next).await, JobStatus::Succeeded);
    tokio::time::sleep(Duration::from_secs(3)).await;
    shopper.check();
    assert_eq!(shopper.replay(&gateway.server, shopper.events.len()).await, shopper.ids());
}

#[tokio::test]
async fn a_dead_gateways_channels_go_on_at_another_and_lose_nothing() {
    let fleet = Fleet::start().await;
    let (mut dies, lives) = (fleet.gateway(&[]), fleet.gateway(&[]));
    let _worker = fleet.worker(&[]);
    let mut shopper = Shopper::open(&dies).await;
    shopper.until(is_ready).await;
    let job = shopper.send(&dies.server, &photo("over a gateway that dies")).await;
    shopper.until(|event| is_processing(event, &job)).await;
    dies.process.kill();
    assert!(shopper.try_until(|_| false).await.is_err(), "the connection is lost");
    shopper.resume(&lives.server).await;
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    shopper.check();
    assert_eq!(shopper.replay(&lives.server, shopper.events.len()).await, shopper.ids());
}

/// A worker has a job in its hands, and hasn't had it before.
fn begins(event: &Event, job: &JobId) -> bool {
    matches!(event, Event::Job(moved) if moved.job == *job && moved.step == Some(JobStep::Decode))
}

#[tokio::test]
async fn a_photo_that_kills_every_worker_fails_after_three_and_the_others_go_on() {
    let fleet = Fleet::start().await;
    let launcher = fleet.launcher(0, "--workers 1");
    let gateway = fleet.gateway(&["--wake-cmd", &launcher]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    let poison = shopper.send(&gateway.server, &photo("poison")).await;
    let other = shopper.send(&gateway.server, &photo("harmless")).await;
    for n in 0..3 {
        shopper.until(|event| begins(event, &poison)).await;
        let worker = *fleet.launched().last().unwrap();
        signal_to(worker, "KILL");
        assert!(n == 2 || shopper.events().all(|event| !matches!(event, Event::Problem(_))));
    }
    assert_eq!(shopper.until_ended(&poison).await, JobStatus::Failed);
    let ended =
        |shopper: &Shopper| shopper.events().any(|event| crate::shopper::end_of(event, &other).is_some());
    if !ended(&shopper) {
        assert_eq!(shopper.until_ended(&other).await, JobStatus::Succeeded);
    }
    shopper.check();
}

#[tokio::test]
async fn a_dead_worker_is_replaced_by_another_each_time() {
    let fleet = Fleet::start().await;
    let launcher = fleet.launcher(0, "");
    let gateway = fleet.gateway(&["--wake-cmd", &launcher]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    for n in 1..=2 {
        signal_to(*fleet.launched().last().unwrap(), "KILL");
        let job = shopper.send(&gateway.server, &photo(&format!("after death {n}"))).await;
        assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
        assert_eq!(fleet.launched().len(), n + 1);
    }
    shopper.check();
    let metrics = gateway.server.get("/metrics").await.unwrap().text().await.unwrap();
    for outcome in ["failed", "stalled"] {
        let none = format!("warmcut_wakes_total{{outcome=\"{outcome}\"}} 0");
        assert!(metrics.contains(&none), "every wake was answered: {metrics}");
    }
}

#[tokio::test]
async fn a_cutout_by_the_small_model_outlives_its_gateway() {
    let fleet = Fleet::start().await;
    let mut dies = fleet.gateway(&[]);
    let mut shopper = Shopper::open(&dies).await;
    let job = shopper.send_for(&dies.server, &photo("small"), "model=preview").await;
    dies.process.kill();
    let lives = fleet.gateway(&[]);
    shopper.resume(&lives.server).await;
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    shopper.check();
}
