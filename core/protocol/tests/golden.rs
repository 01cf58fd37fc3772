//! Whole messages as devices send them: each decodes to its fields, and no beginning of one is taken for a message.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::PathBuf;

use pomona_protocol::checkin::{DeclarationKind, Endpoint, TokenServiceType};
use pomona_protocol::guard;
use pomona_protocol::{
    Channel, CheckIn, CheckInMessage, CommandEnvelope, DeviceId, GuardLimits, MessageType, Report,
    Status, parse_check_in, parse_report,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.plist"))).unwrap()
}

fn check_in(name: &str) -> CheckInMessage {
    parse_check_in(&bytes(name), &GuardLimits::default()).unwrap()
}

fn report(name: &str) -> Report {
    parse_report(&bytes(name), &GuardLimits::default()).unwrap()
}

fn all() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 29);
    files
}

/// The decoder that a file is meant for; gives the code of the refusal.
fn decode(name: &str, body: &[u8]) -> Result<(), &'static str> {
    let limits = GuardLimits::default();
    let result = if name.starts_with("report_") {
        parse_report(body, &limits).map(drop)
    } else if name.starts_with("command_") {
        CommandEnvelope::parse(body).map(drop)
    } else {
        parse_check_in(body, &limits).map(drop)
    };
    result.map_err(|error| error.code())
}

#[test]
fn every_message_decodes_and_keeps_its_bytes() {
    for (name, body) in all() {
        assert_eq!(decode(&name, &body), Ok(()), "{name}");
    }
    let message = check_in("authenticate_mac");
    assert_eq!(message.raw, bytes("authenticate_mac"));
    assert!(message.extra.is_empty());
    let report = report("report_inventory");
    assert_eq!(report.raw, bytes("report_inventory"));
}

#[test]
fn every_message_is_the_type_that_its_file_says() {
    let table = [
        ("authenticate_mac", MessageType::Authenticate),
        ("authenticate_ipad", MessageType::Authenticate),
        ("authenticate_user_enrollment", MessageType::Authenticate),
        ("token_update_device", MessageType::TokenUpdate),
        ("check_out", MessageType::CheckOut),
        ("user_authenticate", MessageType::UserAuthenticate),
        ("set_bootstrap_token", MessageType::SetBootstrapToken),
        ("get_bootstrap_token", MessageType::GetBootstrapToken),
        ("get_token_maid", MessageType::GetToken),
        ("declarative_tokens", MessageType::DeclarativeManagement),
        ("return_to_service", MessageType::ReturnToService),
    ];
    for (name, expected) in table {
        assert_eq!(check_in(name).message.message_type(), expected, "{name}");
    }
}

#[test]
fn authenticate_carries_what_the_device_says_of_itself() {
    let CheckIn::Authenticate(mac) = check_in("authenticate_mac").message else {
        panic!("another message");
    };
    assert_eq!(mac.device_name.as_deref(), Some("Ann’s MacBook Pro & Dock"));
    assert_eq!(mac.model.as_deref(), Some("Mac15,6"));
    assert_eq!(mac.model_name.as_deref(), Some("MacBook Pro"));
    assert_eq!(mac.serial_number.as_deref(), Some("XQ4TR7L2MN"));
    assert_eq!((mac.imei, mac.meid), (None, None));
    let CheckIn::Authenticate(ipad) = check_in("authenticate_ipad").message else {
        panic!("another message");
    };
    assert_eq!(ipad.imei.as_deref(), Some("01 234567 890123 4"));
    assert_eq!(ipad.meid.as_deref(), Some("01234567890123"));
    assert_eq!(ipad.os_version.as_deref(), Some("26.1"));
    assert_eq!(ipad.build_version.as_deref(), Some("23B85"));
    assert_eq!(ipad.product_name.as_deref(), Some("iPad13,18"));
    assert!(ipad.topic.starts_with("com.apple.mgmt.External."));
}

#[test]
fn a_token_update_of_each_channel_names_its_user() {
    let device = check_in("token_update_device");
    let CheckIn::TokenUpdate(update) = device.message else {
        panic!("another message");
    };
    assert_eq!(device.ids.channel, Channel::Device);
    assert_eq!(update.token.expose().len(), 32);
    assert_eq!(update.unlock_token.unwrap().expose().len(), 300);
    assert_eq!(
        (update.awaiting_configuration, update.not_on_console),
        (Some(true), None)
    );
    let user = check_in("token_update_mac_user");
    assert!(
        matches!(&user.ids.channel, Channel::User { user_id } if user_id.canonical().starts_with("5A1B"))
    );
    assert_eq!(user.ids.user_short_name.as_deref(), Some("ann"));
    assert_eq!(user.ids.user_long_name.as_deref(), Some("Ann Example"));
    let shared = check_in("token_update_shared_ipad");
    assert!(
        matches!(&shared.ids.channel, Channel::SharedIpadUser { short_name } if short_name == "bo@school.example")
    );
    let enrolled = check_in("token_update_enrollment_user");
    assert!(matches!(enrolled.ids.device, DeviceId::EnrollmentId(_)));
    assert!(matches!(
        enrolled.ids.channel,
        Channel::EnrollmentUser { .. }
    ));
    let old = check_in("token_update_old_iphone").ids.device;
    let DeviceId::Udid(udid) = old else {
        panic!("no UDID")
    };
    assert_eq!(udid.as_sent().to_ascii_uppercase(), udid.canonical());
    assert_ne!(udid.as_sent(), udid.canonical());
}

#[test]
fn the_smaller_messages_carry_their_fields() {
    let CheckIn::SetBootstrapToken(set) = check_in("set_bootstrap_token").message else {
        panic!("another message");
    };
    assert_eq!(set.bootstrap_token.unwrap().expose().len(), 120);
    let CheckIn::UserAuthenticate(first) = check_in("user_authenticate").message else {
        panic!("another message");
    };
    assert_eq!(first.digest_response, None);
    let CheckIn::UserAuthenticate(second) = check_in("user_authenticate_digest").message else {
        panic!("another message");
    };
    assert!(
        second
            .digest_response
            .unwrap()
            .expose()
            .starts_with("Digest ")
    );
    let CheckIn::GetToken(maid) = check_in("get_token_maid").message else {
        panic!("another message");
    };
    assert_eq!(maid.token_service_type, TokenServiceType::Maid);
    let CheckIn::GetToken(watch) = check_in("get_token_watch").message else {
        panic!("another message");
    };
    assert_eq!(watch.token_service_type, TokenServiceType::WatchPairing);
    assert_eq!(watch.token_parameters.unwrap().len(), 3);
}

#[test]
fn declarative_management_has_an_endpoint_and_a_status_its_data() {
    let endpoint = |name| match check_in(name).message {
        CheckIn::DeclarativeManagement(message) => message,
        _ => panic!("another message"),
    };
    assert_eq!(endpoint("declarative_tokens").endpoint, Endpoint::Tokens);
    assert_eq!(
        endpoint("declarative_declaration").endpoint,
        Endpoint::Declaration {
            kind: DeclarationKind::Configuration,
            identifier: "com.example.passcode".to_owned(),
        }
    );
    let status = endpoint("declarative_status");
    assert_eq!(status.endpoint, Endpoint::Status);
    assert!(
        status
            .data
            .unwrap()
            .expose()
            .starts_with(b"{\"StatusItems\"")
    );
}

#[test]
fn a_report_tells_its_status_and_command() {
    let table = [
        ("report_idle", Status::Idle, None, 0),
        ("report_idle_mac_user", Status::Idle, None, 0),
        (
            "report_acknowledged",
            Status::Acknowledged,
            Some("0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5061"),
            0,
        ),
        (
            "report_error",
            Status::Error,
            Some("0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5064"),
            2,
        ),
        (
            "report_format_error",
            Status::CommandFormatError,
            Some("0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5065"),
            0,
        ),
        (
            "report_not_now",
            Status::NotNow,
            Some("0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5066"),
            0,
        ),
    ];
    for (name, status, command_uuid, errors) in table {
        let report = report(name);
        assert_eq!(report.status, status, "{name}");
        assert_eq!(report.command_uuid.as_deref(), command_uuid, "{name}");
        assert_eq!(report.error_chain_entries, errors, "{name}");
    }
    let error = report("report_error");
    assert_eq!(error.error_chain[0].error_code, Some(12026));
    assert_eq!(
        error.error_chain[1].localized_description.as_deref(),
        Some("<script>alert(1)</script>")
    );
    assert_eq!(report("report_idle_mac_user").not_on_console, Some(true));
    let answers = report("report_acknowledged");
    let answers = answers.dictionary["QueryResponses"]
        .as_dictionary()
        .unwrap();
    assert_eq!(answers["DeviceName"].as_string(), Some("Room 12 <iPad>"));
}

#[test]
fn a_command_tells_its_uuid_and_kind() {
    let lock = CommandEnvelope::parse(&bytes("command_device_lock")).unwrap();
    assert_eq!(lock.command_uuid, "0197a3b4-5c6d-7e8f-9a0b-1c2d3e4f5067");
    assert_eq!(lock.request_type, "DeviceLock");
}

#[test]
fn no_beginning_of_a_message_is_a_message() {
    for (name, body) in all() {
        let whole = body.trim_ascii_end().len();
        for length in 0..whole {
            assert!(
                decode(&name, &body[..length]).is_err(),
                "{name} at {length}"
            );
        }
        assert_eq!(decode(&name, &body[..whole]), Ok(()), "{name}");
    }
}

#[test]
fn a_message_without_one_of_its_bytes_never_panics_and_never_surprises_the_reader() {
    for (name, body) in all() {
        for gap in 0..body.len() {
            let mut damaged = body.clone();
            damaged.remove(gap);
            assert_ne!(
                decode(&name, &damaged),
                Err("plist.refused"),
                "{name} at {gap}"
            );
        }
    }
}

#[test]
fn a_message_reads_the_same_wherever_a_reader_refills_its_buffer() {
    let body = bytes("report_error");
    let plain = guard::check(&body, &GuardLimits::default())
        .unwrap()
        .value()
        .unwrap();
    let text = String::from_utf8(body).unwrap();
    for padding in (8192 - text.len() - 64)..8200 {
        let comment = format!("<!--{}-->", "x".repeat(padding));
        let padded = text.replacen("<plist", &format!("{comment}<plist"), 1);
        let guarded = guard::check(padded.as_bytes(), &GuardLimits::default()).unwrap();
        assert_eq!(guarded.value().unwrap(), plain, "{padding}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = format!("{:?}", check_in("token_update_device"));
    assert!(!shown.contains("C6B3A1F0"));
    assert!(shown.contains("(secret)"));
    assert!(!format!("{:?}", check_in("get_token_watch")).contains("70D0B2A4"));
    assert!(!format!("{:?}", check_in("user_authenticate_digest")).contains("6629fae4"));
}
