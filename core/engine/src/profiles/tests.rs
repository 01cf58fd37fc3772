//! Profiles that are read, filled in, judged and compared.

mod plan;

use std::hash::{Hash, Hasher};

use plist::{Dictionary, Value};
use serde_json::json;

use super::read::{Kind, read};
use super::{build, conflicts, judge, told, variables};
use crate::clock::Micros;
use crate::hooks::{DeviceSnapshot, KnownFact};
use crate::judged;

const UUID: &str = "11111111-2222-3333-4444-555555555555";

fn payload(kind: &str, more: &str) -> String {
    format!(
        "<dict><key>PayloadType</key><string>{kind}</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>org.example.{kind}</string>\
         <key>PayloadUUID</key><string>AAAAAAAA-2222-3333-4444-555555555555</string>{more}</dict>"
    )
}

fn head(keys: &str, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>{keys}<key>PayloadContent</key>{content}</dict></plist>"
    )
}

fn keys() -> String {
    format!(
        "<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>org.example.room</string><key>PayloadUUID</key><string>{UUID}</string>"
    )
}

fn profile(payloads: &str) -> String {
    head(&keys(), &format!("<array>{payloads}</array>"))
}

fn wifi(more: &str) -> String {
    payload("com.apple.wifi.managed", more)
}

fn refused(bytes: &[u8]) -> String {
    read(bytes, false).unwrap_err().to_string()
}

#[test]
fn a_profile_is_read_and_what_may_be_shown_of_it_holds_no_value() {
    let text = profile(&wifi(
        "<key>SSID_STR</key><string>School</string><key>Password</key><string>hunter2</string>\
         <key>PayloadDisplayName</key><string>Wi-Fi</string>",
    ));
    let read = read(text.as_bytes(), false).unwrap();
    assert_eq!(read.kind, Kind::AsItIs);
    assert_eq!(read.identifier, "org.example.room");
    assert!(!read.of_user);
    assert_eq!(read.summary.payload_uuid, UUID);
    assert_eq!(read.summary.payloads.len(), 1);
    assert_eq!(
        read.summary.payloads[0].display_name.as_deref(),
        Some("Wi-Fi")
    );
    let shown = serde_json::to_string(&read.summary).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_binary_profile_is_read_like_the_same_in_xml() {
    let text = profile(&wifi(""));
    let value = Value::from_reader_xml(text.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    value.to_writer_binary(&mut bytes).unwrap();
    let binary = read(&bytes, false).unwrap();
    assert_eq!(
        binary.dictionary,
        read(text.as_bytes(), false).unwrap().dictionary
    );
}

/// A list of two that both are the next list, again and again: 300 bytes that come to 2^25 parts.
fn bomb(levels: u8) -> Vec<u8> {
    let mut bytes = b"bplist00".to_vec();
    let mut offsets = Vec::new();
    for level in 0..levels {
        offsets.push(bytes.len());
        bytes.extend([0xA2, level + 1, level + 1]);
    }
    offsets.push(bytes.len());
    bytes.push(0x09);
    let table = bytes.len();
    for offset in &offsets {
        bytes.extend(u16::try_from(*offset).unwrap().to_be_bytes());
    }
    bytes.extend([0; 6]);
    bytes.extend([2, 1]);
    bytes.extend(u64::from(levels + 1).to_be_bytes());
    bytes.extend(0_u64.to_be_bytes());
    bytes.extend(u64::try_from(table).unwrap().to_be_bytes());
    bytes
}

#[test]
fn a_binary_list_that_grows_when_it_is_written_out_is_refused() {
    for levels in [18, 25, 60, 200] {
        let told = refused(&bomb(levels));
        assert!(told.contains("too many parts"), "{levels}: {told}");
    }
    // One text that is named so often that it comes to gigabytes.
    let mut many = b"bplist00".to_vec();
    many.extend([0xAF, 0x11, 0xFF, 0xFF]);
    many.extend(std::iter::repeat_n(1_u8, 0xFFFF));
    let text = many.len();
    many.extend([0x5F, 0x11, 0x40, 0x00]);
    many.extend(std::iter::repeat_n(b'x', 0x4000));
    let table = many.len();
    many.extend(8_u32.to_be_bytes());
    many.extend(u32::try_from(text).unwrap().to_be_bytes());
    many.extend([0; 6]);
    many.extend([4, 1]);
    for number in [2, 0, u64::try_from(table).unwrap()] {
        many.extend(number.to_be_bytes());
    }
    assert!(refused(&many).contains("too many parts"));
    // A small one of the same make is a list, and no profile.
    let told = refused(&bomb(3));
    assert!(told.contains("a profile is a dictionary"), "{told}");
    // One that names itself.
    let mut looped = bomb(1);
    looped[9] = 0;
    looped[10] = 0;
    assert!(refused(&looped).contains("too many parts"));
    // Every way to cut it short.
    let whole = bomb(3);
    for end in 8..whole.len() {
        read(&whole[..end], false).unwrap_err();
    }
}

#[test]
fn a_date_that_xml_cannot_hold_is_refused() {
    let text = profile(&wifi("<key>D</key><date>2026-09-01T08:00:00Z</date>"));
    let mut bytes = Vec::new();
    let value = Value::from_reader_xml(text.as_bytes()).unwrap();
    value.to_writer_binary(&mut bytes).unwrap();
    read(&bytes, false).unwrap();
    // The one object of its kind: a marker and the seconds since 2001 as a double.
    let at = bytes
        .windows(2)
        .position(|two| two == [0x33, 0x41])
        .unwrap();
    for seconds in [-1e11_f64, 3e11, -7e10] {
        bytes[at + 1..at + 9].copy_from_slice(&seconds.to_be_bytes());
        let told = refused(&bytes);
        assert!(
            told.contains("a date") || told.contains("cannot be read"),
            "{seconds}: {told}"
        );
    }
}

#[test]
fn braces_alone_cost_no_more_than_other_texts() {
    let many = "{".repeat(600_000);
    let text = profile(&wifi(&format!(
        "<key>SSID_STR</key><string>{many}{{{{fact.room}}}}</string>"
    )));
    let read = read(text.as_bytes(), false).unwrap();
    assert_eq!(read.summary.variables, ["fact.room"]);
}

#[test]
fn what_is_no_profile_is_refused_in_words_that_say_what_to_do() {
    let without = |key: &str| {
        let all = keys();
        let at = all.find(&format!("<key>{key}</key>")).unwrap();
        let rest = &all[at + 5..];
        let end = rest.find("<key>").map_or(all.len(), |end| at + 5 + end);
        head(
            &format!("{}{}", &all[..at], &all[end..]),
            &format!("<array>{}</array>", wifi("")),
        )
    };
    let with = |from: &str, to: &str| profile(&wifi("")).replace(from, to);
    let more = |more: &str| {
        head(
            &format!("{}{more}", keys()),
            &format!("<array>{}</array>", wifi("")),
        )
    };
    let many = |count: usize| {
        let one = |n: usize| wifi("").replace("AAAAAAAA", &format!("{n:08X}"));
        profile(&(0..count).map(one).collect::<String>())
    };
    let deep = |depth: usize| {
        profile(&wifi(&format!(
            "<key>A</key>{}{}",
            "<array>".repeat(depth),
            "</array>".repeat(depth)
        )))
    };
    for (bytes, said) in [
        (String::new(), "the profile is empty"),
        (
            "{\"PayloadType\": 1}".into(),
            "cannot be read as a property list",
        ),
        (
            "PK\u{3}\u{4}zip".into(),
            "cannot be read as a property list",
        ),
        ("bplist00".into(), "no binary property list"),
        (
            "0\u{1}".into(),
            "the signature of the profile does not hold",
        ),
        (
            "<plist version=\"1.0\"><array/></plist>".into(),
            "cannot be read",
        ),
        (profile(&wifi(""))[..400].to_owned(), "cannot be read"),
        (
            with("<dict>", "<!DOCTYPE x [<!ENTITY a \"b\">]><dict>"),
            "cannot be read",
        ),
        (deep(200), "cannot be read"),
        (
            more("<key>PayloadType</key><string>Configuration</string>"),
            "cannot be read",
        ),
        (
            more("<key>N</key><integer>18446744073709551616</integer>"),
            "cannot be read",
        ),
        (
            more("<key>D</key><date>2026-13-01T00:00:00Z</date>"),
            "cannot be read",
        ),
        (more("<key>D</key><data>A*</data>"), "cannot be read"),
        (
            more(&format!(
                "<key>D</key><string>{}</string>",
                "x".repeat(740_000)
            )),
            "at most",
        ),
        (without("PayloadType"), "the profile has no PayloadType"),
        (
            with(">Configuration<", ">Profile Service<"),
            "is Configuration",
        ),
        (without("PayloadUUID"), "the profile has no PayloadUUID"),
        (with(UUID, "not-a-uuid"), "is no UUID"),
        (
            without("PayloadIdentifier"),
            "the profile has no PayloadIdentifier",
        ),
        (with("org.example.room", "a\nb"), "or a line break"),
        (
            with("org.example.room", &"a".repeat(256)),
            "at most 255 characters",
        ),
        (without("PayloadVersion"), "has no PayloadVersion"),
        (
            with(
                "<integer>1</integer><key>PayloadIdentifier</key><string>org.example.room",
                "<integer>2</integer><key>PayloadIdentifier</key><string>org.example.room",
            ),
            "is the number 1",
        ),
        (
            with(
                "<integer>1</integer><key>PayloadIdentifier</key><string>org.example.room",
                "<string>1</string><key>PayloadIdentifier</key><string>org.example.room",
            ),
            "is the number 1",
        ),
        (head(&keys(), "<dict/>"), "is a list of payloads"),
        (head(&keys(), "<array/>"), "has no payload"),
        (
            head(&keys(), "<array><string>x</string></array>"),
            "payload 1 is not a dictionary",
        ),
        (
            head(&keys(), "<array><dict/></array>"),
            "payload 1 has no PayloadType",
        ),
        (
            head(&keys(), "<array/>").replace("<key>PayloadContent</key><array/>", ""),
            "has no PayloadContent",
        ),
        (
            profile(&format!("{}{}", wifi(""), wifi(""))),
            "stands in the profile twice",
        ),
        (
            with("AAAAAAAA-2222-3333-4444-555555555555", UUID),
            "stands in the profile twice",
        ),
        (many(1_001), "at most 1000 payloads"),
        (
            more("<key>PayloadScope</key><string>Everyone</string>"),
            "System or User",
        ),
        (more("<key>PayloadScope</key><true/>"), "System or User"),
        (
            more("<key>PayloadRemovalDisallowed</key><string>yes</string>"),
            "true or false",
        ),
        (
            more("<key>EncryptedPayloadContent</key><data>AAEC</data>"),
            "upload it in the clear",
        ),
        (profile(&payload("com.apple.mdm", "")), "MDM payload"),
        (
            profile(&wifi(
                "<key>SSID_STR</key><string>{{device.secret}}</string>",
            )),
            "there is no variable {{device.secret}}",
        ),
        (
            profile(&wifi("<key>SSID_STR</key><string>{{fact.}}</string>")),
            "there is no variable",
        ),
        (
            profile(&wifi("<key>{{fact.room}}</key><true/>")),
            "not for the name of a key",
        ),
        (
            with("org.example.room", "org.{{fact.room}}"),
            "none of which is a brace",
        ),
    ] {
        let told = refused(bytes.as_bytes());
        assert!(
            told.contains(said),
            "{said}: {told}\n{}",
            &bytes[..bytes.len().min(600)]
        );
    }
    // The same with room in it are profiles.
    for good in [
        deep(20),
        many(1_000),
        more("<key>PayloadScope</key><string>User</string>"),
    ] {
        read(good.as_bytes(), false).unwrap();
    }
}

fn device() -> DeviceSnapshot {
    let fact = |name: &str, value: serde_json::Value| KnownFact {
        name: name.into(),
        value,
        source: "admin".into(),
        observed_at: 0 as Micros,
    };
    DeviceSnapshot {
        ident: "UDID-1".into(),
        serial_number: Some("C02</string>&".into()),
        product_name: Some("iPad13,18".into()),
        os_version: Some("18.1".into()),
        facts: vec![
            fact("room", json!("4 <b>")),
            fact("floor", json!(3)),
            fact("list", json!([1])),
            fact("nul", json!("a\u{0}b")),
            fact("again", json!("{{fact.room}}")),
            fact("long", json!("x".repeat(5_000))),
        ],
        ..DeviceSnapshot::default()
    }
}

fn filled(text: &str) -> Result<String, String> {
    let xml = profile(&wifi(&format!(
        "<key>SSID_STR</key><string>{text}</string>"
    )));
    let read = read(xml.as_bytes(), false).unwrap();
    assert_eq!(read.kind, Kind::Variables);
    let filled = variables::fill(&read.dictionary, &device())?;
    let payload = filled["PayloadContent"].as_array().unwrap()[0]
        .as_dictionary()
        .unwrap();
    Ok(payload["SSID_STR"].as_string().unwrap().to_owned())
}

#[test]
fn variables_become_texts_and_nothing_else() {
    for (text, becomes) in [
        ("{{device.serial-number}}", "C02</string>&"),
        ("a{{fact.room}}b{{fact.floor}}c", "a4 <b>b3c"),
        ("{{device.udid}} {{not.one}} {{", "UDID-1 {{not.one}} {{"),
        ("{{{{fact.floor}}", "{{3"),
        // A value is not read once more.
        ("{{fact.again}}", "{{fact.room}}"),
    ] {
        assert_eq!(filled(text), Ok(becomes.to_owned()), "{text}");
    }
    for name in ["fact.none", "fact.list", "fact.nul", "fact.long", "user.id"] {
        let told = filled(&format!("{{{{{name}}}}}")).unwrap_err();
        assert_eq!(told, format!("no value for {name}"));
    }
    // What is meant literally has none.
    let literal = profile(&wifi(
        "<key>SSID_STR</key><string>{{device.secret}}</string>",
    ));
    assert_eq!(read(literal.as_bytes(), true).unwrap().kind, Kind::AsItIs);
}

fn dictionary(text: &str) -> Dictionary {
    read(text.as_bytes(), true).unwrap().dictionary
}

#[test]
fn a_payload_that_a_device_does_not_take_is_refused_and_a_key_is_not() {
    let mut device = device();
    let told = |device: &DeviceSnapshot, payloads: &str| {
        let target = judged::target(&judged::footing(device)).unwrap();
        judge::refusal(&target, &dictionary(&profile(payloads)))
    };
    // One payload needs supervision, of another one only a key does.
    let lock = payload(
        "com.apple.app.lock",
        "<key>App</key><dict><key>Identifier</key><string>a.b</string></dict>",
    );
    let restrictions = payload(
        "com.apple.applicationaccess",
        "<key>allowAirDrop</key><false/>",
    );
    assert_eq!(
        told(&device, &lock),
        None,
        "nobody knows whether it is supervised"
    );
    device.marks.supervised = Some(false);
    let refusal = told(&device, &lock).unwrap();
    assert!(refusal.contains("needs a supervised device"), "{refusal}");
    assert_eq!(told(&device, &restrictions), None);
    device.marks.supervised = Some(true);
    assert_eq!(told(&device, &lock), None);
    // A payload of Macs alone; one that nobody knows.
    let dock = payload("com.apple.dock", "<key>tilesize</key><integer>4</integer>");
    assert!(
        told(&device, &dock).unwrap().contains("iOS"),
        "{:?}",
        told(&device, &dock)
    );
    assert_eq!(
        told(
            &device,
            &payload("com.google.Chrome", "<key>A</key><true/>")
        ),
        None
    );
}

#[test]
fn two_profiles_are_told_to_conflict_where_a_device_takes_one_of_them() {
    let other =
        |text: &str| dictionary(&text.replace(UUID, "22222222-2222-3333-4444-555555555555"));
    let between = |one: &str, two: &str| {
        conflicts::between(&dictionary(&profile(one)), &other(&profile(two)), "other")
    };
    let code = |length: u32| {
        let more = format!("<key>minLength</key><integer>{length}</integer>");
        payload("com.apple.mobiledevice.passwordpolicy", &more)
    };
    let found = between(&code(6), &code(8));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind.as_str(), found[0].keys.as_slice()),
        ("values", &["minLength".to_owned()][..])
    );
    assert_eq!(between(&code(6), &code(6)), []);
    // Two networks are two networks.
    let net = |name: &str| wifi(&format!("<key>SSID_STR</key><string>{name}</string>"));
    assert_eq!(between(&net("a"), &net("b")), []);
    let lock = |app: &str| {
        payload(
            "com.apple.app.lock",
            &format!("<key>App</key><dict><key>Identifier</key><string>{app}</string></dict>"),
        )
    };
    let found = between(&lock("a.b"), &lock("a.b"));
    assert_eq!(
        found.first().map(|one| one.kind.as_str()),
        Some("single"),
        "{found:?}"
    );
}

#[test]
fn a_profile_of_json_is_the_same_for_the_same_content() {
    let new = |ssid: &str| -> build::NewProfile {
        serde_json::from_value(json!({
            "identifier": "org.example.room",
            "display_name": "Room",
            "payloads": [
                { "PayloadType": "com.apple.wifi.managed", "SSID_STR": ssid },
                { "PayloadType": "com.apple.wifi.managed", "SSID_STR": "other" },
            ],
        }))
        .unwrap()
    };
    let made = |new: &build::NewProfile| {
        build::build(new, &|bytes| {
            let mut hasher = std::hash::DefaultHasher::new();
            bytes.hash(&mut hasher);
            let mut id = [0; 32];
            id[..8].copy_from_slice(&hasher.finish().to_be_bytes());
            id
        })
    };
    let one = made(&new("School")).unwrap();
    let first = read(&one, false).unwrap();
    assert_eq!(one, made(&new("School")).unwrap());
    let other = read(&made(&new("Schule")).unwrap(), false).unwrap();
    assert_ne!(first.summary.payload_uuid, other.summary.payload_uuid);
    assert_eq!(
        first.summary.payloads[1].identifier,
        "org.example.room.com.apple.wifi.managed.2"
    );
    // Data in the form of others would be taken for a dictionary.
    let mut marked = new("x");
    marked.payloads[1].insert("A".into(), json!([{ "$data": "AAEC" }]));
    let told = made(&marked).unwrap_err().to_string();
    assert!(
        told.contains("payload 2 holds a key that begins with $"),
        "{told}"
    );
    let mut none = new("x");
    none.payloads[0].remove("PayloadType");
    assert!(
        made(&none)
            .unwrap_err()
            .to_string()
            .contains("payload 1 has no PayloadType")
    );
}

#[test]
fn what_a_device_answers_is_told_by_domain_and_code() {
    for (text, sentence) in [
        (
            r#"[{"code":4001,"domain":"MCInstallationErrorDomain"}]"#,
            "the device answers with MCInstallationErrorDomain 4001",
        ),
        ("its time has passed", "its time has passed"),
        ("[]", "[]"),
        ("", ""),
    ] {
        assert_eq!(told(text), sentence);
    }
}
