//! An administrator at the API, and a device that keeps profiles.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use pomona_engine::http::admin_router;
use pomona_engine::{Actor, EnrollmentId, TenantId, admin};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::*;

/// An administrator at the API.
pub(super) struct Desk {
    router: Router,
    token: String,
    base: String,
}

impl Desk {
    pub(super) async fn open(stage: &Stage) -> Self {
        Self::of(stage, stage.tenant).await
    }

    pub(super) async fn of(stage: &Stage, tenant: TenantId) -> Self {
        let store = stage.engine.store();
        let person = admin::create_principal(store, Actor::SYSTEM, Some(tenant), "Erin")
            .await
            .unwrap();
        let scopes = admin::Scopes::parse(&["*"]).unwrap();
        let made = admin::create_first_token(store, &person, "t", scopes)
            .await
            .unwrap();
        Self {
            router: admin_router(stage.engine.clone(), CancellationToken::new()),
            token: made.1.expose().to_owned(),
            base: format!("/api/v1/tenants/{tenant}"),
        }
    }

    pub(super) async fn call(
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

    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self
            .call("POST", path, "application/json", body.to_string().into())
            .await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, "application/json", Vec::new()).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    pub(super) async fn upload(&self, bytes: &str) -> Value {
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
    pub(super) async fn states(&self, profile: &str) -> Vec<(String, String)> {
        let list = self.get(&format!("profiles/{profile}/devices")).await;
        let items = list["items"].as_array().unwrap().iter();
        let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        items
            .map(|one| (word(one, "state"), word(one, "reason")))
            .collect()
    }
}

/// A device that keeps profiles as a list of identifiers and UUIDs.
pub(super) struct Phone {
    pub(super) card: Card,
    udid: &'static str,
    pub(super) channel: EnrollmentId,
    pub(super) has: Vec<(String, String)>,
    /// `InstallProfile`s that it was given, as the bytes of their payloads.
    pub(super) given: Vec<Vec<u8>>,
    pub(super) fails: bool,
}

impl Phone {
    pub(super) async fn enroll(stage: &Stage, udid: &'static str) -> Self {
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
    pub(super) async fn connect(&mut self, stage: &Stage) -> Vec<String> {
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
pub(super) async fn look_after(stage: &Stage) {
    stage.clock.advance(1_000);
    while stage.engine.keep_up().await.unwrap() > 0 {
        stage.clock.advance(1_000);
    }
}

/// Looks after and connects until nothing happens any more; says what the device was told.
pub(super) async fn settle(stage: &Stage, phone: &mut Phone) -> Vec<String> {
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

pub(super) fn profile(identifier: &str, uuid: u32, ssid: &str) -> String {
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

pub(super) async fn events(stage: &Stage, kind: &str) -> i64 {
    stage
        .sql
        .number(&format!("SELECT COUNT(*) FROM event WHERE kind = '{kind}'"))
        .await
}
