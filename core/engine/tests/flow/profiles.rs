//! Profiles from the admin API to the device and back: installed once, looked for, installed again where they are lost, removed.

#[path = "profiles/desk.rs"]
mod desk;
#[path = "profiles/torn.rs"]
mod torn;

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::json;

use super::support::*;
use desk::{Desk, Phone, events, look_after, profile, settle};

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_profile_that_is_kept_can_be_sent() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        let most = 720 * 1024;
        let room = most - profile("org.example.large", 1, "").len();
        let largest = profile("org.example.large", 1, &"x".repeat(room));
        assert_eq!(largest.len(), most);
        desk.upload(&largest).await;
        let (status, told) = desk
            .call(
                "POST",
                "profiles",
                "application/octet-stream",
                format!("{largest} ").into(),
            )
            .await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
        desk.post(
            "profiles/org.example.large/assign",
            json!({ "devices": [A] }),
        )
        .await;
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(phone.given, [largest.into_bytes()]);
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_installed_verified_repaired_replaced_and_removed() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        let text = profile("org.example.wifi", 1, "School");
        let kept = desk.upload(&text).await;
        assert_eq!(
            (&kept["version"], &kept["kind"]),
            (&json!(1), &json!("as-it-is"))
        );
        // Kept and not assigned: nothing is sent.
        assert!(settle(&stage, &mut phone).await.is_empty());

        let made = desk
            .post(
                "profiles/org.example.wifi/assign",
                json!({ "devices": [A] }),
            )
            .await;
        assert_eq!((&made["changed"], &made["devices"]), (&json!(1), &json!(1)));
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        // What was uploaded is what the device gets, byte for byte.
        assert_eq!(phone.given, [text.clone().into_bytes()]);
        assert_eq!(
            desk.states("org.example.wifi").await,
            [("verified".to_owned(), String::new())]
        );

        // Nothing more, until the day is over; then it is looked for.
        assert!(settle(&stage, &mut phone).await.is_empty());
        stage.clock.advance(DAY + MINUTE);
        assert_eq!(settle(&stage, &mut phone).await, ["ProfileList"]);

        // Taken off by hand: it comes back, and the timeline says why.
        phone.has.clear();
        stage.clock.advance(DAY + MINUTE);
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["ProfileList", "InstallProfile", "ProfileList"]
        );
        assert_eq!(events(&stage, "profile_drifted").await, 1);
        let said = stage
            .sql
            .texts("SELECT body FROM event WHERE kind = 'command_queued' ORDER BY seq")
            .await;
        let said = said.join("\n");
        assert!(
            said.contains("org.example.wifi (version 1): it is assigned to the device"),
            "{said}"
        );
        assert!(
            said.contains("org.example.wifi (version 1): the device did not have it any more"),
            "{said}"
        );

        // The same again is nothing new; another content is another version.
        assert_eq!(desk.upload(&text).await["unchanged"], json!(true));
        let second = profile("org.example.wifi", 2, "Schule");
        assert_eq!(desk.upload(&second).await["version"], json!(2));
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(phone.given.last().unwrap(), second.as_bytes());

        // Somebody else's profile is left alone.
        phone.has.push(("com.other".into(), "X".into()));
        let gone = desk
            .post(
                "profiles/org.example.wifi/unassign",
                json!({ "devices": [A] }),
            )
            .await;
        assert_eq!(gone["changed"], json!(1));
        let (status, _) = desk
            .call("DELETE", "profiles/org.example.wifi", "", Vec::new())
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "a device has it");
        assert_eq!(settle(&stage, &mut phone).await, ["RemoveProfile"]);
        assert_eq!(phone.has, [("com.other".to_owned(), "X".to_owned())]);
        assert!(desk.states("org.example.wifi").await.is_empty());
        assert_eq!(
            stage.sql.number("SELECT COUNT(*) FROM upkeep").await,
            0,
            "nothing is to be kept up"
        );
        let (status, _) = desk
            .call("DELETE", "profiles/org.example.wifi", "", Vec::new())
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(
            stage
                .sql
                .number("SELECT COUNT(*) FROM profile_version")
                .await,
            0
        );
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_follows_its_groups_and_those_who_come_later() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut first = Phone::enroll(&stage, A).await;
        desk.upload(&profile("org.example.group", 1, "G")).await;
        desk.upload(&profile("org.example.all", 2, "A")).await;
        desk.post("groups", json!({ "name": "rooms" })).await;
        desk.post(
            "profiles/org.example.group/assign",
            json!({ "groups": ["rooms"] }),
        )
        .await;
        desk.post(
            "profiles/org.example.all/assign",
            json!({ "everything": true }),
        )
        .await;
        assert_eq!(
            settle(&stage, &mut first).await,
            ["InstallProfile", "ProfileList"]
        );
        desk.post("groups/rooms/add", json!({ "devices": [A] }))
            .await;
        assert_eq!(
            settle(&stage, &mut first).await,
            ["InstallProfile", "ProfileList"]
        );

        // Who comes later gets what is for everybody, by itself.
        let mut second = Phone::enroll(&stage, B).await;
        assert_eq!(
            settle(&stage, &mut second).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(second.has.len(), 1);

        // A group with profiles is not removed behind the back of its devices.
        let (status, said) = desk.call("DELETE", "groups/rooms", "", Vec::new()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{said}");
        assert!(
            said["detail"]
                .as_str()
                .unwrap()
                .contains("org.example.group"),
            "{said}"
        );
        desk.post("groups/rooms/remove", json!({ "devices": [A] }))
            .await;
        assert_eq!(settle(&stage, &mut first).await, ["RemoveProfile"]);
        assert_eq!(first.has.len(), 1);

        // Who enrolls anew begins anew.
        second.has.clear();
        let left = simple_check_in("CheckOut", B);
        assert_eq!(stage.send(&second.card, true, left).await.0, StatusCode::OK);
        let (card, channel) = stage.enroll(B).await;
        (second.card, second.channel) = (card, channel);
        assert_eq!(
            settle(&stage, &mut second).await,
            ["InstallProfile", "ProfileList"]
        );
        stage.clock.advance(DAY + MINUTE);
        look_after(&stage).await;
        let channels = stage
            .sql
            .number("SELECT COUNT(DISTINCT enrollment_id) FROM profile_state")
            .await;
        assert_eq!(channels, 2, "what ended is forgotten");
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_fails_is_tried_again_later_and_by_one_call() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        phone.fails = true;
        desk.upload(&profile("org.example.bad", 1, "B")).await;
        desk.post("profiles/org.example.bad/assign", json!({ "devices": [A] }))
            .await;
        assert_eq!(settle(&stage, &mut phone).await, ["InstallProfile"]);
        let said = "the device answers with MCInstallationErrorDomain 4001".to_owned();
        assert_eq!(
            desk.states("org.example.bad").await,
            [("failed".to_owned(), said.clone())]
        );
        for pause in [5, 30, 120, 720] {
            stage.clock.advance((pause - 1) * MINUTE);
            assert!(
                settle(&stage, &mut phone).await.is_empty(),
                "before {pause} minutes"
            );
            stage.clock.advance(2 * MINUTE);
            assert_eq!(
                settle(&stage, &mut phone).await,
                ["InstallProfile"],
                "after {pause} minutes"
            );
        }
        assert_eq!(
            desk.states("org.example.bad").await,
            [("given-up".to_owned(), said)]
        );
        assert_eq!(events(&stage, "profile_given_up").await, 1);
        stage.clock.advance(3 * DAY);
        assert!(settle(&stage, &mut phone).await.is_empty());

        phone.fails = false;
        assert_eq!(
            desk.post("profiles/org.example.bad/retry", json!({})).await["channels"],
            json!(1)
        );
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(
            desk.states("org.example.bad").await,
            [("verified".to_owned(), String::new())]
        );
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_filled_in_for_each_device_and_who_lacks_one_says_so() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        let kept = desk
            .upload(&profile(
                "org.example.room",
                1,
                "{{fact.room}}-{{device.udid}}",
            ))
            .await;
        assert_eq!(kept["kind"], json!("variables"));
        assert_eq!(kept["variables"], json!(["device.udid", "fact.room"]));
        desk.post(
            "profiles/org.example.room/assign",
            json!({ "everything": true }),
        )
        .await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        let said = ("refused".to_owned(), "no value for fact.room".to_owned());
        assert_eq!(desk.states("org.example.room").await, [said]);
        assert_eq!(events(&stage, "profile_refused").await, 1);

        let set = |room: &str| json!({ "value": room });
        let path = format!("devices/{A}/facts/room");
        let put = async |room: &str| {
            let (status, told) = desk
                .call(
                    "PUT",
                    &path,
                    "application/json",
                    set(room).to_string().into(),
                )
                .await;
            assert!(status.is_success(), "{status} {told}");
        };
        put("4 </string>").await;
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        let ssid = |bytes: &[u8]| {
            let value = plist::Value::from_reader_xml(bytes)
                .unwrap()
                .into_dictionary()
                .unwrap();
            let payload = value["PayloadContent"].as_array().unwrap()[0]
                .as_dictionary()
                .unwrap();
            payload["SSID_STR"].as_string().unwrap().to_owned()
        };
        assert_eq!(ssid(&phone.given[0]), format!("4 </string>-{A}"));
        // The room changes, and so does the profile, under another PayloadUUID.
        put("5").await;
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(ssid(&phone.given[1]), format!("5-{A}"));
        let uuids: BTreeSet<_> = phone
            .given
            .iter()
            .map(|bytes| {
                let value = plist::Value::from_reader_xml(&bytes[..])
                    .unwrap()
                    .into_dictionary()
                    .unwrap();
                value["PayloadUUID"].as_string().unwrap().to_owned()
            })
            .collect();
        assert_eq!(uuids.len(), 2);
        // The same value again is nothing new.
        put("5").await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_send_a_profile_once_and_one_that_died_holds_nothing_up() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phones = Vec::new();
        for n in 0..12 {
            let udid: &'static str =
                Box::leak(format!("00000000-0000-0000-0000-{n:012}").into_boxed_str());
            phones.push(Phone::enroll(&stage, udid).await);
        }
        let other = stage.second().await;
        desk.upload(&profile("org.example.once", 1, "O")).await;
        desk.post(
            "profiles/org.example.once/assign",
            json!({ "everything": true }),
        )
        .await;
        stage.clock.advance(1_000);
        let (one, two) = tokio::join!(stage.engine.keep_up(), other.keep_up());
        assert_eq!(
            one.unwrap() + two.unwrap(),
            12,
            "each channel is taken by one of them"
        );
        let sent = stage
            .sql
            .number("SELECT COUNT(*) FROM delivery WHERE request_type = 'InstallProfile'")
            .await;
        assert_eq!(sent, 12);
        for phone in &mut phones {
            assert_eq!(
                settle(&stage, phone).await,
                ["InstallProfile", "ProfileList"]
            );
            assert_eq!(phone.given.len(), 1);
        }
        // Whoever claims and dies leaves the channel to others when its time is over.
        let node = stage.now() + 10 * MINUTE;
        let second = profile("org.example.once", 2, "P");
        desk.upload(&second).await;
        stage
            .sql
            .run(&format!("UPDATE upkeep SET due_at = {node}"))
            .await;
        assert!(
            settle(&stage, &mut phones[0]).await.is_empty(),
            "another node has it"
        );
        stage.clock.advance(11 * MINUTE);
        assert_eq!(
            settle(&stage, &mut phones[0]).await,
            ["InstallProfile", "ProfileList"]
        );
        other.stop().await;
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_what_is_on_its_way_and_knows_what_it_has_left() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        let unassign = json!({ "devices": [A] });
        desk.upload(&profile("org.example.late", 1, "L")).await;
        desk.post("profiles/org.example.late/assign", unassign.clone())
            .await;
        look_after(&stage).await;
        // Not wanted any more before the device has come: it is not overtaken.
        desk.post("profiles/org.example.late/unassign", unassign.clone())
            .await;
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "RemoveProfile"]
        );
        assert!(phone.has.is_empty());

        // The first version is acknowledged while the second is there already, and that one fails: the first is not forgotten.
        desk.post("profiles/org.example.late/assign", unassign.clone())
            .await;
        look_after(&stage).await;
        desk.upload(&profile("org.example.late", 2, "M")).await;
        assert_eq!(phone.connect(&stage).await, ["InstallProfile"]);
        phone.fails = true;
        assert_eq!(settle(&stage, &mut phone).await, ["InstallProfile"]);
        assert_eq!(phone.has.len(), 1, "the device keeps the first");
        desk.post("profiles/org.example.late/unassign", unassign)
            .await;
        assert_eq!(settle(&stage, &mut phone).await, ["RemoveProfile"]);
        assert!(phone.has.is_empty());
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_tells_of_itself_fills_a_profile_in() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        desk.upload(&profile(
            "org.example.name",
            1,
            "{{fact.device.device-name}}",
        ))
        .await;
        desk.post(
            "profiles/org.example.name/assign",
            json!({ "everything": true }),
        )
        .await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        let ask = json!({
            "request_type": "DeviceInformation",
            "parameters": { "Queries": ["DeviceName"] },
            "targets": { "devices": [A] },
        });
        desk.post("commands", ask).await;
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["DeviceInformation", "InstallProfile", "ProfileList"]
        );
        let given = String::from_utf8(phone.given.remove(0)).unwrap();
        assert!(given.contains("Trolley 3"), "{given}");
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_before_can_be_meant_literally_and_names_are_told_apart() {
    let stage = Stage::new(backends().remove(0)).await;
    let desk = Desk::open(&stage).await;
    let text = profile("org.example.braces", 1, "{{device.udid}}");
    assert_eq!(desk.upload(&text).await["kind"], json!("variables"));
    let kind = "application/x-apple-aspen-config";
    let (_, told) = desk
        .call("POST", "profiles?literal=true", kind, text.clone().into())
        .await;
    assert_eq!(
        (&told["kind"], &told["version"]),
        (&json!("as-it-is"), &json!(2))
    );
    let other = profile("org.example.other", 2, "x");
    for path in [
        "profiles?name=org.example.braces&dry_run=true",
        "profiles?name=org.example.braces",
    ] {
        let (status, told) = desk.call("POST", path, kind, other.clone().into()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{told}");
        assert!(
            told["detail"].as_str().unwrap().contains("--name"),
            "{told}"
        );
    }
    // A tenant has room for so much and no more.
    stage
        .sql
        .run("UPDATE profile_version SET size_bytes = 67108864")
        .await;
    let (status, told) = desk
        .call("POST", "profiles", kind, other.clone().into())
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{told}");
    assert!(
        told["detail"].as_str().unwrap().contains("64 MiB"),
        "{told}"
    );
    stage
        .sql
        .run("UPDATE profile_version SET size_bytes = 1000")
        .await;
    // Its name is another one's identifier: it is kept all the same.
    desk.call(
        "POST",
        "profiles?name=org.example.third",
        kind,
        other.into(),
    )
    .await;
    assert_eq!(
        desk.upload(&profile("org.example.third", 3, "x").replace(
            "<key>PayloadDisplayName</key><string>org.example.third",
            "<key>PayloadDisplayName</key><string>Third"
        ))
        .await["name"],
        json!("Third")
    );
    stage.engine.stop().await;
}
