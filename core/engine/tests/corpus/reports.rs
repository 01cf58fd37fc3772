//! Command reports that are not as they should be (section 4.2).
//!
//! Owns: how each case of the table is made. Where a case is about a command, it has a device of its own. Over 500 lines: a
//! few for each case.

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_cms::oid;
use pomona_engine::EnrollmentId;

use crate::signing::{LAB, Message, Party, attribute, signature, tlv};
use crate::support::{Card, answer, authenticate, idle, simple_check_in, token_update};
use crate::world::{
    CHECK_IN, Door, REPORT, Run, Score, Shot, World, check_in, data, report, table, text,
};

const DAY: i64 = 86_400_000_000;

struct Cast {
    world: World,
    udid: String,
    card: Card,
}

#[tokio::test]
async fn every_bad_report_gets_its_answer() {
    let mut cast = Cast::new().await;
    let mut score = Score::new("4.2");
    for line in table("4.2") {
        let run = Box::pin(cast.play(line.name)).await;
        score.add(&line, cast.world.judge(&line, run).await);
    }
    score.finish(75);
}

impl Cast {
    async fn new() -> Self {
        let world = World::new().await;
        let (udid, card, _) = world.device().await;
        Self { udid, card, world }
    }

    async fn play(&mut self, name: &str) -> Run {
        if let Some(body) = self.body(name) {
            return self.world.fire(vec![self.shot(body)]).await;
        }
        if let Some(inner) = inventory(name) {
            return self.outcome("Acknowledged", &inner).await;
        }
        if let Some(shots) = self.signed(name) {
            return self.world.fire(shots).await;
        }
        match self.commands(name).await {
            Some(run) => run,
            None => self.others(name).await,
        }
    }

    fn shot(&self, body: impl Into<Vec<u8>>) -> Shot {
        self.world.shot(&self.card, REPORT, body)
    }

    /// The outcome of a command that was sent to a device of its own.
    async fn outcome(&self, status: &str, inner: &str) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let uuid = world
            .sent("DeviceInformation", &udid, &card, enrollment)
            .await;
        let body = report(status, &udid, &(text("CommandUUID", &uuid) + inner));
        world.fire(vec![world.shot(&card, REPORT, body)]).await
    }

    /// A first report is sent in advance, then the case's.
    async fn after(&self, first: &str, then: &str) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let uuid = world
            .sent("DeviceInformation", &udid, &card, enrollment)
            .await;
        let shot = |status| world.shot(&card, REPORT, answer(&udid, status, &uuid));
        world.pass(&shot(first), 200).await;
        world.fire(vec![shot(then)]).await
    }

    /// Bodies that nobody can take, under the certificate of an enrolled device.
    fn body(&self, name: &str) -> Option<Vec<u8>> {
        let udid = &self.udid;
        let with =
            |inner: &str| report("Acknowledged", udid, &(text("CommandUUID", "C-1") + inner));
        let chain = |count: usize, entry: &str| {
            with(&format!(
                "<key>ErrorChain</key><array>{}</array>",
                entry.repeat(count)
            ))
        };
        let applications = |count: usize| {
            let one = "<dict><key>Name</key><string>a</string><key>Identifier</key><string>b</string></dict>";
            with(&format!(
                "<key>InstalledApplicationList</key><array>{}</array>",
                one.repeat(count)
            ))
        };
        Some(match name {
            "no Status" => crate::world::dict(&(text("UDID", udid) + &text("CommandUUID", "C-1"))),
            "Status an integer" => crate::world::dict(
                &("<key>Status</key><integer>1</integer>".to_owned() + &text("UDID", udid)),
            ),
            "Status acknowledged in lower case" => {
                report("acknowledged", udid, &text("CommandUUID", "C-1"))
            }
            "Status Done" => report("Done", udid, &text("CommandUUID", "C-1")),
            "Acknowledged without CommandUUID" => report("Acknowledged", udid, ""),
            "empty CommandUUID" => report("Acknowledged", udid, &text("CommandUUID", "")),
            "ErrorChain a dict" => with("<key>ErrorChain</key><dict/>"),
            "QueryResponses an array" => with("<key>QueryResponses</key><array/>"),
            "UUID never issued" => with(""),
            "NotNow for a UUID never issued" => report("NotNow", udid, &text("CommandUUID", "C-2")),
            "Idle with a stray CommandUUID" => report("Idle", udid, &text("CommandUUID", "C-1")),
            "17 MiB body" => with(&format!(
                "<key>A</key><data>{}</data>",
                "AAAA".repeat(17 << 18)
            )),
            "a million applications" => applications(1_000_000),
            "60,000 applications" => applications(60_000),
            "chain of 10,001 entries" => chain(10_001, "<dict/>"),
            "chain of 100,000 entries" => chain(
                100_000,
                "<dict><key>ErrorCode</key><integer>1</integer><key>ErrorDomain</key><string>D</string></dict>",
            ),
            "1 MiB description" => chain(
                1,
                &format!(
                    "<dict>{}</dict>",
                    text("LocalizedDescription", &"x".repeat(1 << 20))
                ),
            ),
            "bundle id of 1 MiB" => with(&text("Identifier", &"b".repeat(1 << 20))),
            "depth 10,000" => with(&format!(
                "<key>A</key>{}{}",
                "<array>".repeat(10_000),
                "</array>".repeat(10_000)
            )),
            "binary plist" => b"bplist00\xd0\x08".to_vec(),
            "UserID on a device without users" => report("Idle", udid, &text("UserID", "U-9")),
            _ => return None,
        })
    }

    /// Cases about commands and their outcomes.
    async fn commands(&mut self, name: &str) -> Option<Run> {
        let world = &self.world;
        Some(match name {
            "UUID of another device" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world
                    .sent("DeviceInformation", &udid, &card, enrollment)
                    .await;
                world
                    .fire(vec![self.shot(answer(&self.udid, "Acknowledged", &uuid))])
                    .await
            }
            "UUID of another tenant" => {
                let (udid, card, enrollment) = self.device_of_another_tenant().await;
                let uuid = world
                    .queue_in(world.other, "DeviceInformation", enrollment, None)
                    .await;
                let shot = world.shot_in(world.other, &card, REPORT, idle(&udid));
                assert!(!world.pass(&shot, 200).await.is_empty());
                world
                    .fire(vec![self.shot(answer(&self.udid, "Acknowledged", &uuid))])
                    .await
            }
            "UUID of an older generation" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world
                    .sent("DeviceInformation", &udid, &card, enrollment)
                    .await;
                let new = world.stage.card("link", Some(&udid), None).await;
                for body in [authenticate(&udid), token_update(&udid, "03")] {
                    world.pass(&world.shot(&new, CHECK_IN, body), 200).await;
                }
                world
                    .pass(&world.shot(&new, REPORT, idle(&udid)), 200)
                    .await;
                let body = answer(&udid, "Acknowledged", &uuid);
                world.fire(vec![world.shot(&new, REPORT, body)]).await
            }
            "UUID queued but not sent" => {
                let (udid, card, enrollment) = world.device().await;
                let later = world.stage.now() + 30 * DAY;
                let uuid = world
                    .queue_at("DeviceInformation", enrollment, Some(later))
                    .await;
                let body = answer(&udid, "Acknowledged", &uuid);
                world.fire(vec![world.shot(&card, REPORT, body)]).await
            }
            "device-channel report for a user's command"
            | "user-channel report for the device's" => self.other_channel(name).await,
            "UUID in another case" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world
                    .sent("DeviceInformation", &udid, &card, enrollment)
                    .await;
                // The outstanding command would be offered again in the answer.
                let shot =
                    |uuid: &str| world.shot(&card, REPORT, answer(&udid, "Acknowledged", uuid));
                world.pass(&shot(&uuid), 200).await;
                let other = if uuid == uuid.to_uppercase() {
                    uuid.to_lowercase()
                } else {
                    uuid.to_uppercase()
                };
                world.fire(vec![shot(&other)]).await
            }
            "RequestType that differs from the command" => {
                self.outcome("Acknowledged", &text("RequestType", "EraseDevice"))
                    .await
            }
            "same terminal report again" => self.after("Acknowledged", "Acknowledged").await,
            "Acknowledged then Error" => self.after("Acknowledged", "Error").await,
            "Acknowledged then NotNow" => self.after("Acknowledged", "NotNow").await,
            "Error then Acknowledged" => self.after("Error", "Acknowledged").await,
            "FormatError then Acknowledged" => {
                self.after("CommandFormatError", "Acknowledged").await
            }
            "NotNow twice" => self.after("NotNow", "NotNow").await,
            "two identical reports at once" => self.at_once(["Acknowledged", "Acknowledged"]).await,
            "same UUID on two connections with different status" => {
                let run = self.at_once(["Acknowledged", "Error"]).await;
                assert_eq!(
                    run.after
                        .minus(&run.before, "event")
                        .iter()
                        .filter(|row| row.contains("report_conflict"))
                        .count(),
                    1
                );
                run
            }
            "replay a day later" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world
                    .sent("DeviceInformation", &udid, &card, enrollment)
                    .await;
                let shot = world.shot(&card, REPORT, answer(&udid, "Acknowledged", &uuid));
                world.pass(&shot, 200).await;
                world.stage.clock.advance(DAY);
                world.fire(vec![shot]).await
            }
            "Error without a chain" => self.outcome("Error", "").await,
            "Acknowledged with a chain" => self.outcome("Acknowledged", &chain("not so bad")).await,
            "FormatError" => self.outcome("CommandFormatError", "").await,
            "script text in an error string" => {
                self.outcome("Error", &chain("&lt;script&gt;alert(1)&lt;/script&gt;"))
                    .await
            }
            "escape codes in an error string" => {
                self.outcome("Error", &chain("\u{1b}[2J\u{1b}]0;x\u{7}"))
                    .await
            }
            "NotNow for erase" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world.sent("EraseDevice", &udid, &card, enrollment).await;
                world
                    .fire(vec![world.shot(
                        &card,
                        REPORT,
                        answer(&udid, "NotNow", &uuid),
                    )])
                    .await
            }
            "NotNow many times in one session" => self.not_now_for_ever().await,
            "outcome after the expiry" => self.late().await,
            "report after a server restart" => {
                let (udid, card, enrollment) = world.device().await;
                let uuid = world
                    .sent("DeviceInformation", &udid, &card, enrollment)
                    .await;
                self.world.restart().await;
                let world = &self.world;
                world
                    .fire(vec![world.shot(
                        &card,
                        REPORT,
                        answer(&udid, "Acknowledged", &uuid),
                    )])
                    .await
            }
            _ => return None,
        })
    }

    async fn device_of_another_tenant(&self) -> (String, Card, EnrollmentId) {
        let world = &self.world;
        let udid = world.fresh_udid();
        let card = world.stage.card_in(world.other, "link", None, None).await;
        for body in [authenticate(&udid), token_update(&udid, "01")] {
            let shot = world.shot_in(world.other, &card, CHECK_IN, body);
            world.pass(&shot, 200).await;
        }
        let enrollment = world.stage.enabled(&udid).await;
        (udid, card, enrollment)
    }

    async fn other_channel(&self, name: &str) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let user = text("UserID", "U-1");
        let tokens = format!("{user}{}{}", data("Token", b"t"), text("PushMagic", "m"));
        world
            .pass(
                &world.shot(&card, CHECK_IN, check_in("TokenUpdate", &udid, &tokens)),
                200,
            )
            .await;
        let (to, mine, theirs) = match name {
            "user-channel report for the device's" => (enrollment, String::new(), user),
            _ => (self.user_enrollment(&udid).await, user, String::new()),
        };
        let uuid = world.queue("DeviceInformation", to).await;
        let idle = world.shot(&card, REPORT, report("Idle", &udid, &mine));
        assert!(!world.pass(&idle, 200).await.is_empty());
        let body = report(
            "Acknowledged",
            &udid,
            &(text("CommandUUID", &uuid) + &theirs),
        );
        world.fire(vec![world.shot(&card, REPORT, body)]).await
    }

    async fn user_enrollment(&self, udid: &str) -> EnrollmentId {
        let sql = format!(
            "SELECT e.id FROM enrollment e JOIN device d ON d.id = e.device_id
             WHERE d.ident = '{udid}' AND e.channel = 1"
        );
        let crate::support::Sql::Sqlite(pool) = &self.world.stage.sql else {
            panic!("this section plays on SQLite");
        };
        EnrollmentId(
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(pool)
                .await
                .unwrap(),
        )
    }

    async fn at_once(&self, statuses: [&str; 2]) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let uuid = world
            .sent("DeviceInformation", &udid, &card, enrollment)
            .await;
        let shots = statuses
            .map(|status| world.shot(&card, REPORT, answer(&udid, status, &uuid)))
            .to_vec();
        let run = world.together(shots).await;
        assert_eq!(
            run.after.minus(&run.before, "delivery_history").len(),
            1,
            "one outcome"
        );
        run
    }

    /// Two commands, and a device that never has time.
    async fn not_now_for_ever(&self) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let first = world
            .sent("DeviceInformation", &udid, &card, enrollment)
            .await;
        let second = world.queue("SecurityInfo", enrollment).await;
        let shot = |uuid: &str| world.shot(&card, REPORT, answer(&udid, "NotNow", uuid));
        let offered = world.pass(&shot(&first), 200).await;
        assert!(String::from_utf8_lossy(&offered).contains(&second));
        assert!(
            world.pass(&shot(&second), 200).await.is_empty(),
            "each is offered once"
        );
        let shots = (0..2_000)
            .map(|n| shot(if n % 2 == 0 { &first } else { &second }))
            .collect();
        let run = world.fire(shots).await;
        assert!(
            run.bodies.iter().all(Vec::is_empty),
            "and then there is nothing"
        );
        run
    }

    async fn late(&self) -> Run {
        let world = &self.world;
        let (udid, card, enrollment) = world.device().await;
        let command = crate::support::dictionary("DeviceInformation");
        let mut request = pomona_engine::Enqueue::new(
            pomona_engine::CommandBody::Dictionary(command),
            vec![enrollment],
        );
        request.not_after = Some(world.stage.now() + DAY);
        let engine = &world.stage.engine;
        let uuid = engine
            .enqueue(
                world.stage.tenant,
                pomona_engine::Actor::SYSTEM,
                Default::default(),
                request,
            )
            .await
            .unwrap()
            .command_uuid;
        let shot = |body: String| world.shot(&card, REPORT, body);
        world.pass(&shot(idle(&udid)), 200).await;
        world.stage.clock.advance(2 * DAY);
        assert!(
            world.pass(&shot(idle(&udid)), 200).await.is_empty(),
            "it has expired"
        );
        world
            .fire(vec![shot(answer(&udid, "Acknowledged", &uuid))])
            .await
    }

    /// Cases about who sends.
    async fn others(&self, name: &str) -> Run {
        let world = &self.world;
        let shot = match name {
            "10,000 query parameters" => {
                let mut shot = self.shot(idle(&self.udid));
                shot.uri = format!("{}?a{}", shot.uri, "&a".repeat(9_999));
                shot
            }
            "body UDID of another device" => {
                let (udid, _, _) = world.device().await;
                self.shot(idle(&udid))
            }
            "UserID of another user" => {
                let (udid, card, _) = world.device().await;
                let tokens = format!(
                    "{}{}{}",
                    text("UserID", "U-1"),
                    data("Token", b"t"),
                    text("PushMagic", "m")
                );
                world
                    .pass(
                        &world.shot(&card, CHECK_IN, check_in("TokenUpdate", &udid, &tokens)),
                        200,
                    )
                    .await;
                world.shot(&card, REPORT, report("Idle", &udid, &text("UserID", "U-2")))
            }
            "report of a pending enrollment" => {
                let card = world.stage.card("link", None, None).await;
                let udid = world.fresh_udid();
                world
                    .pass(&world.shot(&card, CHECK_IN, authenticate(&udid)), 200)
                    .await;
                world.shot(&card, REPORT, idle(&udid))
            }
            "report of a checked-out enrollment" => {
                let (udid, card, _) = world.device().await;
                world
                    .pass(
                        &world.shot(&card, CHECK_IN, simple_check_in("CheckOut", &udid)),
                        200,
                    )
                    .await;
                world.shot(&card, REPORT, idle(&udid))
            }
            "report under an unused certificate" => {
                let card = world.stage.card("link", None, None).await;
                world.shot(&card, REPORT, idle("UNUSED-1"))
            }
            "certificate header from an untrusted peer" => {
                self.shot(idle(&self.udid)).from([127, 0, 0, 2])
            }
            "certificate header twice" => {
                let mut shot = self.shot(idle(&self.udid));
                shot.headers.extend(
                    shot.headers
                        .clone()
                        .into_iter()
                        .filter(|(name, _)| *name == "client-cert"),
                );
                shot
            }
            "POST" => self.shot(idle(&self.udid)).method(Method::POST),
            "signature of the TLS certificate" => {
                let (udid, card, _) = self.signing_device(&LAB.p256).await;
                let mut shot = signed_shot(world, &LAB.p256, idle(&udid).into_bytes());
                shot.tls = Some(card.der);
                shot
            }
            "signing time two days old" => {
                let (udid, _, _) = self.signing_device(&LAB.other).await;
                let body = idle(&udid).into_bytes();
                let mut message = Message::new(&LAB.other.certificate, &body);
                let old = attribute(oid::SIGNING_TIME, &[tlv(0x17, &[b"251230000000Z"])]);
                message.signer().attributes.as_mut().unwrap().push(old);
                let signature = message.encode(&body, &LAB.other.key);
                with_signature(world, body, &signature)
            }
            "blanks in the base64" | "line breaks in the base64" => {
                let party = if name.starts_with("blanks") {
                    &LAB.rsa
                } else {
                    &LAB.spare
                };
                let (udid, _, _) = self.signing_device(party).await;
                let body = idle(&udid).into_bytes();
                let text = STANDARD.encode(signature(party, &body));
                let gap: &[u8] = if name.starts_with("blanks") {
                    b" "
                } else {
                    b"\t "
                };
                let wrapped: Vec<u8> = text.as_bytes().chunks(76).collect::<Vec<_>>().join(gap);
                with_signature(world, body, b"").header("mdm-signature", wrapped)
            }
            other => panic!("the table names a case that nobody makes: {other}"),
        };
        world.fire(vec![shot]).await
    }

    /// Cases about signatures that need no enrollment of their own.
    fn signed(&self, name: &str) -> Option<Vec<Shot>> {
        let world = &self.world;
        let body = idle(&self.udid).into_bytes();
        let by = |party: &Party, signed: &[u8]| {
            with_signature(world, body.clone(), &signature(party, signed))
        };
        Some(vec![match name {
            "signature missing where required" => {
                let mut shot = by(&LAB.stranger, &body);
                shot.headers.retain(|(name, _)| *name != "mdm-signature");
                shot
            }
            "signature over another body" => by(&LAB.stranger, b"another body"),
            "signer from another CA" => by(&LAB.stranger, &body),
            "signer unlike the TLS certificate" => Shot {
                tls: Some(self.card.der.clone()),
                ..by(&LAB.stranger, &body)
            },
            "signature and Client-Cert of another" => {
                let signature = STANDARD.encode(signature(&LAB.stranger, &body));
                self.shot(body.clone()).header("mdm-signature", signature)
            }
            "signature header twice" => {
                let mut shot = by(&LAB.stranger, &body);
                shot.headers.extend(
                    shot.headers
                        .clone()
                        .into_iter()
                        .filter(|(name, _)| *name == "mdm-signature"),
                );
                shot
            }
            "64 KiB signature header" => {
                by(&LAB.stranger, &body).header("mdm-signature", "A".repeat((64 << 10) + 4))
            }
            _ => return None,
        }])
    }

    /// A device whose certificate is this party's.
    async fn signing_device(&self, party: &Party) -> (String, Card, EnrollmentId) {
        signing_device(&self.world, party).await
    }
}

/// Enrolls a device with a real certificate, through the signature header alone.
pub async fn signing_device(world: &World, party: &Party) -> (String, Card, EnrollmentId) {
    let udid = world.fresh_udid();
    let card = real_card(world, world.stage.tenant, party.certificate.der()).await;
    for body in [authenticate(&udid), token_update(&udid, "01")] {
        let shot = signed_shot(world, party, body.into_bytes()).header("content-type", CHECK_IN);
        world.pass(&shot, 200).await;
    }
    let first = signed_shot(world, party, idle(&udid).into_bytes());
    world.pass(&first, 200).await;
    let enrollment = world.stage.enabled(&udid).await;
    (udid, card, enrollment)
}

/// Makes a real certificate known, as if it had just been issued.
pub async fn real_card(world: &World, tenant: pomona_engine::TenantId, der: &[u8]) -> Card {
    let stage = &world.stage;
    let mut card = stage.card_in(tenant, "link", None, None).await;
    card.der = der.to_vec();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    stage
        .sql
        .run(&format!(
            "UPDATE certificate SET der = x'{}', fingerprint = x'{}' WHERE id = {}",
            hex::encode(der),
            hex::encode(hash),
            stage.sql.id(card.id)
        ))
        .await;
    card
}

/// A report with its signature, on the listener where TLS ends.
pub fn signed_shot(world: &World, party: &Party, body: Vec<u8>) -> Shot {
    let signature = signature(party, &body);
    with_signature(world, body, &signature)
}

pub fn with_signature(world: &World, body: Vec<u8>, signature: &[u8]) -> Shot {
    Shot::to(Door::Tls, format!("/mdm/{}", world.stage.tenant), body)
        .header("content-type", REPORT)
        .header("mdm-signature", STANDARD.encode(signature))
}

fn chain(description: &str) -> String {
    format!(
        "<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>12</integer>{}{}</dict></array>",
        text("ErrorDomain", "MCMDMErrorDomain"),
        text("LocalizedDescription", description)
    )
}

/// Answers of devices that hold something odd.
fn inventory(name: &str) -> Option<String> {
    let answers = |inner: &str| format!("<key>QueryResponses</key><dict>{inner}</dict>");
    let app = "<dict><key>Identifier</key><string>a.b</string></dict>";
    Some(match name {
        "unknown extra keys" => "<key>New</key><array><dict/></array>".into(),
        "integer sent as string in inventory" => answers(&text("AvailableDeviceCapacity", "211")),
        "boolean sent as integer" => answers("<key>IsSupervised</key><integer>1</integer>"),
        "date in year 9999" => {
            answers("<key>LastCloudBackupDate</key><date>9999-12-31T23:59:59Z</date>")
        }
        "SerialNumber unlike the enrollment's" => answers(&text("SerialNumber", "ANOTHER")),
        "duplicate applications" => {
            format!("<key>InstalledApplicationList</key><array>{app}{app}</array>")
        }
        "negative sizes" => answers("<key>DeviceCapacity</key><real>-5</real>"),
        "certificate list with garbage DER" => {
            format!(
                "<key>CertificateList</key><array><dict>{}</dict></array>",
                data("Data", &[0xDE, 0xAD])
            )
        }
        "certificate with 10,000 names" => {
            let names = tlv(0x82, &[b"a.example"]).repeat(10_000);
            format!(
                "<key>CertificateList</key><array><dict>{}</dict></array>",
                data("Data", &tlv(0x30, &[&names]))
            )
        }
        "recovery key that is not CMS" => {
            format!(
                "<key>SecurityInfo</key><dict>{}</dict>",
                data("FDE_PersonalRecoveryKeyCMS", b"not CMS")
            )
        }
        "recovery key encrypted to another key" => {
            let sealed = pomona_cms::enveloped::encrypt(
                b"AAAA-BBBB",
                &LAB.rsa.certificate,
                pomona_cms::ContentCipher::Aes256,
            );
            format!(
                "<key>SecurityInfo</key><dict>{}</dict>",
                data("FDE_PersonalRecoveryKeyCMS", &sealed.unwrap())
            )
        }
        "date before 1970" => {
            answers("<key>LastCloudBackupDate</key><date>1901-01-01T00:00:00Z</date>")
        }
        _ => return None,
    })
}
