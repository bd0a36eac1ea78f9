//! Any gateway serves any session.

use warmcut::protocol::JobStatus;

use crate::fleet::Fleet;
use crate::shopper::{Shopper, is_ready, photo};

#[tokio::test]
async fn a_session_is_opened_here_sends_its_photo_there_and_resumes_on_either() {
    let fleet = Fleet::start().await;
    let gateways = [fleet.gateway(&[]), fleet.gateway(&[])];
    let _workers = [fleet.worker(&[]), fleet.worker(&[])];
    let mut shoppers = Vec::new();
    for n in 0..6 {
        shoppers.push(Shopper::open(&gateways[n % 2]).await);
    }
    for (n, shopper) in shoppers.iter_mut().enumerate() {
        let (here, there) = (&gateways[n % 2].server, &gateways[(n + 1) % 2].server);
        shopper.until(is_ready).await;
        let job = shopper.send(there, &photo(&format!("everywhere {n}"))).await;
        // Half of them go on elsewhere before the cutout is there.
        if n > 2 {
            shopper.resume(there).await;
        }
        assert_eq!(shopper.until_ended(&job).await, JobStatus::Succeeded);
        shopper.check();
        for server in [here, there] {
            assert_eq!(shopper.replay(server, shopper.events.len()).await, shopper.ids());
        }
    }
}
