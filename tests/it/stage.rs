//! A running server with a fleet, for tests of plugins.
//!
//! Owns: the server of one test, its files, the verbs of the command line, and waiting for what must come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pomona_simulator::{Fleet, FleetOptions, Misbehaviour, Platform};
use pomona_tests::{Lab, pomona_binary};
use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) binary: PathBuf,
    pub(crate) files: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn open(settings: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        Self::open_with(pomona_binary().unwrap(), files, settings).await
    }

    /// With this program for the server; verbs are said with the usual one.
    pub(crate) async fn open_with(
        server: PathBuf,
        files: tempfile::TempDir,
        settings: &[(&str, &str)],
    ) -> Self {
        let dir = files.path().join("server");
        let lab = Lab::open(&server, &dir, None, settings, true)
            .await
            .unwrap();
        let binary = pomona_binary().unwrap();
        Self { lab, binary, files }
    }

    pub(crate) async fn good(&self, arguments: &[&str]) -> String {
        let (good, said) = self.lab.verb(&self.binary, arguments).await.unwrap();
        assert!(good, "{arguments:?}: {said}");
        said
    }

    pub(crate) async fn bad(&self, arguments: &[&str]) -> String {
        let (good, said) = self.lab.verb(&self.binary, arguments).await.unwrap();
        assert!(!good, "{arguments:?}: {said}");
        said
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub(crate) async fn fleet(&self, devices: usize) -> Fleet {
        self.fleet_of(devices, |_| {}).await
    }

    /// A fleet of iPhones that do no mischief, but for what is said.
    pub(crate) async fn fleet_of(&self, devices: usize, tune: impl Fn(&mut FleetOptions)) -> Fleet {
        let mut options = self.lab.fleet_options(devices).await.unwrap();
        options.mix = vec![(Platform::IPhone, 1)];
        options.users = 0;
        options.misbehaviour = Misbehaviour::none();
        tune(&mut options);
        let fleet = Fleet::start(options, Some(self.lab.apns.clone())).unwrap();
        assert_eq!(fleet.settled().await, 0);
        fleet
    }

    /// What a verb says as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let said = self.good(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Asks a verb until its answer is as wanted.
    pub(crate) async fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        // The server is another process: its state can only be asked for.
        let mut pause = tokio::time::interval(Duration::from_millis(200));
        let begun = std::time::Instant::now();
        loop {
            pause.tick().await;
            let answer = self.json(arguments).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{arguments:?}: it did not come: {answer:#}"
            );
        }
    }

    /// Asks a plugin's address.
    pub(crate) async fn page(
        &self,
        plugin: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        with_token: bool,
    ) -> Page {
        // The paths of the API name the tenant in the same place.
        let tenant = self.lab.tenant.path("x");
        let tenant = tenant.split('/').rev().nth(1).unwrap();
        let address = format!("/plugins/{tenant}/{plugin}/{path}");
        let method = method.parse().unwrap();
        let admin = self.lab.tenant.admin();
        let answer = admin
            .page(method, &address, headers, body, with_token)
            .await;
        let (parts, body) = answer.unwrap().into_parts();
        Page {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(crate) async fn timeline(&self, device: &str) -> Vec<Value> {
        let path = self.lab.tenant.path(&format!("devices/{device}/timeline"));
        self.lab.tenant.admin().list(&path).await.unwrap()
    }

    /// Waits until the timeline of a device holds such an event.
    pub(crate) async fn wait_for(&self, device: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = tokio::time::timeout(PATIENCE, async {
            // The server is another process: its state can only be asked for.
            let mut pause = tokio::time::interval(Duration::from_millis(100));
            loop {
                pause.tick().await;
                if let Some(event) = self.timeline(device).await.into_iter().find(&wanted) {
                    return event;
                }
            }
        });
        match found.await {
            Ok(event) => event,
            Err(_) => panic!("it did not come: {:#?}", self.timeline(device).await),
        }
    }
}

/// What a plugin's address answered.
pub(crate) struct Page {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn of(kind: &'static str, request_type: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == kind && event["body"]["request_type"] == request_type
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
