//! Load against the small server of the tests.

use super::*;
use crate::fake::{Fake, test_pool};
use crate::{Device, DeviceProfile, Platform, Transport, World};

async fn members(fake: &Fake, count: u64) -> Vec<LoadDevice> {
    let transport = Transport::ProxyHeader { base: fake.base() };
    let mut world = World::new(Trust::from_pem("").unwrap(), transport);
    world.keys = test_pool();
    let world = Arc::new(world);
    let mut all = Vec::new();
    for seed in 0..count {
        let profile = DeviceProfile::new(Platform::IPhone);
        let mut device = Device::new(profile, seed, Arc::clone(&world));
        device.enroll(&fake.link()).await.unwrap();
        all.push(device.load_device().unwrap());
    }
    all
}

#[tokio::test]
async fn queues_are_drained_and_counted_in_both_plain_modes() {
    let fake = Fake::start().await;
    let devices = members(&fake, 3).await;
    for mode in [LoadMode::ProxyHeader, LoadMode::Signed] {
        for device in &devices {
            for number in 0..20 {
                let uuid = format!("{mode:?}-{number}");
                fake.enqueue(&device.udid, &uuid, "ProfileList", "");
            }
        }
        let url = fake.base().join("mdm").unwrap();
        let mut options = LoadOptions::new(url, devices.clone());
        options.mode = mode;
        options.connections = 2;
        let report = run(options, CancellationToken::new()).await.unwrap();
        assert_eq!(
            (report.round_trips, report.requests, report.errors),
            (60, 63, 0)
        );
        assert!(report.p50_ms > 0.0 && report.max_ms >= report.p99_ms);
        for device in &report.devices {
            assert_eq!(
                (device.received, device.acknowledged, device.doubled),
                (20, 20, 0)
            );
        }
    }
}

#[tokio::test]
async fn a_timed_run_ends_on_time_and_sees_doubled_commands() {
    let fake = Fake::start().await;
    let devices = members(&fake, 1).await;
    fake.inner.lock().doubles = true;
    fake.enqueue(&devices[0].udid, "c-1", "ProfileList", "");
    let mut options = LoadOptions::new(fake.base().join("mdm").unwrap(), devices);
    options.duration = Some(Duration::from_millis(50));
    let report = run(options, CancellationToken::new()).await.unwrap();
    assert!(report.devices[0].doubled > 0);
    assert!(report.seconds < 5.0);
}

#[test]
fn devices_survive_a_file() {
    let device = LoadDevice {
        udid: "A".to_owned(),
        certificate: vec![1, 2, 3],
        pkcs8: Vec::new(),
    };
    let text = serde_json::to_string(&device).unwrap();
    assert_eq!(text, r#"{"udid":"A","certificate":"AQID"}"#);
    let back: LoadDevice = serde_json::from_str(&text).unwrap();
    assert_eq!((back.certificate, back.pkcs8), (vec![1, 2, 3], Vec::new()));
}
