//! What must hold for every input: one check a decoder, shared by the fuzz targets and by the test that replays
//! old findings.
//!
//! Owns the properties beyond "it does not panic". It never writes a file and keeps no state, so that an input says
//! the same each time.

use pomona_protocol::{CommandEnvelope, GuardLimits, RawCommand, parse_check_in, parse_report};

/// A check-in that is accepted is accepted again from its own raw bytes, as the same message.
pub fn check_in(input: &[u8]) {
    let limits = GuardLimits::default();
    if let Ok(message) = parse_check_in(input, &limits) {
        assert_eq!(message.raw, input, "the raw bytes are kept");
        assert!(
            message
                .message
                .message_type()
                .allowed_on(&message.ids.channel)
        );
        let again = parse_check_in(&message.raw, &limits);
        assert!(
            again.is_ok_and(|again| same(&again.extra, &message.extra) && again.ids == message.ids)
        );
    }
}

/// A report that is accepted names its command exactly if it is about one.
pub fn report(input: &[u8]) {
    if let Ok(report) = parse_report(input, &GuardLimits::default()) {
        assert_eq!(report.raw, input, "the raw bytes are kept");
        let idle = report.status == pomona_protocol::Status::Idle;
        assert_eq!(report.command_uuid.is_none(), idle);
        assert!(report.error_chain.len() <= report.error_chain_entries);
    }
}

/// A command that is accepted and written anew reads back as the same command.
pub fn command(input: &[u8]) {
    let Ok(envelope) = CommandEnvelope::parse(input) else {
        return;
    };
    let inner = plist::Value::from_reader_xml(input)
        .ok()
        .and_then(plist::Value::into_dictionary)
        .and_then(|mut outer| outer.remove("Command"))
        .and_then(plist::Value::into_dictionary);
    let Some(raw) = inner.and_then(|inner| RawCommand::from_dictionary(inner).ok()) else {
        panic!("an accepted command has an inner dictionary with its type");
    };
    assert_eq!(raw.request_type(), envelope.request_type);
    // Writing may refuse (a value without an XML form); what it writes, it must also read.
    if let Ok(bytes) = raw.compose(&envelope.command_uuid) {
        assert!(CommandEnvelope::parse(&bytes).is_ok_and(|again| again == envelope));
    }
}

/// Equal as text: a NaN is not equal to itself, and its text is.
fn same(left: &plist::Dictionary, right: &plist::Dictionary) -> bool {
    format!("{left:?}") == format!("{right:?}")
}
