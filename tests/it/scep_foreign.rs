//! Certificates over SCEP for a client that is not ours: strongSwan's `pki`.
//!
//! Owns the proof that a foreign reading of RFC 8894 gets along with ours: a first certificate against a challenge, which
//! the client itself finds trusted; the same challenge refused for another key; the same certificate again for the same
//! key, with each cipher and digest that we announce; and a renewal, signed with the certificate that is to be replaced.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use pomona_tests::{Lab, pomona_binary};
use url::Url;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_gets_a_trusted_certificate_and_a_challenge_is_good_for_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let binary = pomona_binary().unwrap();
    let mut lab = Lab::open(&binary, &folder.path().join("server"), None, &[], false)
        .await
        .unwrap();
    let link = lab.tenant.enrollment_link(3).await.unwrap();
    // Plain HTTP, as behind a proxy: the foreign client brings no trust in our certificate.
    let base = lab.folder().proxy_url().unwrap();
    let profile = profile(&base.join(link.path()).unwrap()).await;
    let scep = base.join(profile.url.path()).unwrap();
    let bench = Bench::new(folder.path(), &scep);
    bench.ok(&[
        "--scepca",
        "--outform",
        "pem",
        "--caout",
        "seen.pem",
        "--url",
        scep.as_str(),
    ]);
    let mut address = scep.clone();
    address.set_query(Some("operation=GetCACert"));
    std::fs::write(bench.path("ca.der"), get(&address).await).unwrap();
    std::fs::write(bench.path("root.der"), &profile.root).unwrap();

    let key = bench.key("device.pem");
    let issued = bench.enroll(&key, &profile, "aes", "sha256");
    assert!(issued.status.success(), "{}", text(&issued));
    assert!(text(&issued).contains("is trusted"), "{}", text(&issued));
    std::fs::write(bench.path("device.der"), &issued.stdout).unwrap();
    let shown = bench.openssl(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        "device.der",
        "-noout",
        "-text",
    ]);
    assert!(shown.contains("TLS Web Client Authentication"), "{shown}");
    assert!(shown.contains("CA:FALSE"), "{shown}");

    let other = bench.key("other.pem");
    let refused = bench.enroll(&other, &profile, "aes", "sha256");
    assert!(
        !refused.status.success(),
        "a spent challenge worked for another key"
    );
    for (cipher, digest) in [("des3", "sha1"), ("aes", "sha384"), ("aes", "sha512")] {
        let again = bench.enroll(&key, &profile, cipher, digest);
        assert!(
            again.status.success(),
            "{cipher} {digest}: {}",
            text(&again)
        );
        assert_eq!(
            again.stdout, issued.stdout,
            "the same key gets the same certificate"
        );
    }

    // The certificate enrolls, and is renewed for a new key while it acts.
    let tenant = lab.tenant.id().await.unwrap();
    let server = base.join(&format!("mdm/{tenant}")).unwrap();
    let old = Wire::new(&server, &issued.stdout);
    old.check_in(&authenticate(&profile.topic)).await;
    old.check_in(&token_update(&profile.topic)).await;
    let device = lab.tenant.devices().await.unwrap().remove(0);
    let renew = lab.tenant.path(&format!("devices/{}/renew", device.id));
    let admin = lab.tenant.admin();
    admin.post(&renew, &serde_json::json!({})).await.unwrap();
    let command = plist::Value::from_reader_xml(&old.report(&idle()).await[..]).unwrap();
    let command = command.as_dictionary().unwrap()["Command"]
        .as_dictionary()
        .unwrap();
    assert_eq!(command["RequestType"].as_string(), Some("InstallProfile"));
    let renewal = read_profile(unsigned(command["Payload"].as_data().unwrap()));
    let fresh = bench.key("fresh.pem");
    let renewed = bench.renew(&fresh, &renewal, "device.der", &key);
    assert!(renewed.status.success(), "{}", text(&renewed));
    assert_ne!(renewed.stdout, issued.stdout);
    let new = Wire::new(&server, &renewed.stdout);
    new.check_in(&authenticate(&profile.topic)).await;
    new.check_in(&token_update(&profile.topic)).await;
    new.report(&idle()).await;
    assert_eq!(
        old.status(&idle()).await,
        403,
        "the old certificate is over"
    );
    lab.stop().await.unwrap();
}

const UDID: &str = "5FDB5E0C-5C8A-4E8F-9C38-1A3B6C0D7E11";

fn message(keys: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict><key>UDID</key><string>{UDID}</string>{keys}</dict></plist>"
    )
}

fn authenticate(topic: &str) -> String {
    message(&format!(
        "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>{topic}</string><key>SerialNumber</key><string>F0REIGN1</string><key>ProductName</key><string>iPad13,18</string><key>OSVersion</key><string>27.0</string>"
    ))
}

fn token_update(topic: &str) -> String {
    message(&format!(
        "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>{topic}</string><key>PushMagic</key><string>M</string><key>Token</key><data>AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=</data>"
    ))
}

fn idle() -> String {
    message("<key>Status</key><string>Idle</string>")
}

/// The device's side, behind a proxy that tells its certificate (RFC 9440).
struct Wire {
    server: Url,
    header: String,
}

impl Wire {
    fn new(server: &Url, certificate: &[u8]) -> Self {
        let certificate = STANDARD.encode(certificate);
        Self {
            server: server.clone(),
            header: format!(":{certificate}:"),
        }
    }

    async fn put(&self, kind: &str, body: &str) -> Response<Incoming> {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let request = Request::put(self.server.as_str())
            .header("client-cert", &self.header)
            .header("content-type", kind)
            .body(Full::from(body.to_owned()))
            .unwrap();
        client.request(request).await.unwrap()
    }

    async fn check_in(&self, body: &str) {
        let answer = self
            .put("application/x-apple-aspen-mdm-checkin", body)
            .await;
        assert_eq!(answer.status(), 200, "{body}");
    }

    async fn report(&self, body: &str) -> Bytes {
        let answer = self.put("application/x-apple-aspen-mdm", body).await;
        assert_eq!(answer.status(), 200, "{body}");
        answer.into_body().collect().await.unwrap().to_bytes()
    }

    async fn status(&self, body: &str) -> u16 {
        self.put("application/x-apple-aspen-mdm", body)
            .await
            .status()
            .as_u16()
    }
}

/// The property list inside a signed profile.
fn unsigned(signed: &[u8]) -> &[u8] {
    let find = |needle: &[u8]| signed.windows(needle.len()).position(|part| part == needle);
    let (from, to) = (find(b"<?xml").unwrap(), find(b"</plist>").unwrap());
    &signed[from..to + b"</plist>".len()]
}

/// What the client needs of the profile.
struct Profile {
    url: Url,
    subject: String,
    challenge: String,
    topic: String,
    root: Vec<u8>,
}

async fn send(request: Request<Full<Bytes>>) -> Bytes {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes()
}

async fn get(address: &Url) -> Bytes {
    send(
        Request::get(address.as_str())
            .body(Full::default())
            .unwrap(),
    )
    .await
}

async fn profile(link: &Url) -> Profile {
    let mut address = link.clone();
    address.set_query(Some("plain=1"));
    let body = send(
        Request::post(address.as_str())
            .body(Full::default())
            .unwrap(),
    )
    .await;
    read_profile(&body)
}

fn read_profile(text: &[u8]) -> Profile {
    let profile = plist::Value::from_reader_xml(text).unwrap();
    let payloads = profile.as_dictionary().unwrap()["PayloadContent"]
        .as_array()
        .unwrap()
        .clone();
    let scep = payloads
        .iter()
        .filter_map(plist::Value::as_dictionary)
        .find(|payload| payload["PayloadType"].as_string() == Some("com.apple.security.scep"))
        .unwrap()["PayloadContent"]
        .as_dictionary()
        .unwrap()
        .clone();
    let root = payloads
        .iter()
        .filter_map(plist::Value::as_dictionary)
        .find(|payload| payload["PayloadType"].as_string() == Some("com.apple.security.root"))
        .unwrap()["PayloadContent"]
        .as_data()
        .unwrap()
        .to_vec();
    let topic = payloads
        .iter()
        .filter_map(plist::Value::as_dictionary)
        .find(|payload| payload["PayloadType"].as_string() == Some("com.apple.mdm"))
        .unwrap()["Topic"]
        .as_string()
        .unwrap()
        .to_owned();
    let word = |key: &str| scep[key].as_string().unwrap().to_owned();
    let subject = scep["Subject"].as_array().unwrap()[0].as_array().unwrap()[0]
        .as_array()
        .unwrap()[1]
        .as_string()
        .unwrap()
        .to_owned();
    Profile {
        url: word("URL").parse().unwrap(),
        subject,
        challenge: word("Challenge"),
        topic,
        root,
    }
}

/// The foreign tool and its files.
struct Bench {
    dir: PathBuf,
    url: Url,
}

impl Bench {
    fn new(dir: &Path, url: &Url) -> Self {
        Self {
            dir: dir.to_owned(),
            url: url.clone(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(&self.dir)
            .output()
            .unwrap_or_else(|error| {
                panic!("{program} is needed ({error}); Debian has it in strongswan-pki and openssl")
            })
    }

    fn ok(&self, arguments: &[&str]) {
        let output = self.run("pki", arguments);
        assert!(output.status.success(), "{}", text(&output));
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let output = self.run("openssl", arguments);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn key(&self, name: &str) -> String {
        self.openssl(&["genrsa", "-traditional", "-out", name, "2048"]);
        name.to_owned()
    }

    fn renew(&self, key: &str, profile: &Profile, old: &str, old_key: &str) -> Output {
        self.scep(key, profile, &["--cert", old, "--key", old_key])
    }

    fn enroll(&self, key: &str, profile: &Profile, cipher: &str, digest: &str) -> Output {
        self.scep(key, profile, &["--cipher", cipher, "--digest", digest])
    }

    fn scep(&self, key: &str, profile: &Profile, further: &[&str]) -> Output {
        let subject = format!("CN={}", profile.subject);
        let mut arguments = vec![
            "--scep",
            "--url",
            self.url.as_str(),
            "--in",
            key,
            "--dn",
            &subject,
            "--password",
            &profile.challenge,
            "--cacert-enc",
            "ca.der",
            "--cacert-sig",
            "ca.der",
            "--cacert",
            "root.der",
        ];
        arguments.extend(further);
        self.run("pki", &arguments)
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
}
