//! Object identifiers by name.
//!
//! One place for every identifier the crate reads or writes, with the document that assigns it.

use der::asn1::ObjectIdentifier;

macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($value);)*
    };
}

oids! {
    /// Plain content, RFC 5652.
    DATA = "1.2.840.113549.1.7.1";
    /// Signed message, RFC 5652.
    SIGNED_DATA = "1.2.840.113549.1.7.2";
    /// Encrypted message, RFC 5652.
    ENVELOPED_DATA = "1.2.840.113549.1.7.3";

    /// Attribute content-type, RFC 5652.
    CONTENT_TYPE = "1.2.840.113549.1.9.3";
    /// Attribute message-digest, RFC 5652.
    MESSAGE_DIGEST = "1.2.840.113549.1.9.4";
    /// Attribute signing-time, RFC 5652.
    SIGNING_TIME = "1.2.840.113549.1.9.5";
    /// Request attribute challengePassword, RFC 2985.
    CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7";
    /// Request attribute extensionRequest, RFC 2985.
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14";

    /// SHA-1.
    SHA1 = "1.3.14.3.2.26";
    /// SHA-256.
    SHA256 = "2.16.840.1.101.3.4.2.1";
    /// SHA-384.
    SHA384 = "2.16.840.1.101.3.4.2.2";
    /// SHA-512.
    SHA512 = "2.16.840.1.101.3.4.2.3";

    /// RSA key, also PKCS#1 v1.5 key transport and signature without a named digest.
    RSA = "1.2.840.113549.1.1.1";
    /// RSA with SHA-1.
    RSA_SHA1 = "1.2.840.113549.1.1.5";
    /// RSA with SHA-1, the older name.
    RSA_SHA1_OIW = "1.3.14.3.2.29";
    /// RSA with SHA-256.
    RSA_SHA256 = "1.2.840.113549.1.1.11";
    /// RSA with SHA-384.
    RSA_SHA384 = "1.2.840.113549.1.1.12";
    /// RSA with SHA-512.
    RSA_SHA512 = "1.2.840.113549.1.1.13";
    /// Elliptic-curve key.
    EC = "1.2.840.10045.2.1";
    /// ECDSA with SHA-1.
    ECDSA_SHA1 = "1.2.840.10045.4.1";
    /// ECDSA with SHA-256.
    ECDSA_SHA256 = "1.2.840.10045.4.3.2";
    /// ECDSA with SHA-384.
    ECDSA_SHA384 = "1.2.840.10045.4.3.3";
    /// ECDSA with SHA-512.
    ECDSA_SHA512 = "1.2.840.10045.4.3.4";
    /// Curve P-256.
    P256 = "1.2.840.10045.3.1.7";
    /// Curve P-384.
    P384 = "1.3.132.0.34";

    /// AES-128-CBC.
    AES128_CBC = "2.16.840.1.101.3.4.1.2";
    /// AES-192-CBC.
    AES192_CBC = "2.16.840.1.101.3.4.1.22";
    /// AES-256-CBC.
    AES256_CBC = "2.16.840.1.101.3.4.1.42";
    /// Triple DES in CBC mode.
    DES_EDE3_CBC = "1.2.840.113549.3.7";

    /// Name attribute commonName.
    COMMON_NAME = "2.5.4.3";
    /// Name attribute serialNumber.
    SERIAL_NUMBER = "2.5.4.5";
    /// Name attribute countryName.
    COUNTRY = "2.5.4.6";
    /// Name attribute localityName.
    LOCALITY = "2.5.4.7";
    /// Name attribute stateOrProvinceName.
    STATE = "2.5.4.8";
    /// Name attribute organizationName.
    ORGANIZATION = "2.5.4.10";
    /// Name attribute organizationalUnitName.
    ORGANIZATIONAL_UNIT = "2.5.4.11";
    /// Name attribute userId: the push topic in Apple's push certificates.
    USER_ID = "0.9.2342.19200300.100.1.1";

    /// Extension subjectKeyIdentifier.
    SUBJECT_KEY_ID = "2.5.29.14";
    /// Extension keyUsage.
    KEY_USAGE = "2.5.29.15";
    /// Extension subjectAltName.
    SUBJECT_ALT_NAME = "2.5.29.17";
    /// Extension basicConstraints.
    BASIC_CONSTRAINTS = "2.5.29.19";
    /// Extension authorityKeyIdentifier.
    AUTHORITY_KEY_ID = "2.5.29.35";
    /// Extension extKeyUsage.
    EXTENDED_KEY_USAGE = "2.5.29.37";
    /// Key purpose: any.
    ANY_PURPOSE = "2.5.29.37.0";
    /// Key purpose: TLS server.
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    /// Key purpose: TLS client.
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

    /// SCEP attribute messageType, RFC 8894.
    SCEP_MESSAGE_TYPE = "2.16.840.1.113733.1.9.2";
    /// SCEP attribute pkiStatus, RFC 8894.
    SCEP_PKI_STATUS = "2.16.840.1.113733.1.9.3";
    /// SCEP attribute failInfo, RFC 8894.
    SCEP_FAIL_INFO = "2.16.840.1.113733.1.9.4";
    /// SCEP attribute senderNonce, RFC 8894.
    SCEP_SENDER_NONCE = "2.16.840.1.113733.1.9.5";
    /// SCEP attribute recipientNonce, RFC 8894.
    SCEP_RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6";
    /// SCEP attribute transactionID, RFC 8894.
    SCEP_TRANSACTION_ID = "2.16.840.1.113733.1.9.7";
}
