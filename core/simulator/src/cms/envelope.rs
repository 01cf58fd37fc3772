//! EnvelopedData: what a SCEP request and its answer are wrapped in.
//!
//! Owns sealing for an RSA certificate and opening with an RSA key. Never signs. Source: RFC
//! 5652, section 6; RFC 8894, section 3.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use cms::content_info::ContentInfo;
use cms::enveloped_data::{EnvelopedData, RecipientInfo};
use der::{Decode, Encode};

use super::{CmsError, DATA, RSA_ENCRYPTION, chunks, issuer_and_serial, parse_certificate};
use crate::asn1::{self, tag};
use crate::keys::{DeviceKey, KeyError};

const ENVELOPED_DATA: &str = "1.2.840.113549.1.7.3";
const AES_128_CBC: &str = "2.16.840.1.101.3.4.1.2";
const AES_192_CBC: &str = "2.16.840.1.101.3.4.1.22";
const AES_256_CBC: &str = "2.16.840.1.101.3.4.1.42";
const DES_EDE3_CBC: &str = "1.2.840.113549.3.7";

/// Which cipher an envelope uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cipher {
    /// AES-128 in CBC mode.
    Aes128,
    /// AES-256 in CBC mode.
    Aes256,
    /// Triple DES, where the server announced nothing better.
    TripleDes,
}

/// EnvelopedData for the holder of an RSA certificate.
pub(crate) fn envelope(
    recipient: &[u8],
    cipher: Cipher,
    content: &[u8],
    indefinite: bool,
) -> Result<Vec<u8>, CmsError> {
    let (oid, key_len, iv_len) = match cipher {
        Cipher::Aes128 => (AES_128_CBC, 16, 16),
        Cipher::Aes256 => (AES_256_CBC, 32, 16),
        Cipher::TripleDes => (DES_EDE3_CBC, 24, 8),
    };
    let mut key = vec![0; key_len];
    let mut iv = vec![0; iv_len];
    for secret in [&mut key, &mut iv] {
        aws_lc_rs::rand::fill(secret).map_err(|_| KeyError("random"))?;
    }
    let ciphertext = encrypt(cipher, &key, &iv, content)?;
    let certificate = parse_certificate(recipient)?;
    let spki = certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .map_err(|_| CmsError::Malformed("CA certificate"))?;
    let public = PublicEncryptingKey::from_der(&spki)
        .map_err(|_| CmsError::Malformed("CA certificate (it needs an RSA key)"))?;
    let public = Pkcs1PublicEncryptingKey::new(public).map_err(|_| KeyError("encrypt"))?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public
        .encrypt(&key, &mut wrapped)
        .map_err(|_| KeyError("encrypt"))?;
    let recipient = asn1::seq(&[
        &asn1::unsigned(&[0]),
        &issuer_and_serial(recipient)?,
        &asn1::algorithm(RSA_ENCRYPTION),
        &asn1::tlv(tag::OCTET_STRING, wrapped),
    ]);
    let algorithm = asn1::seq(&[&asn1::oid(oid), &asn1::tlv(tag::OCTET_STRING, &iv)]);
    let (wrap, octets) = if indefinite {
        let pieces = asn1::indefinite(tag::CONTEXT_0, &chunks(&ciphertext));
        (asn1::indefinite as fn(u8, &[u8]) -> Vec<u8>, pieces)
    } else {
        let octets = asn1::tlv(tag::CONTEXT_0_PRIMITIVE, &ciphertext);
        (asn1::tlv as fn(u8, &[u8]) -> Vec<u8>, octets)
    };
    let encrypted = [asn1::oid(DATA), algorithm, octets].concat();
    let enveloped = [
        asn1::unsigned(&[0]),
        asn1::tlv(tag::SET, &recipient),
        wrap(tag::SEQUENCE, &encrypted),
    ]
    .concat();
    let content = wrap(tag::CONTEXT_0, &wrap(tag::SEQUENCE, &enveloped));
    let info = [asn1::oid(ENVELOPED_DATA), content].concat();
    Ok(wrap(tag::SEQUENCE, &info))
}

/// What an envelope for this key holds.
pub(crate) fn open_envelope(key: &DeviceKey, der: &[u8]) -> Result<Vec<u8>, CmsError> {
    let malformed = |_| CmsError::Malformed("envelope");
    let info = ContentInfo::from_der(der).map_err(malformed)?;
    let enveloped: EnvelopedData = info.content.decode_as().map_err(malformed)?;
    let wrapped = enveloped.recip_infos.0.iter().find_map(|info| match info {
        RecipientInfo::Ktri(info) => Some(info.enc_key.as_bytes()),
        _ => None,
    });
    let content_key = key.unwrap(wrapped.ok_or(CmsError::Malformed("envelope"))?)?;
    let encrypted = &enveloped.encrypted_content;
    let parameters = encrypted.content_enc_alg.parameters.as_ref();
    let iv = parameters.map_or(&[][..], |any| any.value());
    let ciphertext = encrypted
        .encrypted_content
        .as_ref()
        .ok_or(CmsError::Malformed("envelope"))?;
    let oid = encrypted.content_enc_alg.oid.to_string();
    decrypt(&oid, &content_key, iv, ciphertext.as_bytes())
}

fn encrypt(cipher: Cipher, key: &[u8], iv: &[u8], plain: &[u8]) -> Result<Vec<u8>, CmsError> {
    let refused = |_| KeyError("encrypt");
    let aes: &'static Algorithm = match cipher {
        Cipher::Aes128 => &AES_128,
        Cipher::Aes256 => &AES_256,
        Cipher::TripleDes => {
            let encryptor = cbc::Encryptor::<des::TdesEde3>::new_from_slices(key, iv)
                .map_err(|_| KeyError("encrypt"))?;
            return Ok(encryptor.encrypt_padded_vec::<Pkcs7>(plain));
        }
    };
    let iv: [u8; 16] = iv.try_into().map_err(|_| KeyError("encrypt"))?;
    let key = UnboundCipherKey::new(aes, key).map_err(refused)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(refused)?;
    let mut out = plain.to_vec();
    key.less_safe_encrypt(&mut out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(refused)?;
    Ok(out)
}

fn decrypt(oid: &str, key: &[u8], iv: &[u8], cipher: &[u8]) -> Result<Vec<u8>, CmsError> {
    let refused = |_| KeyError("decrypt");
    let aes: &'static Algorithm = match oid {
        AES_128_CBC => &AES_128,
        AES_192_CBC => &AES_192,
        AES_256_CBC => &AES_256,
        DES_EDE3_CBC => {
            let decryptor = cbc::Decryptor::<des::TdesEde3>::new_from_slices(key, iv)
                .map_err(|_| KeyError("decrypt"))?;
            let plain = decryptor.decrypt_padded_vec::<Pkcs7>(cipher);
            return Ok(plain.map_err(|_| KeyError("decrypt"))?);
        }
        other => return Err(CmsError::Algorithm(other.to_owned())),
    };
    let iv: [u8; 16] = iv.try_into().map_err(|_| KeyError("decrypt"))?;
    let key = UnboundCipherKey::new(aes, key).map_err(refused)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(refused)?;
    let mut buffer = cipher.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = key.decrypt(&mut buffer, context).map_err(refused)?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cms::tests::identity;

    #[test]
    fn envelopes_open_with_the_key_of_the_recipient() {
        let me = identity(0);
        for cipher in [Cipher::Aes128, Cipher::Aes256, Cipher::TripleDes] {
            let sealed = envelope(&me.certificate, cipher, b"secret", false).unwrap();
            assert_eq!(open_envelope(&me.key, &sealed).unwrap(), b"secret");
            assert!(open_envelope(&identity(1).key, &sealed).is_err());
        }
    }
}
