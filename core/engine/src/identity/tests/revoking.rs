//! Certificates of others, and revocation across a restored backup.

use pomona_cms::x509::{self, ClientIdentity, Serial, Validity};
use pomona_cms::{Certificate, KeyPair, Name, Signer};

use super::client::device;
use super::*;
use crate::clock::DAY;
use crate::error::Error;

struct Elsewhere {
    key: KeyPair,
    ca: Certificate,
}

impl Elsewhere {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate_p256().unwrap();
        let name = Name::builder().common_name(name).build().unwrap();
        let ca =
            x509::root_ca(&key, &name, Serial::from_random([1; 16]), days(-10, 1_000)).unwrap();
        Self { key, ca }
    }

    fn issuer(&self) -> x509::Issuer<'_> {
        x509::Issuer {
            certificate: &self.ca,
            key: &self.key,
        }
    }

    fn client(&self, validity: Validity) -> Certificate {
        let identity = ClientIdentity {
            subject: &Name::builder().common_name("device").build().unwrap(),
            public_key_der: device(0).key.public_key_der(),
            serial: Serial::from_random([2; 16]),
            validity,
            grant: None,
            extensions: &[],
        };
        x509::client_identity(&self.issuer(), &identity).unwrap()
    }

    fn server(&self) -> Certificate {
        let server = x509::TlsServer {
            subject: &Name::builder().common_name("server").build().unwrap(),
            public_key_der: device(0).key.public_key_der(),
            serial: Serial::from_random([3; 16]),
            validity: days(-1, 10),
            dns: &["a.example"],
            ips: &[],
        };
        x509::tls_server(&self.issuer(), &server).unwrap()
    }

    fn pem(&self) -> String {
        x509::pem::write_certificate(&self.ca)
    }
}

fn days(from: i64, to: i64) -> Validity {
    Validity {
        not_before: START / SECOND + from * 86_400,
        not_after: START / SECOND + to * 86_400,
    }
}

async fn a_certificate_of_a_named_authority_counts_while_it_lasts(site: Site) {
    let (known, unknown) = (Elsewhere::new("known"), Elsewhere::new("unknown"));
    let leaf = known.client(days(-1, 10));
    let judge = async |der: &[u8]| foreign(&site.store, site.tenant, der).await.unwrap();
    assert!(judge(leaf.der()).await.is_none(), "nobody named it yet");

    let policy = ExternalPolicy::Listed(PermittedDevices {
        udids: vec!["ab-1".into(), "device".into()],
        serials: vec!["C02X".into()],
    });
    let add = async |pem: &str, policy| {
        add_external(
            &site.store,
            site.tenant,
            Actor::SYSTEM,
            "Old server",
            pem,
            policy,
        )
        .await
    };
    let ca = add(&known.pem(), policy.clone()).await.unwrap();
    assert!(matches!(
        add(&known.pem(), policy.clone()).await,
        Err(Error::Conflict(_))
    ));
    let two = format!("{}{}", known.pem(), unknown.pem());
    for bad in ["", "text", &two, &x509::pem::write_certificate(&leaf)] {
        assert!(matches!(
            add(bad, policy.clone()).await,
            Err(Error::Invalid(_))
        ));
    }

    let found = judge(leaf.der()).await.unwrap();
    assert_eq!(found.ca_id, ca);
    assert_eq!(found.fingerprint, leaf.fingerprint());
    assert_eq!(found.not_after, (START / SECOND + 10 * 86_400) * SECOND);
    // The list says who may come; only the certificate's own name says whose it is.
    assert_eq!(found.admits("DEVICE", None), Some(true));
    assert_eq!(found.admits("AB-1", None), Some(false));
    assert_eq!(found.admits("other", Some("C02X")), Some(false));
    assert_eq!(found.admits("other", Some("other")), None);

    assert!(
        judge(unknown.client(days(-1, 10)).der()).await.is_none(),
        "another authority"
    );
    assert!(
        judge(known.client(days(1, 10)).der()).await.is_none(),
        "not yet valid"
    );
    assert!(
        judge(known.client(days(-2, -1)).der()).await.is_none(),
        "expired"
    );
    assert!(judge(known.server().der()).await.is_none(), "a server's");
    assert!(
        judge(known.ca.der()).await.is_none(),
        "the authority itself"
    );
    assert!(judge(b"nothing").await.is_none());
    let other = site.bare_tenant("other", "Other").await;
    assert!(
        foreign(&site.store, other, leaf.der())
            .await
            .unwrap()
            .is_none()
    );

    retire_external(&site.store, site.tenant, Actor::SYSTEM, ca)
        .await
        .unwrap();
    assert!(judge(leaf.der()).await.is_none(), "retired");
    let again = retire_external(&site.store, site.tenant, Actor::SYSTEM, ca).await;
    assert!(matches!(again, Err(Error::NotFound(_))));
}

async fn the_journal_and_the_database_agree_after_reconciling(site: Site) {
    let in_journal = site
        .enroll_by(&site.grant().await, device(0), "t1")
        .await
        .certificate();
    let in_database = site
        .enroll_by(&site.grant().await, device(1), "t2")
        .await
        .certificate();
    let untouched = site
        .enroll_by(&site.grant().await, device(2), "t3")
        .await
        .certificate();
    let revocation = Revocation {
        tenant: site.tenant,
        fingerprint: in_journal.fingerprint(),
        at: START,
        reason: "checked_out".into(),
    };
    site.journal.append(&[revocation]).await.unwrap();
    let of_database = [(site.tenant, in_database.fingerprint())];
    site.store
        .revoke_fingerprints(&of_database, START, "removed")
        .await
        .unwrap();

    let journal = Journal::open(&site.folder.path().join("revoked")).unwrap();
    assert_eq!(reconcile(&site.store, &journal).await.unwrap(), 1);
    assert_eq!(reconcile(&site.store, &journal).await.unwrap(), 0);
    for (certificate, revoked) in [
        (&in_journal, true),
        (&in_database, true),
        (&untouched, false),
    ] {
        assert_eq!(
            journal.contains(site.tenant, &certificate.fingerprint()),
            revoked
        );
        let mut tx = site.store.begin_read().await.unwrap();
        let row = crate::store::identity::certificate_by_fingerprint(
            &mut tx,
            site.tenant,
            certificate.fingerprint(),
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(row.state == 4, revoked);
    }
}

#[tokio::test]
async fn an_authority_is_made_once_and_its_key_is_sealed() {
    let site = Site::new().await;
    let again = create_authority(&site.store, site.tenant, "Again").await;
    assert!(matches!(again, Err(Error::Conflict(_))));
    let missing = create_authority(&site.store, TenantId(uuid::Uuid::nil()), "x").await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    let shown = list_authorities(&site.store, site.tenant).await.unwrap();
    assert_eq!(shown.len(), 2);
    let issuing = shown
        .iter()
        .find(|one| one.kind == AuthorityKind::Issuing)
        .unwrap();
    let folder = site.folder.path();
    std::fs::write(folder.join("ca.pem"), &issuing.certificate_pem).unwrap();
    let text = openssl(folder, &["x509", "-in", "ca.pem", "-noout", "-text"]);
    for expected in [
        "CA:TRUE, pathlen:0",
        "Digital Signature, Key Encipherment, Certificate Sign",
        "Public-Key: (2048 bit)",
        "Orchard <School>",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(issuing.not_after.0 > START + 4 * 365 * DAY);
    let bytes = std::fs::read(folder.join("db")).unwrap();
    let wal = std::fs::read(folder.join("db-wal")).unwrap_or_default();
    // The object identifier of RSA stands in every unsealed key right after its version.
    let unsealed = b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    for file in [bytes, wal] {
        assert!(
            !file
                .windows(unsealed.len())
                .any(|window| window == unsealed)
        );
    }
}

on_both_engines! {
    a_certificate_of_a_named_authority_counts_while_it_lasts,
    the_journal_and_the_database_agree_after_reconciling,
}
