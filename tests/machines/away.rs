//! Redis or the store is away for a while, or slow; or clocks are not right.

use std::time::Duration;

use warmcut::client::{self, Resume, Stream};
use warmcut::protocol::{Event, JobStatus, UploadId};

use crate::fleet::Fleet;
use crate::shopper::{Shopper, is_processing, is_ready, photo};

const AWAY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn redis_goes_and_comes_back_with_its_data_and_everything_goes_on() {
    let mut fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let mut worker = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    fleet.kill_redis();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Told honestly, and at once.
    let refused =
        client::upload(&gateway.server, &shopper.pass, &UploadId::random(), &photo("while away")).await;
    assert_eq!(refused.unwrap_err().code(), "unavailable");
    let health = gateway.server.get("/livez").await.unwrap();
    assert_eq!(health.status().as_u16(), 200, "the gateway itself lives");
    tokio::time::sleep(AWAY).await;
    fleet.start_redis().await;
    let begun = std::time::Instant::now();
    let job = loop {
        let sent =
            client::upload(&gateway.server, &shopper.pass, &UploadId::random(), &photo("when back")).await;
        match sent {
            Ok(sent) => break sent.job,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    println!("Redis back to an upload that is taken: {:?}", begun.elapsed());
    assert_eq!(shopper.until_ended_over(&gateway.server, &job).await, JobStatus::Succeeded);
    shopper.check();
    worker.terminate();
    assert_eq!(worker.gone().await.code(), Some(0));
}

#[tokio::test]
async fn redis_comes_back_without_its_data_and_old_sessions_start_over() {
    let mut fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let _worker = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    fleet.kill_redis();
    fleet.lose_data();
    tokio::time::sleep(AWAY).await;
    fleet.start_redis().await;
    // The session is gone and it says so.
    let begun = std::time::Instant::now();
    loop {
        let resume = Resume { pass: &shopper.pass, last_id: None };
        match Stream::open(&gateway.server, Some(resume)).await {
            Err(error) if error.code() == "unavailable" => {}
            Err(error) => {
                break assert!(matches!(&*error.code(), "session_expired" | "unauthorized"), "{error}");
            }
            Ok(_) => panic!("nobody knows it any more"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The worker is there, and the pool finds that out; a new session works as ever.
    let mut next = Shopper::open(&gateway).await;
    next.until(is_ready).await;
    let job = next.send(&gateway.server, &photo("after the loss")).await;
    assert_eq!(next.until_ended_over(&gateway.server, &job).await, JobStatus::Succeeded);
    // Before a gateway has noticed the loss, it may tell of the old run, and then take it back.
    next.check_jobs();
    // A gateway that comes after the loss and one from before it know each other's tokens.
    let late = fleet.gateway(&[]);
    next.resume(&late.server).await;
    let mut last = Shopper::open(&late).await;
    last.resume(&gateway.server).await;
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_what_comes_later_goes_on() {
    let fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let _worker = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    fleet.break_store();
    let refused =
        client::upload(&gateway.server, &shopper.pass, &UploadId::random(), &photo("no store")).await;
    assert_eq!(refused.unwrap_err().code(), "unavailable");
    fleet.mend_store();
    let job = shopper.send(&gateway.server, &photo("a store")).await;
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    shopper.check();
    let metrics = gateway.server.get("/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("warmcut_store_errors_total 1"), "{metrics}");
}

#[tokio::test]
async fn clocks_that_are_half_a_minute_apart_change_nothing() {
    let fleet = Fleet::start().await;
    // Wall clocks; a monotonic one can't be wrong.
    let (ahead, behind) = (["faketime", "-m", "-f", "+30s"], ["faketime", "-m", "-f", "-30s"]);
    let gateways = [fleet.gateway_before(&ahead, &[]), fleet.gateway_before(&behind, &[])];
    let _workers = [fleet.worker_before(&behind, &[]), fleet.worker_before(&ahead, &[])];
    let mut shopper = Shopper::open(&gateways[0]).await;
    shopper.until(is_ready).await;
    for (n, gateway) in gateways.iter().enumerate() {
        shopper.resume(&gateway.server).await;
        let job = shopper.send(&gateways[1 - n].server, &photo(&format!("skewed {n}"))).await;
        assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    }
    shopper.check();
    let times: Vec<u64> = shopper.events.iter().map(|(_, framed)| framed.at_ms).collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(last - first < 25_000, "one clock: {times:?}");
    for event in shopper.events() {
        if let Event::Cutout(cutout) = event {
            assert!(cutout.timings_ms.total < 25_000 && cutout.timings_ms.queue < 25_000, "{cutout:?}");
        }
    }
}

#[tokio::test]
async fn a_photo_in_work_while_redis_is_away_is_cut_out() {
    let mut fleet = Fleet::start().await;
    let gateway = fleet.gateway(&[]);
    let _worker = fleet.worker(&[]);
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    let job = shopper.send(&gateway.server, &photo("in work")).await;
    shopper.until(|event| is_processing(event, &job)).await;
    fleet.kill_redis();
    // Longer than its work takes.
    tokio::time::sleep(AWAY / 2).await;
    fleet.start_redis().await;
    assert_eq!(shopper.until_ended_over(&gateway.server, &job).await, JobStatus::Succeeded);
    shopper.check();
}

#[tokio::test]
async fn the_channel_of_a_session_that_redis_forgot_without_a_word_ends() {
    let fleet = Fleet::start().await;
    let gateway = fleet.gateway(&["--session-ttl", "3s"]);
    let mut shopper = Shopper::open(&gateway).await;
    let client = redis::Client::open(fleet.redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    assert!(shopper.try_until(|_| false).await.is_err(), "its browser opens another one");
}
