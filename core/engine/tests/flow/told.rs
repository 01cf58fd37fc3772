//! What devices tell of themselves, and that commands are judged by it: when they are queued, and again when the device has become another.

use axum::http::StatusCode;
use pomona_engine::{Actor, Cause, CommandBody, Enqueue, Enqueued, EnrollmentId};
use serde_json::{Value, json};

use super::support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";

fn body(request_type: &str, keys: &[(&str, plist::Value)]) -> CommandBody {
    let mut dictionary = dictionary(request_type);
    for (key, value) in keys {
        dictionary.insert((*key).into(), value.clone());
    }
    CommandBody::Dictionary(dictionary)
}

fn queries(names: &[&str]) -> plist::Value {
    plist::Value::Array(names.iter().map(|name| (*name).into()).collect())
}

async fn enqueue(stage: &Stage, request: Enqueue) -> Enqueued {
    let cause = Cause::default();
    let done = stage
        .engine
        .enqueue(stage.tenant, Actor::SYSTEM, cause, request)
        .await;
    done.unwrap()
}

async fn queue(stage: &Stage, body: CommandBody, channel: EnrollmentId) -> String {
    let done = enqueue(stage, Enqueue::new(body, vec![channel])).await;
    assert!(done.targets[0].accepted, "{done:?}");
    done.command_uuid
}

fn lost_mode() -> CommandBody {
    body("EnableLostMode", &[("Message", "Call the school".into())])
}

/// Answers the command that is waiting, and gives what the device is handed then.
async fn tell(stage: &Stage, card: &Card, uuid: &str, keys: &str) -> Option<String> {
    let report = message(&format!(
        "<key>Status</key><string>Acknowledged</string><key>UDID</key><string>{A}</string>\
         <key>CommandUUID</key><string>{uuid}</string>{keys}"
    ));
    let (status, body) = stage.send(card, false, report).await;
    assert_eq!(status, StatusCode::OK);
    command_uuid(&body)
}

fn device(keys: &str) -> String {
    format!("<key>QueryResponses</key><dict>{keys}</dict>")
}

async fn poll(stage: &Stage, card: &Card) -> Option<String> {
    let (status, body) = stage.send(card, false, idle(A)).await;
    assert_eq!(status, StatusCode::OK);
    command_uuid(&body)
}

async fn sections(stage: &Stage) -> Vec<(String, Value)> {
    let texts = stage
        .sql
        .texts("SELECT section || ' ' || value FROM observation ORDER BY section")
        .await;
    let split = |text: String| {
        let (section, value) = text.split_once(' ').unwrap();
        (section.to_owned(), serde_json::from_str(value).unwrap())
    };
    texts.into_iter().map(split).collect()
}

async fn told_events(stage: &Stage) -> Vec<Value> {
    let texts = stage
        .sql
        .texts("SELECT body FROM event WHERE kind = 'device_told' ORDER BY seq")
        .await;
    let read = |text: String| serde_json::from_str(&text).unwrap();
    texts.into_iter().map(read).collect()
}

const SUPERVISED: &str = "<key>IsSupervised</key><true/>";
const UNSUPERVISED: &str = "<key>IsSupervised</key><false/>";

#[tokio::test]
async fn a_device_that_is_known_not_to_be_supervised_is_not_sent_what_needs_it() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, channel) = stage.enroll(A).await;
        // Nobody has asked yet: it goes, with a word on what to ask.
        let done = enqueue(&stage, Enqueue::new(lost_mode(), vec![channel])).await;
        assert!(done.targets[0].accepted, "{done:?}");
        assert_eq!(done.preflight[0].verdict, "unknown");
        assert_eq!(poll(&stage, &card).await, Some(done.command_uuid.clone()));
        assert_eq!(tell(&stage, &card, &done.command_uuid, "").await, None);

        let asked = body(
            "DeviceInformation",
            &[("Queries", queries(&["IsSupervised"]))],
        );
        let asked = queue(&stage, asked, channel).await;
        assert_eq!(poll(&stage, &card).await, Some(asked.clone()));
        assert_eq!(
            tell(&stage, &card, &asked, &device(UNSUPERVISED)).await,
            None
        );
        let done = enqueue(&stage, Enqueue::new(lost_mode(), vec![channel])).await;
        let refused = &done.targets[0];
        assert!(!refused.accepted);
        let reason = refused.reason.as_deref().unwrap();
        assert!(
            reason.contains("needs a supervised device; this one is not"),
            "{reason}"
        );
        assert!(reason.contains("instead: DeviceLock"), "{reason}");
        assert_eq!(done.preflight[0].verdict, "refused");
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 0);
        let events = stage
            .sql
            .number("SELECT count(*) FROM event WHERE kind = 'command_refused'")
            .await;
        assert_eq!(events, 1, "the timeline tells it");

        // By force it goes, and is not taken back at the sending.
        let mut request = Enqueue::new(lost_mode(), vec![channel]);
        request.force = true;
        let done = enqueue(&stage, request).await;
        assert!(done.targets[0].accepted, "{done:?}");
        stage
            .sql
            .run("UPDATE device SET footing = footing + 1")
            .await;
        assert_eq!(poll(&stage, &card).await, Some(done.command_uuid));
        let audit = stage
            .sql
            .texts("SELECT details FROM audit ORDER BY seq DESC LIMIT 1")
            .await;
        assert!(audit[0].contains("\"forced\":true"), "{audit:?}");
    }
}

#[tokio::test]
async fn a_command_that_waits_is_judged_again_when_the_device_has_become_another() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, channel) = stage.enroll(A).await;
        let ask = || {
            body(
                "DeviceInformation",
                &[("Queries", queries(&["IsSupervised"]))],
            )
        };
        let asked = queue(&stage, ask(), channel).await;
        let lost = queue(&stage, lost_mode(), channel).await;
        let last = queue(&stage, body("ProfileList", &[]), channel).await;
        assert_eq!(poll(&stage, &card).await, Some(asked.clone()));
        // The very answer that tells it is followed by what it still takes.
        let next = tell(&stage, &card, &asked, &device(UNSUPERVISED)).await;
        assert_eq!(next, Some(last.clone()), "the one between is taken out");
        assert_eq!(tell(&stage, &card, &last, "").await, None);
        let ended = stage
            .sql
            .texts(&format!(
                "SELECT reason FROM delivery_history WHERE command_uuid = '{lost}' AND disposition = 4"
            ))
            .await;
        assert_eq!(ended.len(), 1);
        assert!(ended[0].contains("needs a supervised device"), "{ended:?}");

        // What it becomes able to do goes: judged again, and allowed.
        let asked = queue(&stage, ask(), channel).await;
        let waits = queue(&stage, body("ProfileList", &[]), channel).await;
        assert_eq!(poll(&stage, &card).await, Some(asked.clone()));
        let next = tell(&stage, &card, &asked, &device(SUPERVISED)).await;
        assert_eq!(next, Some(waits.clone()));
        let lost = queue(&stage, lost_mode(), channel).await;
        assert_eq!(tell(&stage, &card, &waits, "").await, Some(lost));
    }
}

#[tokio::test]
async fn a_device_that_says_only_later_what_it_is_is_judged_from_then_on() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, channel) = stage.enroll(A).await;
        stage.sql.run("UPDATE device SET product_name = NULL").await;
        let names = queries(&["ProductName"]);
        let asked = queue(
            &stage,
            body("DeviceInformation", &[("Queries", names)]),
            channel,
        )
        .await;
        let done = enqueue(&stage, Enqueue::new(body("UserList", &[]), vec![channel])).await;
        assert!(done.targets[0].accepted && done.preflight.is_empty());
        assert_eq!(poll(&stage, &card).await, Some(asked.clone()));
        let phone = "<key>ProductName</key><string>iPhone16,1</string>";
        assert_eq!(tell(&stage, &card, &asked, &device(phone)).await, None);
        let ended = stage
            .sql
            .texts("SELECT reason FROM delivery_history WHERE request_type = 'UserList'")
            .await;
        assert!(ended[0].contains("Shared iPad"), "{ended:?}");
    }
}

#[tokio::test]
async fn what_is_told_is_kept_and_only_what_is_new_is_an_event() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, channel) = stage.enroll(A).await;
        let ask = |names: &[&str]| body("DeviceInformation", &[("Queries", queries(names))]);
        for (names, keys, events) in [
            (
                &["OSVersion", "BatteryLevel"][..],
                "<key>OSVersion</key><string>26.0</string><key>BatteryLevel</key><real>0.5</real>",
                1,
            ),
            // The same again, and what changes all the time, is no news.
            (
                &["OSVersion", "BatteryLevel"],
                "<key>OSVersion</key><string>26.0</string><key>BatteryLevel</key><real>0.4</real>",
                1,
            ),
            (
                &["DeviceName"],
                "<key>DeviceName</key><string>Trolley 3</string>",
                2,
            ),
        ] {
            let asked = queue(&stage, ask(names), channel).await;
            assert_eq!(poll(&stage, &card).await, Some(asked.clone()));
            tell(&stage, &card, &asked, &device(keys)).await;
            assert_eq!(told_events(&stage).await.len(), events, "{keys}");
        }
        let kept = json!({"OSVersion": "26.0", "BatteryLevel": 0.4, "DeviceName": "Trolley 3"});
        assert_eq!(sections(&stage).await, [("device".to_owned(), kept)]);
        let described = stage
            .sql
            .texts("SELECT os_version || ' ' || device_name FROM device")
            .await;
        assert_eq!(described, ["26.0 Trolley 3"]);
        let told = told_events(&stage).await.pop().unwrap();
        assert_eq!(
            told["changes"],
            json!([{"key": "DeviceName", "after": "Trolley 3"}])
        );

        // A list is kept whole, a selection of it not at all.
        let apps = "<key>InstalledApplicationList</key><array><dict><key>Identifier</key><string>a.b</string></dict></array>";
        let all = queue(&stage, body("InstalledApplicationList", &[]), channel).await;
        let managed = [("ManagedAppsOnly", plist::Value::Boolean(true))];
        let some = queue(&stage, body("InstalledApplicationList", &managed), channel).await;
        assert_eq!(poll(&stage, &card).await, Some(all.clone()));
        assert_eq!(tell(&stage, &card, &all, apps).await, Some(some.clone()));
        let none = "<key>InstalledApplicationList</key><array/>";
        tell(&stage, &card, &some, none).await;
        let kept = sections(&stage).await;
        assert_eq!(kept[0], ("apps".to_owned(), json!([{"Identifier": "a.b"}])));

        // An answer to something else, and one that fails, tell nothing.
        let other = queue(&stage, body("ProfileList", &[]), channel).await;
        assert_eq!(poll(&stage, &card).await, Some(other.clone()));
        tell(
            &stage,
            &card,
            &other,
            &device("<key>OSVersion</key><string>9</string>"),
        )
        .await;
        assert_eq!(sections(&stage).await, kept);

        // Who enrolls anew is asked anew.
        stage.sql.run("UPDATE device SET marks = 3").await;
        stage
            .send(&card, true, simple_check_in("CheckOut", A))
            .await;
        stage.enroll(A).await;
        assert_eq!(sections(&stage).await, []);
        assert_eq!(stage.sql.number("SELECT marks FROM device").await, 0);
    }
}
