//! Certificates over SCEP for a client that is not ours: strongSwan's `pki`.
//!
//! Owns the proof that a foreign reading of RFC 8894 gets along with ours: a first certificate against a challenge, which
//! the client itself finds trusted; the same challenge refused for another key; the same certificate again for the same
//! key, with each cipher and digest that we announce.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
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
    lab.stop().await.unwrap();
}

/// What the client needs of the profile.
struct Profile {
    url: Url,
    subject: String,
    challenge: String,
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
    let profile = plist::Value::from_reader_xml(&body[..]).unwrap();
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

    fn enroll(&self, key: &str, profile: &Profile, cipher: &str, digest: &str) -> Output {
        let subject = format!("CN={}", profile.subject);
        self.run(
            "pki",
            &[
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
                "--cipher",
                cipher,
                "--digest",
                digest,
            ],
        )
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
}
