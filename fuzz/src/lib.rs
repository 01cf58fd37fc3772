//! What must hold for every input: one check a decoder, shared by the fuzz targets and by the test that replays
//! old findings.
//!
//! Owns the properties beyond "it does not panic". It never writes a file and keeps no state, so that an input says
//! the same each time.

use std::cell::Cell;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pomona_cms::{
    Certificate, CertificationRequest, Policy,
    ber::{self, Limits},
    header,
    scep::{ScepPolicy, parse_pki_message},
    signed::{verify_attached, verify_detached},
};
use pomona_protocol::{CommandEnvelope, GuardLimits, RawCommand, parse_check_in, parse_report};

thread_local! {
    static ACCEPTED: Cell<u64> = const { Cell::new(0) };
}

/// How many inputs the decoders took on this thread so far. A seed that none of them takes would leave most of the
/// code unreached, and every check would hold for nothing.
pub fn accepted_so_far() -> u64 {
    ACCEPTED.get()
}

fn accepted() {
    ACCEPTED.set(ACCEPTED.get() + 1);
}

/// A check-in that is accepted is accepted again from its own raw bytes, as the same message.
pub fn check_in(input: &[u8]) {
    let limits = GuardLimits::default();
    if let Ok(message) = parse_check_in(input, &limits) {
        accepted();
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
        accepted();
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
    accepted();
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

/// What the BER pass gives out needs no second pass, and is no longer in BER's loose forms.
pub fn ber(input: &[u8]) {
    let limits = Limits::for_bytes(64 * 1024);
    if let Ok(normal) = ber::normalize(input, limits) {
        accepted();
        assert!(ber::require_definite(&normal, limits).is_ok());
        assert!(ber::normalize(&normal, limits).is_ok_and(|again| again == normal));
    }
}

/// Whatever verifies names a signer among the certificates that it carries, and is sound as BER. The certificate itself
/// is a claim, to be read and judged by the caller.
pub fn cms_verify(input: &[u8]) {
    // The content of the detached seeds.
    const CONTENT: &[u8] = b"<plist version=\"1.0\"><dict/></plist>";
    for policy in [Policy::mdm_signature(), Policy::machine_info()] {
        let attached = verify_attached(input, &policy);
        let detached = verify_detached(input, CONTENT, &policy);
        for verified in [attached, detached].into_iter().flatten() {
            accepted();
            let signer = &verified.signer_certificate_der;
            assert!(verified.certificates_der.contains(signer));
            assert!(ber::normalize(input, Limits::for_bytes(policy.max_bytes)).is_ok());
        }
    }
}

/// A message that is accepted can be answered: its transaction id and nonce are there.
pub fn scep_message(input: &[u8]) {
    if let Ok(message) = parse_pki_message(input, &ScepPolicy::compatible()) {
        accepted();
        assert!(!message.transaction_id.is_empty());
        assert!(!message.signer.der().is_empty());
    }
}

/// A request that is accepted has a key and reads back from itself; a certificate likewise.
pub fn csr(input: &[u8]) {
    if let Ok(request) = CertificationRequest::from_der(input, true) {
        accepted();
        assert!(!request.public_key_der().is_empty());
        let _ = (
            request.subject_alt_names(),
            request.asks_for_ca(),
            request.key_usage(),
        );
        let _ = (
            request.unknown_critical_extension(),
            request.extended_key_usages(),
        );
    }
    if let Ok(certificate) = Certificate::from_der(input) {
        assert_eq!(certificate.der(), input);
        let _ = (
            certificate.grant_id(),
            certificate.push_topic(),
            certificate.subject_alt_names(),
        );
        let _ = (
            certificate.key_kind(),
            certificate.path_length(),
            certificate.key_usage(),
        );
    }
}

/// What a header carries is bounded; a certificate reads the same from the form that RFC 9440 gives it.
pub fn header_certificate(input: &[u8]) {
    let Ok(value) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(der) = header::client_certificate(value) {
        accepted();
        assert!(!der.is_empty() && der.len() <= header::MAX_CERTIFICATE);
        let sequence = format!(":{}:", STANDARD.encode(&der));
        assert!(header::client_certificate(&sequence).is_ok_and(|again| again == der));
    }
    if let Ok(der) = header::signature(value) {
        assert!(der.len() <= header::MAX_SIGNATURE_TEXT);
    }
}

/// Equal as text: a NaN is not equal to itself, and its text is.
fn same(left: &plist::Dictionary, right: &plist::Dictionary) -> bool {
    format!("{left:?}") == format!("{right:?}")
}
