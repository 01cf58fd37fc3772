//! Profiles as an administrator uses them: uploaded, assigned, looked at, lost and repaired, taken back; on simulated devices.

use serde_json::{Value, json};

use crate::stage::Stage;

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.example.wifi</string><key>PayloadDisplayName</key><string>School Wi-Fi</string>
<key>PayloadUUID</key><string>0E5C0C3A-8F7F-4E2F-9F31-0C7C1B4A9D01</string>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.wifi.managed</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.example.wifi.net</string>
<key>PayloadUUID</key><string>0E5C0C3A-8F7F-4E2F-9F31-0C7C1B4A9D02</string>
<key>SSID_STR</key><string>School</string><key>Password</key><string>hunter2hunter2</string>
</dict></array></dict></plist>"#;

fn states(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|one| one["state"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_school_gives_its_devices_a_profile_and_keeps_it_there() {
    let mut stage = Stage::open(&[]).await;
    let fleet = stage.fleet(4).await;
    let file = stage.file("wifi.mobileconfig", WIFI);

    // It is looked at first, and nothing is kept.
    let said = stage.good(&["profile", "upload", &file, "--dry-run"]).await;
    assert!(
        said.contains("It would be version 1 of School Wi-Fi."),
        "{said}"
    );
    assert_eq!(stage.json(&["profile", "list"]).await, json!([]));
    let said = stage.good(&["profile", "upload", &file]).await;
    assert!(said.contains("It is version 1 of School Wi-Fi."), "{said}");
    let shown = stage.good(&["profile", "show", "School Wi-Fi"]).await;
    assert!(shown.contains("org.example.wifi"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    let said = stage
        .good(&["profile", "assign", "School Wi-Fi", "--everything"])
        .await;
    assert!(said.contains("4 devices are concerned"), "{said}");
    let status = ["profile", "status", "org.example.wifi"];
    stage
        .until(&status, |list| states(list) == ["verified"; 4])
        .await;

    // What one device does not have any more is found when it is asked, and comes back.
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let remove = [
        "command",
        "send",
        "RemoveProfile",
        "--set",
        "Identifier=org.example.wifi",
        "--device",
        &device,
        "--wait",
    ];
    stage.good(&remove).await;
    stage
        .good(&[
            "command",
            "send",
            "ProfileList",
            "--device",
            &device,
            "--wait",
        ])
        .await;
    stage
        .wait_for(&device, |event| event["kind"] == "profile_drifted")
        .await;
    let on = ["profile", "on", &device];
    let list = stage
        .until(&on, |list| {
            states(list) == ["verified"] && list[0]["tries"] == 2
        })
        .await;
    assert_eq!(list[0]["profile"], "School Wi-Fi");
    let timeline = stage
        .good(&["device", "timeline", &device, "--limit", "200"])
        .await;
    assert!(
        timeline.contains("the device did not have it any more"),
        "{timeline}"
    );
    assert!(!timeline.contains("hunter2"), "{timeline}");

    // Another passcode rule conflicts with the first, and both are told.
    for (name, length) in [("six", 6), ("eight", 8)] {
        let made = json!({
            "identifier": format!("org.example.{name}"),
            "display_name": name,
            "payloads": [{ "PayloadType": "com.apple.mobiledevice.passwordpolicy", "minLength": length }],
        });
        let file = stage.file(&format!("{name}.json"), made.to_string());
        stage.good(&["profile", "upload", &file]).await;
    }
    stage
        .good(&["profile", "assign", "six", "--device", &device])
        .await;
    let said = stage
        .good(&["profile", "assign", "eight", "--everything", "--dry-run"])
        .await;
    assert!(said.contains("minLength"), "{said}");
    assert!(said.contains("six"), "{said}");

    // A profile that is nowhere any more can be deleted, and not before.
    let refused = stage.bad(&["profile", "delete", "School Wi-Fi"]).await;
    assert!(refused.contains("unassign it"), "{refused}");
    stage
        .good(&["profile", "unassign", "School Wi-Fi", "--everything"])
        .await;
    stage.until(&status, |list| states(list).is_empty()).await;
    stage.good(&["profile", "delete", "School Wi-Fi"]).await;
    let gone = stage.bad(&["profile", "show", "School Wi-Fi"]).await;
    assert!(gone.contains("the profile"), "{gone}");
    let bad = stage.file("bad.mobileconfig", "<plist version=\"1.0\"><dict/></plist>");
    let refused = stage.bad(&["profile", "upload", &bad]).await;
    assert!(
        refused.contains("the profile has no PayloadType"),
        "{refused}"
    );
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
