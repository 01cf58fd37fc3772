use plist::{Dictionary, Uid, Value};

use super::{CommandEnvelope, MAX_COMMAND_BYTES, RawCommand, compose, with_command_uuid};

fn envelope(inner: &str) -> Vec<u8> {
    format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>").into_bytes()
}

#[test]
fn a_composed_command_reads_back() {
    let command = RawCommand::new("DeviceLock")
        .unwrap()
        .with("PIN", "123456")
        .with("RequestType", "EraseDevice");
    let bytes = command.compose("c<1>").unwrap();
    let read = CommandEnvelope::parse(&bytes).unwrap();
    assert_eq!(
        (read.command_uuid.as_str(), read.request_type.as_str()),
        ("c<1>", "DeviceLock")
    );
    assert_eq!(command.dictionary().len(), 2);
    assert!(!format!("{command:?}").contains("123456"));
}

#[test]
fn a_command_without_an_xml_form_is_refused() {
    let table = [
        (Value::Uid(Uid::new(1)), "plist.refused"),
        (Value::Real(f64::NAN), "xml.real"),
        (Value::String("a\u{1b}".to_owned()), "xml.control_character"),
        (Value::Data(vec![0; MAX_COMMAND_BYTES]), "body.too_large"),
    ];
    for (value, code) in table {
        let command = RawCommand::new("Settings").unwrap().with("X", value);
        assert_eq!(command.compose("c-1").unwrap_err().code(), code);
    }
    let command = RawCommand::new("Settings").unwrap();
    assert_eq!(command.compose("").unwrap_err().code(), "field.empty");
    assert_eq!(
        command.compose("a\nb").unwrap_err().code(),
        "field.character"
    );
    assert_eq!(
        command.compose(&"a".repeat(129)).unwrap_err().code(),
        "field.too_long"
    );
    assert_eq!(
        compose("c-1", &Dictionary::new()).unwrap_err().code(),
        "field.missing"
    );
}

#[test]
fn a_bare_command_keeps_its_text() {
    let dict = "<dict>  <key>RequestType</key>\n<string>Settings</string><!-- kept --><key>A</key><string>&#65;</string></dict>";
    let bare =
        format!("\u{feff}<?xml version=\"1.0\"?><plist version=\"1.0\">\n{dict}\n</plist>\n");
    let bytes = with_command_uuid("c&1", bare.as_bytes()).unwrap();
    assert!(String::from_utf8(bytes.clone()).unwrap().contains(dict));
    let read = CommandEnvelope::parse(&bytes).unwrap();
    assert_eq!(
        (read.command_uuid.as_str(), read.request_type.as_str()),
        ("c&1", "Settings")
    );
}

#[test]
fn an_envelope_is_not_wrapped_again() {
    let bytes = RawCommand::new("Settings").unwrap().compose("c-1").unwrap();
    assert_eq!(
        with_command_uuid("c-2", &bytes).unwrap_err().code(),
        "field.unexpected"
    );
    assert_eq!(
        with_command_uuid("c-2", b"<plist><dict/></plist>")
            .unwrap_err()
            .code(),
        "field.missing"
    );
    assert_eq!(
        with_command_uuid("c-2", b"<plist><array/></plist>")
            .unwrap_err()
            .code(),
        "plist.root"
    );
}

#[test]
fn a_bad_envelope_is_refused() {
    let uuid = "<key>CommandUUID</key><string>c-1</string>";
    let command = "<key>Command</key><dict><key>RequestType</key><string>Settings</string></dict>";
    assert!(CommandEnvelope::parse(&envelope(&format!("{uuid}{command}"))).is_ok());
    let table = [
        (String::new(), "field.missing"),
        (uuid.to_owned(), "field.missing"),
        (command.to_owned(), "field.missing"),
        (format!("{uuid}{uuid}{command}"), "xml.duplicate_key"),
        (
            format!("{command}<key>CommandUUID</key><string/>"),
            "field.empty",
        ),
        (
            format!("{command}<key>CommandUUID</key><integer>1</integer>"),
            "field.type",
        ),
        (
            format!("{uuid}<key>Command</key><string>Settings</string>"),
            "field.type",
        ),
        (format!("{uuid}<key>Command</key><dict/>"), "field.missing"),
        (
            format!("{uuid}<key>Command</key><dict><key>RequestType</key><string/></dict>"),
            "field.empty",
        ),
        (
            format!(
                "{uuid}<key>Command</key><dict><key>RequestType</key><string>A B</string></dict>"
            ),
            "field.character",
        ),
        (
            format!("{uuid}<key>Command</key><dict><key>RequestType</key><true/></dict>"),
            "field.type",
        ),
        (
            format!(
                "{uuid}<key>Command</key><dict><key>RequestType</key><string>A</string><key>RequestType</key><string>A</string></dict>"
            ),
            "xml.duplicate_key",
        ),
    ];
    for (inner, code) in table {
        assert_eq!(
            CommandEnvelope::parse(&envelope(&inner))
                .unwrap_err()
                .code(),
            code,
            "{inner}"
        );
    }
    let huge = vec![b'<'; MAX_COMMAND_BYTES + 1];
    assert!(CommandEnvelope::parse(&huge).unwrap_err().is_too_large());
}
