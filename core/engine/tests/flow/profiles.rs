//! Profiles from the admin API to the device and back: installed once, looked for, installed again where they are lost, removed.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use pomona_engine::http::admin_router;
use pomona_engine::{Actor, EnrollmentId, admin};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// An administrator at the API.
struct Desk {
    router: Router,
    token: String,
    base: String,
}

impl Desk {
    async fn open(stage: &Stage) -> Self {
        let store = stage.engine.store();
        let person = admin::create_principal(store, Actor::SYSTEM, Some(stage.tenant), "Erin")
            .await
            .unwrap();
        let scopes = admin::Scopes::parse(&["*"]).unwrap();
        let made = admin::create_first_token(store, &person, "t", scopes)
            .await
            .unwrap();
        Self {
            router: admin_router(stage.engine.clone(), CancellationToken::new()),
            token: made.1.expose().to_owned(),
            base: format!("/api/v1/tenants/{}", stage.tenant),
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self
            .call("POST", path, "application/json", body.to_string().into())
            .await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, "application/json", Vec::new()).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn upload(&self, bytes: &str) -> Value {
        let (status, answer) = self
            .call(
                "POST",
                "profiles",
                "application/x-apple-aspen-config",
                bytes.into(),
            )
            .await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    /// The states of a profile, by device.
    async fn states(&self, profile: &str) -> Vec<(String, String)> {
        let list = self.get(&format!("profiles/{profile}/devices")).await;
        let items = list["items"].as_array().unwrap().iter();
        let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        items
            .map(|one| (word(one, "state"), word(one, "reason")))
            .collect()
    }
}

/// A device that keeps profiles as a list of identifiers and UUIDs.
struct Phone {
    card: Card,
    udid: &'static str,
    channel: EnrollmentId,
    has: Vec<(String, String)>,
    /// `InstallProfile`s that it was given, as the bytes of their payloads.
    given: Vec<Vec<u8>>,
    fails: bool,
}

impl Phone {
    async fn enroll(stage: &Stage, udid: &'static str) -> Self {
        let (card, channel) = stage.enroll(udid).await;
        Self {
            card,
            udid,
            channel,
            has: Vec::new(),
            given: Vec::new(),
            fails: false,
        }
    }

    /// Connects and does what it is told until there is nothing more; says what it was told.
    async fn connect(&mut self, stage: &Stage) -> Vec<String> {
        let mut told = Vec::new();
        let (_, mut body) = stage.send(&self.card, false, idle(self.udid)).await;
        while let Some(uuid) = command_uuid(&body) {
            let value = plist::Value::from_reader_xml(body.as_bytes()).unwrap();
            let command = value.as_dictionary().unwrap()["Command"]
                .as_dictionary()
                .unwrap()
                .clone();
            let kind = command["RequestType"].as_string().unwrap().to_owned();
            let (status, keys) = self.does(&kind, &command);
            told.push(kind);
            // Time passes while a device works.
            stage.clock.advance(1_000);
            let report = message(&format!(
                "<key>Status</key><string>{status}</string><key>UDID</key><string>{}</string>\
                 <key>CommandUUID</key><string>{uuid}</string>{keys}",
                self.udid
            ));
            body = stage.send(&self.card, false, report).await.1;
        }
        told
    }

    fn does(&mut self, kind: &str, command: &plist::Dictionary) -> (&'static str, String) {
        let chain = |code: u32| {
            format!(
                "<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>{code}</integer><key>ErrorDomain</key>\
                 <string>MCInstallationErrorDomain</string><key>LocalizedDescription</key><string>no</string></dict></array>"
            )
        };
        match kind {
            "InstallProfile" => {
                let bytes = command["Payload"].as_data().unwrap().to_vec();
                let profile = plist::Value::from_reader_xml(&bytes[..])
                    .unwrap()
                    .into_dictionary()
                    .unwrap();
                self.given.push(bytes);
                if self.fails {
                    return ("Error", chain(4001));
                }
                let text = |key: &str| profile[key].as_string().unwrap().to_owned();
                self.has
                    .retain(|(identifier, _)| *identifier != text("PayloadIdentifier"));
                self.has
                    .push((text("PayloadIdentifier"), text("PayloadUUID")));
                ("Acknowledged", String::new())
            }
            "RemoveProfile" => {
                let wanted = command["Identifier"].as_string().unwrap();
                let before = self.has.len();
                self.has.retain(|(identifier, _)| identifier != wanted);
                match self.has.len() < before {
                    true => ("Acknowledged", String::new()),
                    false => ("Error", chain(12_075)),
                }
            }
            "ProfileList" => {
                let items = self.has.iter().map(|(identifier, uuid)| {
                    format!(
                        "<dict><key>PayloadIdentifier</key><string>{identifier}</string><key>PayloadUUID</key>\
                         <string>{uuid}</string></dict>"
                    )
                });
                let items: String = items.collect();
                (
                    "Acknowledged",
                    format!("<key>ProfileList</key><array>{items}</array>"),
                )
            }
            "DeviceInformation" => (
                "Acknowledged",
                "<key>QueryResponses</key><dict><key>DeviceName</key><string>Trolley 3</string></dict>".into(),
            ),
            other => panic!("nobody asked for {other}"),
        }
    }
}

/// The server looks after its channels, time passing, until it has nothing to do.
async fn look_after(stage: &Stage) {
    stage.clock.advance(1_000);
    while stage.engine.keep_up().await.unwrap() > 0 {
        stage.clock.advance(1_000);
    }
}

/// Looks after and connects until nothing happens any more; says what the device was told.
async fn settle(stage: &Stage, phone: &mut Phone) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        look_after(stage).await;
        let more = phone.connect(stage).await;
        if more.is_empty() {
            return told;
        }
        told.extend(more);
    }
}

fn profile(identifier: &str, uuid: u32, ssid: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>{identifier}</string><key>PayloadDisplayName</key><string>{identifier}</string>\
         <key>PayloadUUID</key><string>00000000-0000-0000-0000-{uuid:012}</string>\
         <key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string>\
         <key>PayloadVersion</key><integer>1</integer><key>PayloadIdentifier</key><string>{identifier}.wifi</string>\
         <key>PayloadUUID</key><string>00000000-0000-0000-0001-{uuid:012}</string>\
         <key>SSID_STR</key><string>{ssid}</string></dict></array></dict></plist>"
    )
}

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

async fn events(stage: &Stage, kind: &str) -> i64 {
    stage
        .sql
        .number(&format!("SELECT COUNT(*) FROM event WHERE kind = '{kind}'"))
        .await
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
