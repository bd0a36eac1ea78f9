//! Machines that sleep until a shopper comes.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warmcut::protocol::{Event, JobStatus, Stage, StageStatus};

use crate::fleet::Fleet;
use crate::shopper::{Shopper, is_ready, is_stage, photo};

#[tokio::test]
async fn a_hundred_shoppers_wake_one_machine_and_see_it_come() {
    const TAKES: u32 = 20;
    let fleet = Fleet::start().await;
    let launcher = fleet.launcher(TAKES, "");
    let gateways = [&["--wake-cmd", &launcher][..]; 2].map(|args| fleet.gateway(args));
    // Two looks of who keeps the machines: long enough to wake one for nobody.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.launched().len(), 0, "nobody is there");

    // All at once, one of whom is looked at.
    let mut others = tokio::task::JoinSet::new();
    for n in 0..99 {
        let gateway = gateways[n % 2].server.clone();
        others.spawn(async move {
            let mut stream = warmcut::client::Stream::open(&gateway, None).await.unwrap();
            while !is_ready(&stream.next().await.unwrap().event) {}
        });
    }
    let begun = Instant::now();
    let mut first = Shopper::open(&gateways[0]).await;
    first.until(|event| is_stage(event, Stage::Container, StageStatus::Started)).await;
    println!("intent to the first stage, among a hundred: {:?}", begun.elapsed());
    let job = first.send(&gateways[1].server, &photo("woken")).await;
    let sent = Instant::now();
    first.until(|event| matches!(event, Event::Preview(preview) if preview.job == job)).await;
    println!("upload to the preview, while the machine starts: {:?}", sent.elapsed());
    let lives = first.until(|event| is_stage(event, Stage::Container, StageStatus::Done)).await;
    let Event::Stage(lives) = &lives.event else { unreachable!() };
    assert!(lives.elapsed_ms >= u64::from(TAKES) * 1000 - 500, "{lives:?}");
    assert!(lives.detail.as_ref().is_some_and(|detail| detail.contains("process started at")), "{lives:?}");
    first.until(is_ready).await;
    let ready = Instant::now();
    assert_eq!(first.until_ended(&job).await, JobStatus::Succeeded);
    let timings = first.events().find_map(|event| match event {
        Event::Cutout(cutout) => Some(cutout.timings_ms),
        _ => None,
    });
    println!("ready to the cutout: {:?}, its own time {timings:?}", ready.elapsed());
    first.check();
    while let Some(other) = others.join_next().await {
        other.unwrap();
    }
    assert_eq!(fleet.launched().len(), 1, "one wake for all");
}

#[tokio::test]
async fn a_wake_that_fails_is_tried_again_and_then_the_next_intent_may_try() {
    let fleet = Fleet::start().await;
    let gateway = fleet.gateway(&["--wake-cmd", "exit 7", "--warmup-cooldown", "1s"]);
    let mut shopper = Shopper::open(&gateway).await;
    for tries in ["try 1 of 3", "try 2 of 3"] {
        let again = shopper.until(|event| is_stage(event, Stage::Container, StageStatus::Retrying)).await;
        let again = format!("{again:?}");
        assert!(again.contains(tries) && !again.contains("exit status"), "{again}");
    }
    shopper.until(|event| is_stage(event, Stage::Container, StageStatus::Failed)).await;
    let problem = shopper.until(|event| matches!(event, Event::Problem(_))).await;
    assert!(format!("{problem:?}").contains("WarmupFailed"), "{problem:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut next = Shopper::open(&gateway).await;
    next.until(|event| is_stage(event, Stage::Container, StageStatus::Started)).await;
}

#[tokio::test]
async fn a_machine_that_never_comes_is_given_up() {
    let fleet = Fleet::start().await;
    let launcher = fleet.launcher(600, "");
    let gateway = fleet.gateway(&["--wake-cmd", &launcher, "--wake-limit", "1s"]);
    let mut shopper = Shopper::open(&gateway).await;
    let failed = shopper.until(|event| is_stage(event, Stage::Container, StageStatus::Failed)).await;
    assert!(format!("{failed:?}").contains("no worker came up"), "{failed:?}");
    assert_eq!(fleet.launched().len(), 3);
    let metrics = gateway.server.get("/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("warmcut_wakes_total{outcome=\"sent\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_request_that_is_held_keeps_a_worker_awake_and_its_end_lets_it_go() {
    let fleet = Fleet::start().await;
    // One that nobody wants goes by itself.
    let mut unwanted = fleet.worker(&["--idle", "1s"]);
    assert_eq!(unwanted.gone().await.code(), Some(0));
    let token = ["--wake-token", "opens"];
    let (mut worker, url) = fleet.worker_at(&[&["--idle", "1500ms"], &token[..]].concat());
    let wake = format!("{url}/wake");
    let gateway =
        fleet.gateway(&[&["--wake", &wake, "--linger", "4s", "--wake-hold", "1s"], &token[..]].concat());
    let mut shopper = Shopper::open(&gateway).await;
    shopper.until(is_ready).await;
    // Longer than its idle time and several renewals: it stays for the shopper.
    let job = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        shopper.send(&gateway.server, &photo("held")).await
    };
    let job = job.await;
    assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
    assert_eq!(worker.gone().await.code(), Some(0), "nobody wants it any more");
    assert!(worker.log().contains("nobody wants this worker"), "{}", worker.log());
}

#[tokio::test]
async fn a_stranger_wakes_nobody() {
    let fleet = Fleet::start().await;
    let (_worker, url) = fleet.worker_at(&["--wake-token", "opens"]);
    let status = |token: &'static str| {
        let request = reqwest::Client::new().post(format!("{url}/wake")).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((status("guess").await, status("opens").await), (401, 200));
}

/// Answers each request with the same, and tells what was asked.
async fn listen(answer: &'static str) -> (std::net::SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, asked) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
            told.send(String::from_utf8(request).unwrap()).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn on_googles_machines_a_gateway_shows_who_it_is_to_whom() {
    let fleet = Fleet::start().await;
    let (metadata, mut asked) = listen("an identity").await;
    let (worker, mut woken) = listen("awake").await;
    let variable = format!("GCE_METADATA_HOST={metadata}");
    let wake = format!("http://{worker}/wake");
    let gateway = fleet.gateway_with(&[&variable], &["--wake", &wake, "--wake-auth", "google"]);
    let _shopper = Shopper::open(&gateway).await;
    let asked = asked.recv().await.unwrap().to_lowercase();
    let path =
        "/computemetadata/v1/instance/service-accounts/default/identity?audience=http%3a%2f%2f127.0.0.1%3a";
    assert!(asked.starts_with(&format!("get {path}")), "{asked}");
    assert!(asked.contains("metadata-flavor: google"), "{asked}");
    let woken = woken.recv().await.unwrap().to_lowercase();
    assert!(
        woken.starts_with("post /wake ") && woken.contains("authorization: bearer an identity"),
        "{woken}"
    );
}
