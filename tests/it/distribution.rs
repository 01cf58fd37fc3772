//! Plugins on their way from an author to a server: signed, put into a registry that is not ours, fetched by digest,
//! installed, revoked.
//!
//! Owns the proof that a package comes out of Debian's `docker-registry` and out of a folder byte for byte as it went in,
//! and that what was changed there or is revoked does not run.

use std::path::{Path, PathBuf};
use std::process::Command;

use pomona_tests::{Lab, Registry, guest, pomona_binary};
use serde_json::{Value, json};

const WELCOME: &str = "org.pomona.welcome";

fn shown(path: &Path) -> String {
    path.display().to_string()
}

struct Author {
    binary: PathBuf,
    files: tempfile::TempDir,
}

impl Author {
    fn new() -> Self {
        Self {
            binary: pomona_binary().unwrap(),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Runs `pomona plugin …`, which needs no server here.
    fn plugin(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let output = Command::new(&self.binary)
            .arg("plugin")
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.files.path())
            .output()
            .unwrap();
        let said = match output.status.success() {
            true => output.stdout,
            false => output.stderr,
        };
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    fn good(&self, arguments: &[&str]) -> Value {
        let (good, said) = self.plugin(&[arguments, &["--json"]].concat(), &[]);
        assert!(good, "{arguments:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    fn bad(&self, arguments: &[&str]) -> String {
        let (good, said) = self.plugin(arguments, &[]);
        assert!(!good, "{arguments:?}: {said}");
        said
    }

    /// Makes a key: its file and its public half.
    fn key(&self, name: &str) -> (String, String) {
        let file = shown(&self.path(name));
        let told = self.good(&["keygen", &file]);
        (file, told["public_key"].as_str().unwrap().to_owned())
    }

    /// A package of the example, signed by `key`.
    fn package(&self, key: &str) -> String {
        let package = self.path("welcome.pomona");
        std::fs::copy(guest("welcome").unwrap(), &package).unwrap();
        self.good(&["sign", &shown(&package), "--key", key]);
        shown(&package)
    }

    fn password(&self) -> String {
        let file = self.path("password");
        std::fs::write(&file, format!("{}\n", Registry::PASSWORD)).unwrap();
        shown(&file)
    }
}

fn digest_of(reference: &Value) -> &str {
    let (_, digest) = reference.as_str().unwrap().split_once("@sha256:").unwrap();
    digest
}

#[test]
fn a_package_comes_out_of_a_foreign_registry_and_of_a_folder_as_it_went_in() {
    let author = Author::new();
    let registry = Registry::start(&author.path("registry")).unwrap();
    let (key, _) = author.key("publisher.key");
    let package = author.package(&key);
    let bytes = std::fs::read(&package).unwrap();
    let password = author.password();
    let host = registry.host();
    let place = format!("oci://{host}/plugins/welcome");
    let with = |first: &[&str]| -> Value {
        let access = ["--plain-http", "--username", Registry::USER];
        let file = ["--password-file", password.as_str()];
        author.good(&[first, &access, &file].concat())
    };

    let told = author.bad(&["push", &package, &place, "--plain-http"]);
    assert!(told.contains("asks for a user and a password"), "{told}");
    let pushed = with(&["push", &package, &place]);
    let pinned = pushed["reference"].as_str().unwrap();
    assert!(pinned.starts_with(&format!("{place}@sha256:")), "{pinned}");
    // By the tag that is its version, and by digest.
    for reference in [&format!("{place}:0.1.0"), pinned] {
        let out = shown(&author.path("pulled.pomona"));
        let pulled = with(&["pull", reference, "--out", &out]);
        assert_eq!(pulled["reference"], pushed["reference"]);
        assert_eq!(pulled["package_digest"], pushed["package_digest"]);
        assert_eq!(std::fs::read(&out).unwrap(), bytes);
    }
    assert_eq!(with(&["push", &package, &place]), pushed, "the same again");

    let folder = format!("oci:{}:1", shown(&author.path("layout")));
    let copied = author.good(&["push", &package, &folder]);
    assert_eq!(
        digest_of(&copied["reference"]),
        digest_of(&pushed["reference"])
    );
    let pulled = author.good(&["pull", &folder]);
    assert_eq!(pulled["package"], "org.pomona.welcome-0.1.0.pomona");
    let pulled = author.path("org.pomona.welcome-0.1.0.pomona");
    assert_eq!(std::fs::read(pulled).unwrap(), bytes);

    // Credentials in the environment are for the registry that they name.
    let variables = |named: &str| {
        let pull = ["pull", pinned, "--plain-http", "--out", "again.pomona"];
        let named = [
            ("POMONA_REGISTRY", named),
            ("POMONA_REGISTRY_USERNAME", Registry::USER),
            ("POMONA_REGISTRY_PASSWORD", Registry::PASSWORD),
        ];
        author.plugin(&pull, &named)
    };
    let (good, told) = variables(&host);
    assert!(good, "{told}");
    let (good, told) = variables("registry.example");
    assert!(!good && told.contains("asks for a user"), "{told}");

    // TLS is spoken unless it is said otherwise.
    let told = author.bad(&["pull", pinned]);
    assert!(told.contains("cannot reach https://"), "{told}");

    let manifest = std::fs::read(registry.blob(digest_of(&pushed["reference"]))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/wasm");
    let layer = layer["digest"].as_str().unwrap();
    let blob = registry.blob(layer.strip_prefix("sha256:").unwrap());
    let mut component = std::fs::read(&blob).unwrap();
    *component.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &component).unwrap();
    let access = ["--plain-http", "--username", Registry::USER];
    let access = [&access[..], &["--password-file", &password]].concat();
    let told = author.bad(&[&["pull", pinned], &access[..]].concat());
    assert!(told.contains("was changed"), "{told}");
    std::fs::write(&blob, [&component[..], &component[..]].concat()).unwrap();
    let told = author.bad(&[&["pull", pinned], &access[..]].concat());
    assert!(told.contains("more came than"), "{told}");

    std::fs::write(author.path("password"), "guessed").unwrap();
    let told = author.bad(&[&["pull", pinned], &access[..]].concat());
    assert!(told.contains("does not let this user into"), "{told}");
    assert!(!told.contains("guessed"), "{told}");
}

#[test]
fn a_registry_over_tls_is_asked_when_its_authority_is_known() {
    let author = Author::new();
    let own = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = certificate.self_signed(&own).unwrap().pem();
    let registry =
        Registry::start_with_tls(&author.path("registry"), &certificate, &own.serialize_pem())
            .unwrap();
    let (key, _) = author.key("publisher.key");
    let package = author.package(&key);
    let place = format!("oci://{}/plugins/welcome", registry.host());
    let authority = shown(&author.path("registry/certificate.pem"));
    let password = author.password();
    let user = ["--username", Registry::USER, "--password-file", &password];
    let access = [&user[..], &["--ca-file", &authority]].concat();

    let told = author.bad(&[&["push", &package, &place], &user[..]].concat());
    assert!(told.contains("cannot reach https://"), "{told}");
    assert!(told.contains("certificate"), "{told}");
    let pushed = author.good(&[&["push", &package, &place], &access[..]].concat());
    let pinned = pushed["reference"].as_str().unwrap();
    let pulled = author.good(&[&["pull", pinned, "--out", "pulled.pomona"], &access[..]].concat());
    assert_eq!(pulled["package_digest"], pushed["package_digest"]);
    assert_eq!(
        std::fs::read(author.path("pulled.pomona")).unwrap(),
        std::fs::read(&package).unwrap()
    );
}

struct Server {
    lab: Lab,
    binary: PathBuf,
}

impl Server {
    async fn plugin(&self, arguments: &[&str]) -> (bool, String) {
        let arguments = [&["plugin"], arguments].concat();
        self.lab.verb(&self.binary, &arguments).await.unwrap()
    }

    async fn good(&self, arguments: &[&str]) -> Value {
        let (good, said) = self.plugin(&[arguments, &["--json"]].concat()).await;
        assert!(good, "{arguments:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    async fn bad(&self, arguments: &[&str]) -> String {
        let (good, said) = self.plugin(arguments).await;
        assert!(!good, "{arguments:?}: {said}");
        said
    }

    /// The state of the plugin in the tenant, and why.
    async fn state(&self) -> (String, String) {
        let listed = self.good(&["list"]).await;
        let text = |name: &str| listed[0][name].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_takes_a_package_by_digest_and_stops_it_again() {
    let author = Author::new();
    let (publisher, publisher_key) = author.key("publisher.key");
    let (organisation, organisation_key) = author.key("organisation.key");
    let package = author.package(&publisher);
    let folder = shown(&author.path("layout"));
    let settings = [("--plugins-organisation-keys", organisation_key.as_str())];
    let dir = author.path("server");
    let lab = Lab::open(&author.binary, &dir, None, &settings, true)
        .await
        .unwrap();
    let mut server = Server {
        lab,
        binary: author.binary.clone(),
    };

    let refused = server.bad(&["install", &package]).await;
    assert!(refused.contains("plugin countersign"), "{refused}");
    let before = author.good(&["push", &package, &format!("oci:{folder}:theirs")]);
    author.good(&["countersign", &package, "--key", &organisation]);
    let checked = author.good(&["check", &package]);
    assert_eq!(checked["signed_by"], publisher_key);
    assert_eq!(checked["countersigned_by"], organisation_key);
    let ours = format!("oci:{folder}:ours");
    let after = author.good(&["push", &package, &ours]);
    assert_eq!(after["package_digest"], before["package_digest"]);
    assert_ne!(after["reference"], before["reference"]);

    let installed = server.good(&["install", &ours]).await;
    assert_eq!(installed["trust"], "organisation");
    assert_eq!(installed["digest"], after["package_digest"]);
    assert_eq!(installed["source"], after["reference"], "pinned");
    server.good(&["enable", WELCOME]).await;
    assert_eq!(server.state().await.0, "active");
    let digest = installed["digest"].as_str().unwrap();

    for (kind, value) in [
        ("--digest", digest),
        ("--key", publisher_key.as_str()),
        ("--key", &organisation_key.to_uppercase()),
    ] {
        let told = server.bad(&["revoke", kind, value, "--reason", ""]).await;
        assert!(told.contains("say why"), "{told}");
        server
            .good(&["revoke", kind, value, "--reason", "it was found out"])
            .await;
        let (state, reason) = server.state().await;
        assert_eq!(state, "failed");
        assert!(reason.contains("it was found out"), "{reason}");
        for refused in [
            server.bad(&["install", &ours]).await,
            server.bad(&["enable", WELCOME]).await,
        ] {
            assert!(refused.contains("it was found out"), "{refused}");
        }
        let listed = server.good(&["list", "--installed"]).await;
        let shown = listed[0]["revoked"].as_str().unwrap();
        assert!(shown.contains("it was found out"), "{shown}");
        // A server that starts does not run it either.
        if kind == "--digest" {
            server.lab.stop().await.unwrap();
            server.lab.start().await.unwrap();
            assert_eq!(server.state().await.0, "failed");
        }
        let revocations = server.good(&["revocations"]).await;
        assert_eq!(revocations.as_array().unwrap().len(), 1);
        assert_eq!(revocations[0]["value"], value.to_lowercase());
        let (good, said) = server.plugin(&["unrevoke", kind, value]).await;
        assert!(good, "{said}");
        assert_eq!(server.state().await.0, "active");
        let again = server.bad(&["unrevoke", kind, value]).await;
        assert!(again.contains("not found"), "{again}");
    }

    let audit = server
        .lab
        .tenant
        .admin()
        .list("/api/v1/audit")
        .await
        .unwrap();
    let count = |action: &str| audit.iter().filter(|one| one["action"] == action).count();
    assert_eq!((count("plugin.revoke"), count("plugin.unrevoke")), (3, 3));
    let (_, said) = server.plugin(&["list", "--installed"]).await;
    assert!(!said.contains("WARNING"), "{said}");
    server.lab.stop().await.unwrap();

    // A server for development says so whenever plugins are listed.
    server.lab.set("--plugins-organisation-keys", "");
    server.lab.set("--plugins-allow-unsigned", "true");
    server.lab.start().await.unwrap();
    let installed = server.good(&["install", &package]).await;
    assert_eq!(installed["trust"], "unsigned");
    assert_eq!(installed["source"], json!(null));
    for list in [&["list", "--installed"][..], &["list"]] {
        let (good, said) = server.plugin(list).await;
        assert!(good && said.contains("WARNING"), "{said}");
    }
    server.lab.stop().await.unwrap();
}
