//! Fleets against the small server of the tests.

use url::Url;

use super::*;
use crate::Transport;
use crate::apns::{ApnsOptions, PushIdentity};
use crate::fake::Fake;
use crate::misbehave::Misbehaviour;

fn options(fake: &Fake, devices: usize) -> FleetOptions {
    let mut options = FleetOptions::new(devices, fake.link(), "");
    options.transport = Transport::ProxyHeader { base: fake.base() };
    options.key_pool = 1;
    options.not_now_retry = Duration::from_millis(20);
    options
}

#[tokio::test]
async fn a_polling_fleet_drains_its_queues_and_loses_nothing() {
    let fake = Fake::start().await;
    let mut options = options(&fake, 12);
    options.idle_poll = Some(Duration::from_millis(20));
    let fleet = Fleet::start(options, None).unwrap();
    assert_eq!(fleet.settled().await, 0);
    for device in fleet.devices() {
        let udid = device.lock().await.hardware().udid.clone();
        for number in 0..10 {
            fake.enqueue(&udid, &format!("{udid}-{number}"), "ProfileList", "");
        }
    }
    while fake.open() > 0 {
        tokio::task::yield_now().await;
    }
    let summary = fleet.stop().await;
    assert_eq!(summary.commands, 120);
    assert_eq!(summary.answered, 120);
    assert_eq!(summary.fault_count(), 0, "{:?}", summary.faults);
    let mut lines = Vec::new();
    fleet.write_records(&mut lines).await.unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let commands = lines
        .lines()
        .filter(|line| line.contains("command_uuid"))
        .count();
    assert_eq!(commands, 120);
}

#[tokio::test]
async fn a_rung_fleet_comes_and_a_wrong_magic_repairs_itself() {
    let fake = Fake::start().await;
    let identity = PushIdentity::generate("com.apple.mgmt.External.fake").unwrap();
    let apns = ApnsHandle::start(ApnsOptions::new(&identity.ca_pem))
        .await
        .unwrap();
    let mut options = options(&fake, 3);
    options.misbehaviour = Misbehaviour::none();
    options.users = 0;
    let fleet = Fleet::start(options, Some(apns.clone())).unwrap();
    fleet.settled().await;
    let udid = fleet.devices()[0].lock().await.hardware().udid.clone();
    fake.enqueue(&udid, "c-1", "ProfileList", "");
    let before = fake.inner.lock().messages.len();
    let magics = fake.inner.lock().magics.clone();
    for token in magics.keys() {
        apns.ring(token, "com.apple.mgmt.External.fake", "wrong");
    }
    while fake.inner.lock().messages.len() < before + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.open(), 1, "a wrong magic is no reason to connect");
    for (token, magic) in &magics {
        apns.ring(token, "com.apple.mgmt.External.fake", magic);
    }
    while fake.open() > 0 {
        tokio::task::yield_now().await;
    }
    let summary = fleet.stop().await;
    assert_eq!(summary.pushes, 6);
    assert_eq!((summary.commands, summary.confirmed), (1, 1));
}

#[tokio::test]
async fn an_absent_device_gets_its_last_push_when_it_is_back() {
    let fake = Fake::start().await;
    let identity = PushIdentity::generate("com.apple.mgmt.External.fake").unwrap();
    let apns = ApnsHandle::start(ApnsOptions::new(&identity.ca_pem))
        .await
        .unwrap();
    let mut options = options(&fake, 1);
    options.misbehaviour = Misbehaviour::none();
    options.users = 0;
    options.absence = Some((1.0, Duration::from_millis(30)));
    let fleet = Fleet::start(options, Some(apns.clone())).unwrap();
    fleet.settled().await;
    let udid = fleet.devices()[0].lock().await.hardware().udid.clone();
    let magics = fake.inner.lock().magics.clone();
    let (token, magic) = magics.iter().next().unwrap();
    for number in 0..3 {
        fake.enqueue(&udid, &format!("c-{number}"), "ProfileList", "");
        // Rung twice: the second one finds the device away, or the first not taken yet.
        apns.ring(token, "com.apple.mgmt.External.fake", magic);
        apns.ring(token, "com.apple.mgmt.External.fake", magic);
        while fake.open() > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(fleet.report_url().await.unwrap().path(), "/mdm");
    assert_eq!(fleet.stop().await.commands, 3);
}

#[tokio::test]
async fn a_fleet_that_is_refused_gives_up_and_says_so() {
    let fake = Fake::start().await;
    let mut options = options(&fake, 2);
    options.enroll_urls = vec![fake.base().join("nothing").unwrap()];
    options.enroll_retry = Duration::from_millis(1);
    let fleet = Fleet::start(options, None).unwrap();
    assert_eq!(fleet.settled().await, 2);
    assert_eq!(fleet.stop().await.commands, 0);
}

#[tokio::test]
async fn a_stop_ends_a_fleet_that_cannot_reach_its_server() {
    let fake = Fake::start().await;
    let mut options = options(&fake, 2);
    options.enroll_urls = vec![Url::parse("http://127.0.0.1:1/enroll").unwrap()];
    let fleet = Fleet::start(options, None).unwrap();
    assert_eq!(fleet.stop().await, fleet.summary().await);
}
