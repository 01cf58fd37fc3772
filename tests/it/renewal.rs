//! A certificate is renewed on a running server: by mutual TLS, SCEP's `RenewalReq` and check-in, with a key of its own for
//! every certificate, as real devices have.

use std::time::Duration;

use pomona_simulator::{Fleet, Misbehaviour, Platform};
use pomona_tests::{Lab, pomona_binary};
use serde_json::{Value, json};

/// Far longer than a renewal takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_device_renews_its_certificate_and_goes_on_with_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let binary = pomona_binary().unwrap();
    let mut lab = Lab::open(&binary, folder.path(), None, &[], true)
        .await
        .unwrap();
    let mut options = lab.fleet_options(1).await.unwrap();
    options.mix = vec![(Platform::IPhone, 1)];
    options.users = 0;
    options.misbehaviour = Misbehaviour::none();
    options.key_pool = 0;
    let fleet = Fleet::start(options, Some(lab.apns.clone())).unwrap();
    assert_eq!(fleet.settled().await, 0);
    let device = lab.tenant.devices().await.unwrap().remove(0).id;
    let (admin, place) = (lab.tenant.admin(), format!("devices/{device}"));

    let renew = lab.tenant.path(&format!("{place}/renew"));
    admin.post(&renew, &json!({})).await.unwrap();
    let timeline = lab.tenant.path(&format!("{place}/timeline"));
    wait_for(&lab, &timeline, |event| event["kind"] == "renewed").await;
    let channels = lab.tenant.learn_channels().await.unwrap();
    let parameters = json!({ "Queries": ["OSVersion"] });
    lab.tenant
        .enqueue("DeviceInformation", &parameters, &channels, None)
        .await
        .unwrap();
    wait_for(&lab, &timeline, |event| {
        event["kind"] == "command_outcome" && event["body"]["request_type"] == "DeviceInformation"
    })
    .await;

    let summary = fleet.stop().await;
    assert!(summary.faults.is_empty(), "{summary:?}");
    lab.stop().await.unwrap();
}

/// Waits until the timeline holds such an event.
async fn wait_for(lab: &Lab, timeline: &str, wanted: impl Fn(&Value) -> bool) {
    let found = tokio::time::timeout(PATIENCE, async {
        // The server is another process: its state can only be asked for.
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            let events = lab.tenant.admin().list(timeline).await.unwrap();
            if events.iter().any(&wanted) {
                return;
            }
        }
    });
    if found.await.is_err() {
        let events = lab.tenant.admin().list(timeline).await.unwrap();
        panic!("it did not come: {events:#?}");
    }
}
