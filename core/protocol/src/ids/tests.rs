use std::collections::HashSet;

use plist::{Dictionary, Value};

use super::{Channel, DeviceId, EnrollmentId, EnrollmentIds, Udid, UserId};

fn read(pairs: &[(&str, &str)]) -> Result<EnrollmentIds, &'static str> {
    let dictionary: Dictionary = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect();
    EnrollmentIds::from_dictionary(&dictionary).map_err(|error| error.code())
}

const ALL_F: &str = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

#[test]
fn the_five_kinds_are_told_apart() {
    let udid = DeviceId::Udid(Udid::parse("00008030-001A").unwrap());
    let enrollment = DeviceId::EnrollmentId(EnrollmentId::parse("E-1").unwrap());
    let user_id = UserId::parse("U-1").unwrap();
    let table = [
        (vec![("UDID", "00008030-001A")], &udid, Channel::Device),
        (
            vec![
                ("UDID", "00008030-001A"),
                ("UserID", "U-1"),
                ("UserShortName", "ann"),
            ],
            &udid,
            Channel::User {
                user_id: user_id.clone(),
            },
        ),
        (
            vec![
                ("UDID", "00008030-001A"),
                ("UserID", ALL_F),
                ("UserShortName", "../x"),
            ],
            &udid,
            Channel::SharedIpadUser {
                short_name: "../x".to_owned(),
            },
        ),
        (vec![("EnrollmentID", "E-1")], &enrollment, Channel::Device),
        (
            vec![("EnrollmentID", "E-1"), ("EnrollmentUserID", "U-1")],
            &enrollment,
            Channel::EnrollmentUser { user_id },
        ),
    ];
    for (pairs, device, channel) in table {
        let ids = read(&pairs).unwrap();
        assert_eq!((&ids.device, &ids.channel), (device, &channel), "{pairs:?}");
    }
}

#[test]
fn the_marker_of_shared_ipad_users_is_read_in_any_case() {
    let lower = ALL_F.to_ascii_lowercase();
    let ids = read(&[
        ("UDID", "A"),
        ("UserID", &lower),
        ("UserShortName", "a@b.example"),
    ])
    .unwrap();
    assert_eq!(
        ids.channel,
        Channel::SharedIpadUser {
            short_name: "a@b.example".to_owned()
        }
    );
}

#[test]
fn identifiers_that_name_no_or_two_enrollments_are_refused() {
    let long = "A".repeat(129);
    let longest_name = "n".repeat(257);
    let table: [(&[(&str, &str)], &str); 20] = [
        (&[], "ids.none"),
        (&[("UserID", "U")], "ids.none"),
        (&[("UDID", "A"), ("EnrollmentID", "B")], "ids.mixed"),
        (&[("UDID", "A"), ("EnrollmentUserID", "B")], "ids.mixed"),
        (&[("EnrollmentID", "A"), ("UserID", "B")], "ids.mixed"),
        (&[("UDID", "")], "field.empty"),
        (&[("EnrollmentID", "")], "field.empty"),
        (&[("UDID", "A"), ("UserID", "")], "field.empty"),
        (
            &[("EnrollmentID", "A"), ("EnrollmentUserID", "")],
            "field.empty",
        ),
        (&[("UDID", &long)], "field.too_long"),
        (&[("UDID", "A"), ("UserID", &long)], "field.too_long"),
        (&[("UDID", "A:B")], "field.character"),
        (&[("UDID", "A\nB")], "field.character"),
        (&[("UDID", "A\0")], "field.character"),
        (&[("UDID", "Ä")], "field.character"),
        (&[("UDID", "A"), ("UserID", "U\u{85}")], "field.character"),
        (&[("UDID", "A"), ("UserID", ALL_F)], "field.missing"),
        (
            &[("UDID", "A"), ("UserID", ALL_F), ("UserShortName", "")],
            "field.missing",
        ),
        (
            &[("UDID", "A"), ("UserID", ALL_F), ("UserShortName", "a\tb")],
            "field.character",
        ),
        (
            &[
                ("UDID", "A"),
                ("UserID", ALL_F),
                ("UserShortName", &longest_name),
            ],
            "field.too_long",
        ),
    ];
    for (pairs, expected) in table {
        assert_eq!(read(pairs).unwrap_err(), expected, "{pairs:?}");
    }
}

#[test]
fn case_does_not_make_another_device() {
    let lower = Udid::parse("0a1b").unwrap();
    let upper = Udid::parse("0A1B").unwrap();
    assert_eq!(lower, upper);
    assert_eq!(HashSet::from([lower.clone(), upper]).len(), 1);
    assert_eq!((lower.canonical(), lower.as_sent()), ("0A1B", "0a1b"));
    assert_eq!(lower.to_string(), "0A1B");
}
