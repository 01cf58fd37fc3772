//! Plugins that ask the outside: with a secret that they never see, through a client that goes where it may, and again when the other side
//! is down.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pomona_tests::guest;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::stage::{Stage, shown};

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    target: String,
    authorization: String,
    body: Value,
}

/// A service outside, over TLS on this machine, that answers by a script.
struct Desk {
    address: SocketAddr,
    authority: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    async fn open(
        answer: impl Fn(usize, &Arrived) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let authority = made.cert.pem();
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (arrived.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service =
                        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                            let (seen, answer) = (seen.clone(), answer.clone());
                            async move {
                                let (parts, body) = request.into_parts();
                                let body = body.collect().await?.to_bytes();
                                let header = parts.headers.get("authorization");
                                let arrived = Arrived {
                                    target: parts.uri.to_string(),
                                    authorization: header
                                        .map_or("", |value| value.to_str().unwrap())
                                        .to_owned(),
                                    body: serde_json::from_slice(&body).unwrap_or_default(),
                                };
                                let number = {
                                    let mut seen = seen.lock().unwrap();
                                    seen.push(arrived.clone());
                                    seen.len()
                                };
                                let (status, body) = answer(number, &arrived);
                                let mut response =
                                    hyper::Response::new(Full::new(Bytes::from(body.to_string())));
                                *response.status_mut() = status.try_into().unwrap();
                                anyhow::Ok(response)
                            }
                        });
                    // A client that goes away is nobody's fault.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            authority,
            arrived,
            task,
        }
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

/// The package with another manifest.
pub(crate) fn rewritten(package: &Path, change: impl Fn(&str) -> String) -> Vec<u8> {
    rewritten_file(package, "plugin.toml", change)
}

/// The package with another content of one of its files.
pub(crate) fn rewritten_file(
    package: &Path,
    file: &str,
    change: impl Fn(&str) -> String,
) -> Vec<u8> {
    let bytes = std::fs::read(package).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut out = tar::Builder::new(Vec::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if name == file {
            content = change(&String::from_utf8(content).unwrap()).into_bytes();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, &name, content.as_slice())
            .unwrap();
    }
    out.into_inner().unwrap()
}

/// Opens a server that believes the desk, and installs the example `name` for the desk's address.
async fn stage_for(desk: &Desk, name: &str, host: &str) -> Stage {
    let package = guest(name).unwrap();
    let authority = std::env::temp_dir().join(format!("pomona-desk-{}.pem", desk.address.port()));
    std::fs::write(&authority, &desk.authority).unwrap();
    let stage = Stage::open(&[
        ("--plugins-allow-unsigned", "true"),
        ("--plugins-ca-file", &shown(&authority)),
    ])
    .await;
    std::fs::remove_file(&authority).unwrap();
    let origin = desk.origin();
    let own = rewritten(&package, |toml| {
        toml.replace(&format!("\"{host}\""), &format!("\"{origin}\""))
            .replace("[capabilities.http]", "[capabilities.http]\nprivate = true")
    });
    let path = stage.files.path().join("own.pomona");
    std::fs::write(&path, own).unwrap();
    stage.good(&["plugin", "install", &shown(&path)]).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_becomes_a_ticket_with_a_secret_that_the_plugin_never_sees() {
    const BRIDGE: &str = "org.pomona.ticket-bridge";
    const RULES: &str = "org.pomona.compliance-hook";
    // The first answer is that it is down.
    let desk = Desk::open(|number, _| match number {
        1 => (503, json!("later")),
        _ => (201, json!({ "ticket": number })),
    })
    .await;
    let mut stage = stage_for(&desk, "ticket-bridge", "https://desk.example.org").await;
    let url = format!("{}/tickets", desk.origin());
    let settings = json!({ "url": url, "severities": ["medium"] }).to_string();
    let settings = stage.file("bridge.json", &settings);
    stage
        .good(&["plugin", "enable", BRIDGE, "--settings", &settings])
        .await;
    let secret = stage.file("secret", "Bearer hush-hush\n");
    let set = [
        "plugin",
        "secret",
        "set",
        BRIDGE,
        "desk-token",
        "--file",
        &secret,
    ];
    // Bound to another host, it does not go to this one.
    stage
        .good(&[&set[..], &["--host", "elsewhere.example.org"]].concat())
        .await;
    let rules = shown(&guest("compliance-hook").unwrap());
    stage.good(&["plugin", "install", &rules]).await;
    let strict = stage.file("strict.json", r#"{"minimum_os": "99.0"}"#);
    stage
        .good(&["plugin", "enable", RULES, "--settings", &strict])
        .await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let failed = |list: &Value, part: &str| {
        let all = list.as_array().unwrap();
        let bridge = all.iter().find(|one| one["id"] == BRIDGE).unwrap();
        let why = bridge["last_failure"].as_str().unwrap_or_default();
        why.contains(part)
    };
    let list = ["plugin", "list"];
    stage
        .until(&list, |list| {
            failed(list, "https://elsewhere.example.org only")
        })
        .await;
    assert!(desk.arrived().is_empty());
    stage
        .good(&[&set[..], &["--host", "localhost"]].concat())
        .await;

    // The events come again by themselves; what is down is asked again, and one ticket comes of it.
    let ticket = |event: &Value| event["kind"] == "emitted" && event["body"]["by"] == BRIDGE;
    let emitted = stage.wait_for(&device, ticket).await;
    assert_eq!(emitted["body"]["body"]["rule"], "os-current", "{emitted:#}");
    let arrived = desk.arrived();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    assert!(
        arrived
            .iter()
            .all(|one| one.authorization == "Bearer hush-hush")
    );
    assert_eq!(arrived[0].target, "/tickets");
    assert_eq!(arrived[1].body["device"], device);
    assert_eq!(
        arrived[0].body["key"], arrived[1].body["key"],
        "the same ticket"
    );

    // Without the operator's right to private networks it is refused by name.
    let narrow = json!({ "secrets": ["desk-token"], "http": { "hosts": [desk.origin()], "methods": ["POST"] } });
    let narrow = stage.file("narrow.json", narrow.to_string());
    stage
        .good(&["plugin", "grant", BRIDGE, "--rights", &narrow])
        .await;
    let refused = stage
        .bad(&["plugin", "rehearse", BRIDGE, "--device", &device])
        .await;
    assert!(refused.contains("capabilities.http.private"), "{refused}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_read_page_by_page_and_a_rehearsal_reads_it_without_a_change() {
    const ROSTER: &str = "org.pomona.roster-sync";
    let rows: Arc<Mutex<Vec<Value>>> = Arc::default();
    let given = rows.clone();
    let desk = Desk::open(move |_, asked| {
        let rows = given.lock().unwrap().clone();
        let (row, next) = match asked.target.split_once("cursor=") {
            None => (rows.first().cloned(), rows.get(1).map(|_| "1")),
            Some(_) => (rows.get(1).cloned(), None),
        };
        let devices: Vec<Value> = row.into_iter().collect();
        (200, json!({ "devices": devices, "next": next }))
    })
    .await;
    let mut stage = stage_for(&desk, "roster-sync", "https://roster.example.org").await;
    let fleet = stage.fleet(2).await;
    let listed = stage.json(&["device", "list"]).await;
    let serial = |n: usize| listed[n]["serial_number"].as_str().unwrap().to_owned();
    *rows.lock().unwrap() = vec![
        json!({ "serial": serial(0), "class": "7a" }),
        json!({ "serial": serial(1), "class": "8b" }),
    ];
    let settings = json!({ "url": format!("{}/v1/devices", desk.origin()) });
    let settings = stage.file("roster.json", settings.to_string());
    stage
        .good(&["plugin", "enable", ROSTER, "--settings", &settings])
        .await;
    // Its first run fails: nobody has set the secret.
    let jobs = ["plugin", "jobs"];
    let failed = stage
        .until(&jobs, |jobs| jobs[0]["attempts"].as_i64() >= Some(1))
        .await;
    assert_eq!(failed[0]["steps"], 0, "{failed:#}");
    let secret = stage.file("secret", "Bearer roster\n");
    stage
        .good(&[
            "plugin",
            "secret",
            "set",
            ROSTER,
            "roster-token",
            "--host",
            "localhost",
            "--file",
            &secret,
        ])
        .await;
    let rehearsed = stage
        .json(&["plugin", "rehearse", ROSTER, "--job", "sync"])
        .await;
    assert_eq!(
        rehearsed[0]["effect"]["set-fact"]["value"], "7a",
        "{rehearsed:#}"
    );
    let done = stage
        .until(&jobs, |jobs| jobs[0]["steps"].as_i64() >= Some(2))
        .await;
    assert_eq!(done[0]["attempts"], 0, "{done:#}");
    for (n, class) in ["7a", "8b"].iter().enumerate() {
        let id = listed[n]["id"].as_str().unwrap();
        let path = stage.lab.tenant.path(&format!("devices/{id}/facts"));
        let facts = stage.lab.tenant.admin().get(&path).await.unwrap();
        assert_eq!(facts["items"][0]["value"], *class, "{facts:#}");
    }
    let notices = stage.json(&["plugin", "notices"]).await;
    assert_eq!(notices.as_array().unwrap().len(), 1, "{notices:#}");
    assert!(
        desk.arrived()
            .iter()
            .all(|one| one.authorization == "Bearer roster")
    );
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
