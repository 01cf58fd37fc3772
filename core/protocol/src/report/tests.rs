use super::{ErrorChainItem, MAX_ERROR_TEXT_BYTES, Status, parse_report};
use crate::guard::GuardLimits;

fn parse(inner: &str) -> Result<super::Report, &'static str> {
    let xml = format!(
        "<plist version=\"1.0\"><dict><key>UDID</key><string>A-1</string>{inner}</dict></plist>"
    );
    parse_report(xml.as_bytes(), &GuardLimits::default()).map_err(|error| error.code())
}

const ACKNOWLEDGED: &str =
    "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>c-1</string>";

#[test]
fn each_status_is_read() {
    for status in [
        Status::Acknowledged,
        Status::Error,
        Status::CommandFormatError,
        Status::NotNow,
    ] {
        let report = parse(&format!(
            "<key>Status</key><string>{status}</string><key>CommandUUID</key><string>c-1</string>"
        ))
        .unwrap();
        assert_eq!(
            (report.status, report.command_uuid.as_deref()),
            (status, Some("c-1"))
        );
    }
}

#[test]
fn idle_has_no_command_whatever_it_says() {
    for stray in [
        "<string>c-1</string>",
        "<string></string>",
        "<integer>1</integer>",
    ] {
        let report = parse(&format!(
            "<key>Status</key><string>Idle</string><key>CommandUUID</key>{stray}"
        ))
        .unwrap();
        assert_eq!((report.status, report.command_uuid), (Status::Idle, None));
    }
}

#[test]
fn an_odd_error_chain_still_reports_the_error() {
    let long = "ä".repeat(MAX_ERROR_TEXT_BYTES);
    let report = parse(&format!(
        "{ACKNOWLEDGED}<key>ErrorChain</key><array>\
         <dict><key>ErrorCode</key><integer>-12</integer><key>ErrorDomain</key><string>D</string></dict>\
         <dict><key>ErrorCode</key><string>4001</string><key>LocalizedDescription</key><string>{long}</string></dict>\
         <dict><key>ErrorCode</key><true/><key>USEnglishDescription</key><string>\u{1b}[0m</string></dict></array>"
    ))
    .unwrap();
    let expected = [
        ErrorChainItem {
            error_code: Some(-12),
            error_domain: Some("D".to_owned()),
            ..ErrorChainItem::default()
        },
        ErrorChainItem {
            error_code: Some(4001),
            localized_description: Some("ä".repeat(MAX_ERROR_TEXT_BYTES / 2)),
            ..ErrorChainItem::default()
        },
        ErrorChainItem {
            us_english_description: Some("\u{1b}[0m".to_owned()),
            ..ErrorChainItem::default()
        },
    ];
    assert_eq!(
        (report.error_chain.as_slice(), report.error_chain_entries),
        (&expected[..], 3)
    );
}

#[test]
fn a_long_error_chain_is_cut_and_a_huge_one_refused() {
    let chain = |entries: usize| {
        format!(
            "{ACKNOWLEDGED}<key>ErrorChain</key><array>{}</array>",
            "<dict/>".repeat(entries)
        )
    };
    let report = parse(&chain(10_000)).unwrap();
    assert_eq!(
        (report.error_chain.len(), report.error_chain_entries),
        (64, 10_000)
    );
    assert_eq!(parse(&chain(10_001)).unwrap_err(), "field.too_many");
}

#[test]
fn unknown_keys_and_loose_types_are_kept() {
    let report = parse(&format!(
        "{ACKNOWLEDGED}<key>RequestType</key><string>DeviceInformation</string><key>NotOnConsole</key><integer>1</integer>\
         <key>QueryResponses</key><dict><key>BatteryLevel</key><string>0.5</string></dict><key>New</key><date>1969-01-01T00:00:00Z</date>"
    ))
    .unwrap();
    assert_eq!(report.request_type.as_deref(), Some("DeviceInformation"));
    assert_eq!(report.not_on_console, Some(true));
    assert!(report.dictionary["New"].as_date().is_some());
    assert!(report.raw.ends_with(b"</plist>"));
}

#[test]
fn debug_output_shows_no_answer() {
    let report = parse(&format!(
        "{ACKNOWLEDGED}<key>Secret</key><string>hunter2</string>"
    ))
    .unwrap();
    assert!(!format!("{report:?}").contains("hunter2"));
}
