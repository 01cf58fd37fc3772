//! Devices against the small server of the tests.

use std::sync::Arc;

use crate::cms::SignatureStyle;
use crate::device::{Device, DeviceError, DeviceProfile, Platform, RenewalOrder, Transport, World};
use crate::fake::{Fake, test_pool};
use crate::misbehave::Misbehaviour;
use crate::record::{FaultKind, Summary};
use crate::xml;
use crate::{Trust, reading};

fn world(fake: &Fake) -> Arc<World> {
    let transport = Transport::ProxyHeader { base: fake.base() };
    let mut world = World::new(Trust::from_pem("").unwrap(), transport);
    world.keys = test_pool();
    Arc::new(world)
}

async fn enrolled(fake: &Fake, profile: DeviceProfile) -> Device {
    let mut device = Device::new(profile, 1, world(fake));
    device.enroll(&fake.link()).await.unwrap();
    device
}

#[tokio::test]
async fn a_device_enrolls_and_works_through_its_queue() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::IPhone)).await;
    assert_eq!(fake.inner.lock().messages, ["Authenticate", "TokenUpdate"]);
    let udid = device.hardware().udid.clone();
    let queries = "<key>Queries</key><array><string>SerialNumber</string></array>";
    fake.enqueue(&udid, "c-1", "ProfileList", "");
    fake.enqueue(&udid, "c-2", "MakeCoffee", "");
    fake.enqueue(&udid, "c-3", "DeviceInformation", queries);
    let end = device.session(0).await.unwrap();
    assert_eq!((end.commands, fake.open()), (3, 0));
    let statuses: Vec<_> = fake
        .inner
        .lock()
        .reports
        .iter()
        .map(|r| r.1.clone())
        .collect();
    assert_eq!(statuses, ["Acknowledged", "Error", "Acknowledged"]);
    let report = reading::dictionary(&fake.inner.lock().last_report).unwrap();
    let answers = report["QueryResponses"].as_dictionary().unwrap();
    let serial = answers["SerialNumber"].as_string();
    assert_eq!(serial, Some(device.hardware().serial_number.as_str()));
    assert!(device.records().all(|record| record.faults().is_empty()));
}

#[tokio::test]
async fn every_platform_enrolls_with_signed_messages() {
    let fake = Fake::start().await;
    fake.inner.lock().sign_message = true;
    let styles = [SignatureStyle::CURRENT, SignatureStyle::OLDER];
    for (index, platform) in Platform::ALL.into_iter().enumerate() {
        let mut world = World::new(Trust::from_pem("").unwrap(), Transport::FromProfile);
        world.keys = test_pool();
        let mut profile = DeviceProfile::new(platform);
        profile.users = 2;
        profile.signature = Some(styles[index % 2]);
        profile.scep.force_get = index % 2 == 0;
        let seed = u64::try_from(index).unwrap();
        let mut device = Device::new(profile, seed, Arc::new(world));
        device.enroll(&fake.link()).await.unwrap();
        let users = if matches!(platform, Platform::Mac | Platform::SharedIpad) {
            2
        } else {
            0
        };
        assert_eq!(device.channels(), 1 + users);
        for channel in 0..device.channels() {
            device.session(channel).await.unwrap();
        }
    }
    assert!(
        fake.inner.lock().bootstrap.is_some(),
        "the Mac escrows its token"
    );
}

#[tokio::test]
async fn without_signed_messages_the_identity_proves_itself_by_mutual_tls() {
    let fake = Fake::start_tls().await;
    let trust = Trust::from_pem(&fake.trust_pem).unwrap();
    let mut world = World::new(trust, Transport::FromProfile);
    world.keys = test_pool();
    let world = Arc::new(world);
    let mut device = Device::new(DeviceProfile::new(Platform::IPhone), 1, world);
    device.enroll(&fake.link()).await.unwrap();
    let udid = device.hardware().udid.clone();
    let payload = xml::data("Payload", fake.profile().as_bytes());
    fake.enqueue(&udid, "c-1", "InstallProfile", &payload);
    fake.enqueue(&udid, "c-2", "ProfileList", "");
    let end = device.session(0).await.unwrap();
    assert_eq!((end.commands, fake.open()), (2, 0));
    assert_eq!(fake.inner.lock().reports.last().unwrap().1, "Acknowledged");
    let options = crate::load::LoadOptions {
        mode: crate::load::LoadMode::MutualTls,
        trust_pem: fake.trust_pem.clone(),
        ..crate::load::LoadOptions::new(
            fake.base().join("mdm").unwrap(),
            vec![device.load_device().unwrap()],
        )
    };
    fake.enqueue(&udid, "c-3", "ProfileList", "");
    let report = crate::load::run(options, tokio_util::sync::CancellationToken::new());
    let report = report.await.unwrap();
    assert_eq!((report.round_trips, report.errors), (1, 0));
}

#[tokio::test]
async fn a_device_does_not_enroll_with_a_server_that_it_does_not_trust() {
    let fake = Fake::start_tls().await;
    let world = Arc::new(World::new(
        Trust::from_pem("").unwrap(),
        Transport::FromProfile,
    ));
    let mut device = Device::new(DeviceProfile::new(Platform::IPhone), 1, world);
    let error = device.enroll(&fake.link()).await.unwrap_err();
    assert!(matches!(error, DeviceError::Client(_)), "{error}");
}

#[tokio::test]
async fn a_wrong_challenge_is_reported_as_the_refusal_it_is() {
    let fake = Fake::start().await;
    let mut device = Device::new(DeviceProfile::new(Platform::IPad), 1, world(&fake));
    let profile = fake.profile().replace("letmein", "nonsense");
    let error = device
        .enroll_with_profile(profile.as_bytes())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the CA refused the request: badRequest (not permitted, for instance a wrong challenge)"
    );
    assert!(!device.is_enrolled());
}

#[tokio::test]
async fn a_refused_authenticate_leaves_no_enrollment_behind() {
    let fake = Fake::start().await;
    fake.inner.lock().refuse = Some(("Authenticate", 403));
    let mut device = Device::new(DeviceProfile::new(Platform::IPad), 1, world(&fake));
    let error = device.enroll(&fake.link()).await.unwrap_err();
    assert!(
        matches!(error, DeviceError::Refused { status: 403, .. }),
        "{error}"
    );
    assert!(!device.is_enrolled());
}

#[tokio::test]
async fn a_renewed_profile_brings_a_new_certificate_in_either_order() {
    for order in [RenewalOrder::CheckInFirst, RenewalOrder::AcknowledgeFirst] {
        let fake = Fake::start().await;
        let mut profile = DeviceProfile::new(Platform::Mac);
        profile.renewal = order;
        let mut device = enrolled(&fake, profile).await;
        let before = device.identity().unwrap().certificate.clone();
        let payload = xml::data("Payload", fake.profile().as_bytes());
        let udid = device.hardware().udid.clone();
        fake.enqueue(&udid, "c-1", "InstallProfile", &payload);
        fake.enqueue(&udid, "c-2", "ProfileList", "");
        device.session(0).await.unwrap();
        assert_ne!(device.identity().unwrap().certificate, before);
        assert_eq!(fake.open(), 0);
        let authentications = fake
            .inner
            .lock()
            .messages
            .iter()
            .filter(|m| *m == "Authenticate")
            .count();
        assert_eq!(authentications, 2);
    }
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_old_certificate() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::IPhone)).await;
    let before = device.identity().unwrap().certificate.clone();
    fake.inner.lock().refuse = Some(("Authenticate", 403));
    let payload = xml::data("Payload", fake.profile().as_bytes());
    fake.enqueue(&device.hardware().udid, "c-1", "InstallProfile", &payload);
    device.session(0).await.unwrap();
    assert_eq!(device.identity().unwrap().certificate, before);
    assert_eq!(
        fake.inner.lock().reports,
        [("c-1".to_owned(), "Error".to_owned())]
    );
}

#[tokio::test]
async fn an_erased_device_is_as_new_and_can_enroll_again() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::IPhone)).await;
    let udid = device.hardware().udid.clone();
    fake.enqueue(&udid, "c-1", "EraseDevice", "");
    fake.enqueue(&udid, "c-2", "ProfileList", "");
    let end = device.session(0).await.unwrap();
    assert!(end.ended && !device.is_enrolled());
    assert_eq!(fake.open(), 1, "what follows an erase is not answered");
    device.enroll(&fake.link()).await.unwrap();
    assert_eq!(device.records().next().unwrap().enrollments(), 2);
}

#[tokio::test]
async fn removing_the_enrollment_profile_checks_out() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::IPhone)).await;
    let identifier = xml::string("Identifier", "fake.enrollment");
    fake.enqueue(&device.hardware().udid, "c-1", "RemoveProfile", &identifier);
    device.session(0).await.unwrap();
    assert!(!device.is_enrolled());
    assert_eq!(fake.inner.lock().messages.last().unwrap(), "CheckOut");
}

#[tokio::test]
async fn profiles_locks_and_passcodes_leave_their_traces() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::IPad)).await;
    let udid = device.hardware().udid.clone();
    let profile = xml::document(
        &[
            xml::string("PayloadType", "Configuration"),
            xml::string("PayloadIdentifier", "org.example.wifi"),
            xml::string("PayloadUUID", "U"),
        ]
        .concat(),
    );
    let payload = xml::data("Payload", profile.as_bytes());
    fake.enqueue(&udid, "c-1", "InstallProfile", &payload);
    fake.enqueue(&udid, "c-2", "DeviceLock", "");
    fake.enqueue(
        &udid,
        "c-3",
        "ClearPasscode",
        &xml::data("UnlockToken", b"wrong"),
    );
    device.session(0).await.unwrap();
    assert_eq!(
        device.installed_profiles(0),
        ["fake.enrollment", "org.example.wifi"]
    );
    assert!(device.is_locked());
    let last = fake.inner.lock().reports.last().cloned().unwrap();
    assert_eq!(last, ("c-3".to_owned(), "Error".to_owned()));
}

#[tokio::test]
async fn declarations_are_fetched_once_and_dropped_when_they_are_gone() {
    let fake = Fake::start().await;
    let mut device = enrolled(&fake, DeviceProfile::new(Platform::Mac)).await;
    let udid = device.hardware().udid.clone();
    fake.inner.lock().declarations = vec![
        ("configuration/a".to_owned(), "1".to_owned()),
        ("activation/b".to_owned(), "1".to_owned()),
    ];
    fake.enqueue(&udid, "c-1", "DeclarativeManagement", "");
    device.session(0).await.unwrap();
    assert_eq!(device.declarations(0), ["b", "a"]);
    fake.inner.lock().declarations.pop();
    fake.enqueue(&udid, "c-2", "DeclarativeManagement", "");
    device.session(0).await.unwrap();
    assert_eq!(device.declarations(0), ["a"]);
    let reports = fake.inner.lock().status_reports;
    fake.enqueue(&udid, "c-3", "DeclarativeManagement", "");
    device.session(0).await.unwrap();
    assert_eq!(
        (reports, fake.inner.lock().status_reports),
        (2, 2),
        "nothing new, nothing told"
    );
}

#[tokio::test]
async fn mischief_loses_no_command_and_a_correct_server_shows_no_fault() {
    let fake = Fake::start().await;
    let mut profile = DeviceProfile::new(Platform::Mac);
    profile.misbehaviour = Misbehaviour {
        not_now: 0.3,
        duplicate_report: 0.2,
        cut: 0.2,
        out_of_order: 0.2,
        foreign_identity: 0.5,
        token_change: 0.2,
    };
    let mut device = enrolled(&fake, profile).await;
    let udid = device.hardware().udid.clone();
    for number in 0..100 {
        fake.enqueue(&udid, &format!("c-{number}"), "ProfileList", "");
    }
    let mut sessions = 0;
    while fake.open() > 0 {
        device.session(0).await.unwrap();
        sessions += 1;
        assert!(sessions < 100, "the queue never drains");
    }
    let mut summary = Summary::default();
    device.records().for_each(|record| summary.add(record));
    assert_eq!(summary.faults, std::collections::BTreeMap::new());
    assert_eq!(
        (summary.commands, summary.answered, summary.executed),
        (100, 100, 100)
    );
    assert!(summary.not_now > 10 && summary.repeated > 10, "{summary:?}");
}

#[tokio::test]
async fn faults_of_a_server_are_seen() {
    let fake = Fake::start().await;
    let mut profile = DeviceProfile::new(Platform::IPhone);
    profile.misbehaviour.foreign_identity = 1.0;
    let mut device = enrolled(&fake, profile).await;
    let udid = device.hardware().udid.clone();
    {
        let mut inner = fake.inner.lock();
        (inner.doubles, inner.alters, inner.careless) = (true, true, true);
    }
    fake.enqueue(&udid, "c-1", "ProfileList", "");
    device.session(0).await.unwrap();
    let mut kinds: Vec<_> = device
        .records()
        .flat_map(|r| r.faults())
        .map(|fault| fault.kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    let expected = [
        FaultKind::DifferingBytes,
        FaultKind::AfterTerminal,
        FaultKind::ForeignAnswered,
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_mac_declines_users_that_the_server_does_not_want() {
    let fake = Fake::start().await;
    fake.inner.lock().refuse = Some(("UserAuthenticate", 410));
    let mut profile = DeviceProfile::new(Platform::Mac);
    profile.users = 2;
    profile.user_authenticate = true;
    let mut device = enrolled(&fake, profile).await;
    assert!(device.session(1).await.is_ok());
    assert!(matches!(
        device.session(2).await,
        Err(DeviceError::NoChannel(2))
    ));
}
