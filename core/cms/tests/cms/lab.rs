//! A small PKI for the tests, and the OpenSSL command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pomona_cms::x509::{
    Certificate, ClientIdentity, Issuer, Name, Serial, TlsServer, Validity, client_identity,
    issuing_ca, root_ca, self_signed_tls_server,
};
use pomona_cms::{KeyPair, Signer};
use tempfile::TempDir;
use uuid::Uuid;

/// 1 January 2026.
pub(crate) const START: i64 = 1_767_225_600;
pub(crate) const DAY: i64 = 86_400;
pub(crate) const YEAR: i64 = 365 * DAY;

pub(crate) const GRANT: Uuid = Uuid::from_u128(0x0191_2345_6789_7abc_8def_0123_4567_89ab);

/// A key with its certificate.
pub(crate) struct Party {
    pub(crate) key: KeyPair,
    pub(crate) certificate: Certificate,
}

impl Party {
    pub(crate) fn issuer(&self) -> Issuer<'_> {
        Issuer {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

/// Root, issuing CA and some holders; made once for all tests of a process.
pub(crate) struct Lab {
    pub(crate) root: Party,
    pub(crate) ca: Party,
    pub(crate) rsa: Party,
    pub p256: Party,
    /// Signed by its own RSA key, as a SCEP client's first certificate is.
    pub(crate) own: Party,
    /// A CA that nobody knows.
    pub(crate) stranger: Party,
}

pub(crate) static LAB: LazyLock<Lab> = LazyLock::new(Lab::new);

pub(crate) fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}

pub(crate) fn named(common_name: &str) -> Name {
    Name::builder()
        .organization("Lab")
        .common_name(common_name)
        .build()
        .unwrap()
}

pub(crate) fn years(count: i64) -> Validity {
    Validity {
        not_before: START,
        not_after: START + count * YEAR,
    }
}

impl Lab {
    fn new() -> Self {
        let root_key = KeyPair::generate_p256().unwrap();
        let root = Party {
            certificate: root_ca(&root_key, &named("Root"), serial(1), years(20)).unwrap(),
            key: root_key,
        };
        let ca_key = KeyPair::generate_rsa_2048().unwrap();
        let ca = Party {
            certificate: issuing_ca(
                &root.issuer(),
                &named("Issuing"),
                ca_key.public_key_der(),
                serial(2),
                years(10),
            )
            .unwrap(),
            key: ca_key,
        };
        let rsa = identity(
            &ca,
            KeyPair::generate_rsa_2048().unwrap(),
            "rsa",
            3,
            years(1),
        );
        let p256 = identity(&ca, KeyPair::generate_p256().unwrap(), "p256", 4, years(1));
        let own = self_signed(KeyPair::generate_rsa_2048().unwrap(), "device", 5);
        let stranger_key = KeyPair::generate_p256().unwrap();
        let stranger = Party {
            certificate: root_ca(&stranger_key, &named("Root"), serial(6), years(20)).unwrap(),
            key: stranger_key,
        };
        Self {
            root,
            ca,
            rsa,
            p256,
            own,
            stranger,
        }
    }
}

pub(crate) fn identity(
    ca: &Party,
    key: KeyPair,
    name: &str,
    number: u8,
    validity: Validity,
) -> Party {
    let certificate = client_identity(
        &ca.issuer(),
        &ClientIdentity {
            subject: &named(name),
            public_key_der: key.public_key_der(),
            serial: serial(number),
            validity,
            grant: Some(GRANT),
            extensions: &[],
        },
    )
    .unwrap();
    Party { key, certificate }
}

pub(crate) fn self_signed(key: KeyPair, name: &str, number: u8) -> Party {
    let certificate = self_signed_tls_server(
        &key,
        &TlsServer {
            subject: &named(name),
            public_key_der: key.public_key_der(),
            serial: serial(number),
            validity: years(1),
            dns: &["device.example"],
            ips: &[],
        },
    )
    .unwrap();
    Party { key, certificate }
}

/// The shortest of five runs, so that a busy machine does not fail a bound on time.
pub(crate) fn fastest(work: impl Fn()) -> Duration {
    let run = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..5).map(|_| run()).min().unwrap_or_default()
}

/// A folder to run OpenSSL in.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Writes a party as `NAME.pem` and `NAME.key`.
    pub(crate) fn party(&self, name: &str, party: &Party) {
        use pomona_cms::x509::pem;
        self.write(
            &format!("{name}.pem"),
            pem::write_certificate(&party.certificate),
        );
        self.write(
            &format!("{name}.key"),
            pem::write_private_key(&party.key).as_bytes(),
        );
    }

    /// Runs OpenSSL here; the arguments are separated by spaces. Returns its output, or the error text.
    pub(crate) fn try_openssl(&self, arguments: &str) -> Result<Vec<u8>, String> {
        let output = run_in(self.dir.path(), arguments);
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub(crate) fn openssl(&self, arguments: &str) -> Vec<u8> {
        self.try_openssl(arguments)
            .unwrap_or_else(|error| panic!("openssl {arguments}: {error}"))
    }
}

fn run_in(dir: &Path, arguments: &str) -> std::process::Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("these tests need the openssl command line; install the package 'openssl'")
}
