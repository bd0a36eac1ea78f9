//! Gateways are replaced one after the other while shoppers come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use warmcut::client::{self, Server};
use warmcut::protocol::{Event, JobStatus, UploadId};

use crate::fleet::Fleet;
use crate::shopper::{Shopper, end_of, photo};

/// What stands before the gateways: whichever lives.
#[derive(Clone)]
struct Front(Arc<RwLock<Vec<Server>>>);

impl Front {
    fn any(&self, n: usize) -> Server {
        let servers = self.0.read();
        servers[n % servers.len()].clone()
    }
}

/// One visit: whatever fails is tried again, as a widget does.
async fn visit(front: Front, n: usize, retries: Arc<AtomicUsize>) {
    let mut turn = n;
    let mut again = async || {
        retries.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        turn
    };
    let mut at = n;
    let mut shopper = loop {
        match Shopper::try_open(&front.any(at)).await {
            Ok(shopper) => break shopper,
            Err(_) => at = again().await,
        }
    };
    let (upload, photo) = (UploadId::random(), photo(&format!("rolling {n}")));
    let job = loop {
        match client::upload(&front.any(at), &shopper.pass, &upload, &photo).await {
            Ok(sent) => break sent.job,
            Err(error) => {
                assert!(
                    !matches!(&*error.code(), "internal" | "unauthorized" | "session_expired"),
                    "{error}"
                );
                at = again().await;
            }
        }
    };
    let ended = loop {
        match shopper.try_until(|event| end_of(event, &job).is_some()).await {
            Ok(ended) => break ended,
            Err(_) => {
                at = again().await;
                shopper.resume(&front.any(at)).await;
            }
        }
    };
    let problems: Vec<_> = shopper.events().filter(|event| matches!(event, Event::Problem(_))).collect();
    assert_eq!(end_of(&ended.event, &job), Some(JobStatus::Succeeded), "{problems:?}");
    shopper.check();
}

/// Redis and the store outlive the workers, and so do their cutouts.
#[tokio::test]
async fn workers_with_new_weights_under_an_old_name_make_new_cutouts() {
    let fleet = Fleet::start().await;
    let mut weights =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/u2netp.safetensors")).unwrap();
    let mut file = |name: &str| {
        // The least that one value can change.
        let lowest = weights.len() - 4;
        weights[lowest] ^= 1;
        let path = fleet.path().join(name);
        std::fs::write(&path, &weights).unwrap();
        format!("mine={}", path.display())
    };
    let (old, new) = (file("old.safetensors"), file("new.safetensors"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let photo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cat.webp")).unwrap();
    let gateway = fleet.gateway(&["--default-model", "mine"]);
    let cutouts = gateway.server.url("/v1/cutouts").unwrap();
    let cached = async || {
        let asked = http.post(cutouts.clone()).body(photo.clone()).send().await.unwrap();
        asked.headers()["warmcut-cached"].to_str().unwrap().to_owned()
    };
    let mut first = fleet.worker(&["--default-model", "mine", "--model", &old]);
    assert_eq!(cached().await, "false");
    assert_eq!(cached().await, "true");
    let (_second, url) = fleet.worker_at(&["--default-model", "mine", "--model", &new]);
    let ready = async || {
        let health = http.get(format!("{url}/health")).send().await.unwrap().text().await.unwrap();
        health.contains(r#""model_loaded":true"#)
    };
    while !ready().await {}
    first.terminate();
    first.gone().await;
    assert_eq!(cached().await, "false");
    assert_eq!(cached().await, "true");
}

#[tokio::test]
async fn both_gateways_are_replaced_under_load_and_no_job_is_lost() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(&[]);
    let mut gateways = [fleet.gateway(&[]), fleet.gateway(&[])];
    let front = Front(Arc::new(RwLock::new(gateways.iter().map(|one| one.server.clone()).collect())));
    let (stop, retries, visits) =
        (Arc::new(AtomicBool::new(false)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut shoppers = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (front, stop, retries, visits) =
            (front.clone(), Arc::clone(&stop), Arc::clone(&retries), Arc::clone(&visits));
        shoppers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = n + 4 * visits.fetch_add(1, Ordering::Relaxed);
                visit(front.clone(), number, Arc::clone(&retries)).await;
            }
        });
    }
    for (n, gateway) in gateways.iter_mut().enumerate() {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let new = fleet.gateway(&[]);
        // As a platform does: traffic goes to the new one, then the old one is told to go.
        front.0.write()[n] = new.server.clone();
        let mut old = std::mem::replace(gateway, new);
        old.process.terminate();
        assert_eq!(old.process.gone().await.code(), Some(0));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(shopper) = shoppers.join_next().await {
        shopper.unwrap();
    }
    println!("{} visits, {} retries", visits.load(Ordering::Relaxed), retries.load(Ordering::Relaxed));
}
