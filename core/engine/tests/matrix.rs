//! Nobody acts for anybody else: every certificate with the identifiers of every other, in every type of message.
//!
//! Owns: the table of whose is whose and of what each may send, written by hand and not asked of the engine. A pair that is
//! not in it is refused, with 403, without a word, and with no row changed anywhere.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]
#![allow(
    unreachable_pub,
    reason = "the parts of one test see each other, nobody else does"
)]

mod support;

#[path = "matrix/cast.rs"]
mod cast;
#[path = "corpus/signing.rs"]
mod signing;
#[path = "corpus/snapshot.rs"]
mod snapshot;
#[path = "matrix/threats.rs"]
mod threats;

use cast::{Cast, Holder, MESSAGES, Names, canary, message};
use pomona_engine::TenantId;
use snapshot::{BESIDE, MOVING, STATE};
use support::{Backend, backends};

/// How a certificate stands to the identifiers in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Enrolled,
    Quarantined,
    Pending,
    /// Not used yet, and its grant names this device.
    Named,
    /// Not used yet, and its grant names nobody: it may begin with any device, which harms none that is enrolled.
    Unbound,
    MacUser,
    SharedUser,
    Stranger,
}

/// Certificate, identifiers, and how they stand to each other. Whatever is not here is a stranger.
const OWN: [(&str, &str, Stands); 31] = [
    ("alpha", "alpha", Stands::Enrolled),
    ("beta", "beta", Stands::Enrolled),
    ("twin", "twin", Stands::Enrolled),
    ("mac", "mac", Stands::Enrolled),
    ("mac", "mac user", Stands::MacUser),
    ("shared", "shared", Stands::Enrolled),
    ("shared", "shared user", Stands::SharedUser),
    ("again, new", "again", Stands::Enrolled),
    ("renew, old", "renew", Stands::Enrolled),
    ("renew, new", "renew", Stands::Enrolled),
    ("beta, quarantined", "beta", Stands::Quarantined),
    ("pending", "pending", Stands::Pending),
    ("external", "external", Stands::Enrolled),
    ("named", "named", Stands::Named),
    ("unseen", "unseen", Stands::Named),
    // Its authority's list has this device too, but the certificate does not name it.
    ("unseen", "external", Stands::Unbound),
    ("unused", "alpha", Stands::Unbound),
    ("unused", "beta", Stands::Unbound),
    ("unused", "mac", Stands::Unbound),
    ("unused", "shared", Stands::Unbound),
    ("unused", "again", Stands::Unbound),
    ("unused", "renew", Stands::Unbound),
    ("unused", "left", Stands::Unbound),
    ("unused", "pending", Stands::Unbound),
    ("unused", "named", Stands::Unbound),
    ("unused", "external", Stands::Unbound),
    ("unused", "unseen", Stands::Unbound),
    // The old certificates, and that of the device that left, own nothing any more.
    ("again, old", "again", Stands::Stranger),
    ("left", "left", Stands::Stranger),
    ("alpha", "twin", Stands::Stranger),
    ("twin", "alpha", Stands::Stranger),
];

/// The answers, in the order of `MESSAGES`. 400: nobody hands out tokens of services here; 410: users are declined.
#[rustfmt::skip]
fn rules(stands: Stands) -> [u16; 12] {
    match stands {
        // Auth Token Out  User SetB GetB GetT DM   RTS  Idle Ack  NotNow
        Stands::Enrolled | Stands::Quarantined =>
            [200, 200, 200, 403, 200, 200, 400, 200, 200, 200, 200, 200],
        Stands::Pending =>
            [200, 200, 200, 403, 403, 403, 403, 403, 403, 200, 200, 200],
        Stands::Named | Stands::Unbound =>
            [200, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403],
        Stands::MacUser =>
            [403, 200, 403, 410, 403, 403, 400, 200, 403, 200, 200, 200],
        Stands::SharedUser =>
            [403, 200, 403, 403, 403, 403, 400, 200, 403, 200, 200, 200],
        Stands::Stranger => [403; 12],
    }
}

fn stands(holder: &Holder, names: &Names) -> Stands {
    OWN.iter()
        .find(|(certificate, called, _)| *certificate == holder.name && *called == names.name)
        .map_or(Stands::Stranger, |(_, _, stands)| *stands)
}

/// Answers that revoke a certificate, after which the stage is built anew: leaving, the first report of a renewed certificate,
/// and a new beginning of a device whose former one was not complete.
fn revokes(holder: &str, names: &str, kind: &str) -> bool {
    kind == "CheckOut"
        || holder == "renew, new" && ["Idle", "Acknowledged", "NotNow"].contains(&kind)
        || (holder, names, kind) == ("unused", "pending", "Authenticate")
}

#[tokio::test]
async fn a_certificate_acts_for_its_own_device_and_for_no_other() {
    let asked = play(Backend::Sqlite, 1).await;
    assert!(asked >= 2_500, "{asked}");
}

/// PostgreSQL runs the same rules over the same statements: a part of it is enough there.
#[tokio::test]
async fn nor_does_it_on_postgres() {
    if backends().contains(&Backend::Postgres) {
        let asked = play(Backend::Postgres, 7).await;
        assert!(asked >= 350, "{asked}");
    }
}

/// Plays the matrix; of what is refused one in `step`, and what makes the stage be built anew only if that is one.
async fn play(backend: Backend, step: usize) -> usize {
    let mut cast = Cast::new(backend).await;
    let (holders, called) = (cast.holders.len(), cast.names.len());
    assert!(holders >= 12 && called >= 12, "{holders} and {called}");
    let (mut asked, mut accepted) = (0, 0);
    let mut behind = String::new();
    for at in 0..holders * called * MESSAGES.len() {
        let (pair, kind) = (at / MESSAGES.len(), at % MESSAGES.len());
        let holder = cast.holders[pair / called].clone();
        let names = cast.names[pair % called].clone();
        let expected = rules(stands(&holder, &names))[kind];
        let ends = expected == 200 && revokes(holder.name, names.name, MESSAGES[kind]);
        if step > 1 && (ends || expected == 403 && at % step != 0) {
            continue;
        }
        // Refusals leave nothing: it is enough to look once behind a row of them.
        if kind == 0 || expected != 403 {
            unchanged(&cast, &behind).await;
        }
        behind = format!("{} under the certificate of {}", names.name, holder.name);
        let tenants = if holder.tenant == names.tenant {
            vec![names.tenant]
        } else {
            vec![names.tenant, holder.tenant]
        };
        for tenant in tenants {
            if tenant != names.tenant && known_there(&cast, tenant, &names) {
                continue;
            }
            asked += 1;
            probe(&cast, &holder, &names, tenant, MESSAGES[kind], expected).await;
        }
        if expected != 403 {
            accepted += 1;
            match ends {
                true => cast = Cast::new(backend).await,
                false => cast.restore().await,
            }
        }
    }
    unchanged(&cast, &behind).await;
    assert!(accepted >= 100, "{accepted}");
    asked
}

/// The identifiers are also somebody's in that tenant, so that the pair is another one of the matrix.
fn known_there(cast: &Cast, tenant: TenantId, names: &Names) -> bool {
    cast.names
        .iter()
        .any(|one| one.tenant == tenant && one.udid == names.udid && one.user == names.user)
}

/// No row of any table differs from the beginning.
async fn unchanged(cast: &Cast, behind: &str) {
    let all: Vec<&str> = STATE
        .iter()
        .chain(&BESIDE)
        .chain(&MOVING)
        .copied()
        .collect();
    let difference = cast.rows.difference(&cast.read().await, &all);
    assert_eq!(difference, None, "{behind}");
}

async fn probe(
    cast: &Cast,
    holder: &Holder,
    names: &Names,
    tenant: TenantId,
    kind: &str,
    expected: u16,
) {
    let what = format!(
        "{kind} of {} under the certificate of {}",
        names.name, holder.name
    );
    let (check_in, body) = message(kind, names);
    let (status, answer) = cast.send(tenant, &holder.card, check_in, body).await;
    assert_eq!(status, expected, "{what}");
    if expected == 403 {
        assert_eq!(answer, "", "{what}: a refusal says nothing");
        return;
    }
    let after = cast.read().await;
    for one in &cast.names {
        let secret = canary(one.name);
        assert!(
            one.name == names.name || !reveals(&answer, &secret),
            "{what}: tells a secret of {}",
            one.name
        );
    }
    // Whatever changed belongs to the device that was named, or is the certificate that was shown.
    let mut mine = vec![holder.card.id.simple().to_string()];
    mine.extend(names.device.map(|device| device.0.simple().to_string()));
    for table in STATE {
        for row in cast.rows.minus(&after, table) {
            let row = row.to_lowercase().replace('-', "");
            assert!(
                mine.iter().any(|id| row.contains(id.as_str())),
                "{what}: {table} lost {row}"
            );
        }
    }
    if stands(holder, names) == Stands::Unbound && names.name != "pending" {
        // A new beginning takes nothing from those who are there (E3, E4). What is known of a device that has left is
        // told anew.
        let kept: &[&str] = match names.name {
            "left" => &["enrollment", "delivery", "delivery_history"],
            _ => &["enrollment", "delivery", "delivery_history", "device"],
        };
        for table in kept {
            let lost = cast.rows.minus(&after, table);
            assert_eq!(lost, Vec::<&String>::new(), "{what}");
        }
    }
}

/// Whether an answer holds a text as it is or in base64, at any of its three places.
fn reveals(answer: &str, secret: &str) -> bool {
    use base64::Engine as _;
    let encoded = |skip: usize| {
        let bytes = [&[0; 2][..skip], secret.as_bytes()].concat();
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
        text[4..text.len() - 4].to_owned()
    };
    answer.contains(secret) || (0..3).any(|skip| answer.contains(&encoded(skip)))
}

#[tokio::test]
async fn the_secrets_that_the_matrix_looks_for_are_really_told_to_their_owner() {
    let cast = Cast::new(Backend::Sqlite).await;
    for (holder, names) in [
        ("alpha", "alpha"),
        ("mac", "mac user"),
        ("shared", "shared user"),
    ] {
        let holder = cast.holder(holder).clone();
        let names = cast.names.iter().find(|one| one.name == names).unwrap();
        let (check_in, body) = message("Idle", names);
        let (_, answer) = cast.send(names.tenant, &holder.card, check_in, body).await;
        assert!(reveals(&answer, &canary(names.name)), "{}", names.name);
    }
    let holder = cast.holder("alpha").clone();
    let names = cast.names.iter().find(|one| one.name == "alpha").unwrap();
    let (check_in, body) = message("GetBootstrapToken", names);
    let (_, answer) = cast.send(names.tenant, &holder.card, check_in, body).await;
    assert!(reveals(&answer, &canary("alpha")));
}
