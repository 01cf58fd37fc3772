//! Sealing: envelope encryption of everything secret that is stored.
//!
//! Owns: the root key, the data key of each tenant (wrapped by the root key, kept in the tenant's row) and
//! the two keys derived from it, one to seal and one to hash. Never stores anything itself.
//!
//! A ciphertext is bound to its place: tenant, table, row and column are associated data, so a ciphertext
//! moved elsewhere does not open (invariant S2). The cipher is AES-256-GCM-SIV (RFC 8452): nonces are random, and a
//! server that seals thousands of reports a second would come near the limit that random nonces have with
//! plain GCM.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{digest, hmac};
use parking_lot::RwLock;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::Random;
use crate::error::{Error, Result};
use crate::ids::TenantId;

const FORMAT: u8 = 1;
const HEADER: usize = 1 + 4 + NONCE_LEN;

/// Where a sealed value stands; part of what is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// What names the row: its key, as bytes.
    pub row: &'a [u8],
}

/// The key that wraps every tenant's key. It is not in the database.
pub struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// Takes 32 bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| Error::Invalid("a root key is exactly 32 bytes".into()))?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    fn sealer(&self) -> Result<TenantKeys> {
        TenantKeys::derive(&self.0[..], TenantId(Uuid::nil()))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey")
    }
}

/// The keys of one tenant.
pub struct TenantKeys {
    tenant: TenantId,
    key_id: [u8; 4],
    seal: LessSafeKey,
    hash: hmac::Key,
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKeys")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl TenantKeys {
    fn derive(secret: &[u8], tenant: TenantId) -> Result<Self> {
        let prk = Salt::new(HKDF_SHA256, tenant.0.as_bytes()).extract(secret);
        let expand = |info: &'static [u8]| -> Result<Zeroizing<[u8; 32]>> {
            let mut out = Zeroizing::new([0u8; 32]);
            prk.expand(&[info], Length(32))
                .and_then(|okm| okm.fill(&mut out[..]))
                .map_err(|e| Error::internal("key derivation", e.to_string()))?;
            Ok(out)
        };
        let seal = expand(b"pomona seal 1")?;
        let hash = expand(b"pomona hash 1")?;
        let digest = digest::digest(&digest::SHA256, &hash[..]);
        let mut key_id = [0u8; 4];
        for (to, from) in key_id.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        let seal = UnboundKey::new(&AES_256_GCM_SIV, &seal[..])
            .map_err(|e| Error::internal("key derivation", e.to_string()))?;
        Ok(Self {
            tenant,
            key_id,
            seal: LessSafeKey::new(seal),
            hash: hmac::Key::new(hmac::HMAC_SHA256, &hash[..]),
        })
    }

    /// Seals `plain` for `place`.
    ///
    /// # Errors
    /// [`Error::Internal`] when the cipher refuses, which only a plaintext of many gigabytes would cause.
    pub fn seal(&self, random: &dyn Random, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0u8; NONCE_LEN];
        random.fill(&mut nonce);
        let mut out = Vec::with_capacity(HEADER + plain.len() + 16);
        out.push(FORMAT);
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.aad(place)),
                &mut body,
            )
            .map_err(|e| Error::internal("sealing", e.to_string()))?;
        out.append(&mut body);
        Ok(out)
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    ///
    /// # Errors
    /// [`Error::Internal`] when the value was made elsewhere, for another place, or was changed.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
        let fail = || Error::internal("opening a sealed value", "it does not belong here");
        let (header, body) = sealed.split_at_checked(HEADER).ok_or_else(fail)?;
        let nonce: [u8; NONCE_LEN] = match header.split_first() {
            Some((&FORMAT, rest)) => match rest.split_at_checked(4) {
                Some((id, nonce)) if id == self.key_id => nonce.try_into().map_err(|_| fail())?,
                _ => return Err(fail()),
            },
            _ => return Err(fail()),
        };
        let mut body = body.to_vec();
        let length = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.aad(place)),
                &mut body,
            )
            .map_err(|_| fail())?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// A hash of `data` that nobody without the key can compute, for look-ups. `purpose` keeps hashes of different things apart.
    pub fn hash(&self, purpose: &'static str, data: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.hash);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(data);
        let mut out = [0u8; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }

    fn aad(&self, place: Place<'_>) -> Vec<u8> {
        let mut aad = Vec::with_capacity(64 + place.row.len());
        aad.extend_from_slice(self.tenant.0.as_bytes());
        aad.extend_from_slice(&self.key_id);
        for part in [place.table.as_bytes(), place.column.as_bytes(), place.row] {
            // A length before each part, so that no two places share one text.
            aad.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            aad.extend_from_slice(part);
        }
        aad
    }
}

/// Hands out the keys of tenants.
pub struct Keyring {
    root: TenantKeys,
    tenants: RwLock<HashMap<TenantId, Arc<TenantKeys>>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// A key ring under this root key.
    ///
    /// # Errors
    /// [`Error::Internal`] when keys cannot be derived.
    pub fn new(root: &RootKey) -> Result<Self> {
        Ok(Self {
            root: root.sealer()?,
            tenants: RwLock::default(),
        })
    }

    /// The operator's own keys, for what belongs to no tenant.
    pub fn operator(&self) -> &TenantKeys {
        &self.root
    }

    /// Makes a data key for a new tenant and returns it wrapped, for the tenant's row.
    ///
    /// # Errors
    /// As [`TenantKeys::seal`].
    pub fn create(&self, random: &dyn Random, tenant: TenantId) -> Result<Vec<u8>> {
        let mut key = Zeroizing::new([0u8; 32]);
        random.fill(&mut key[..]);
        self.root.seal(random, wrapped(&tenant), &key[..])
    }

    /// The keys of a tenant that was unwrapped before.
    pub fn cached(&self, tenant: TenantId) -> Option<Arc<TenantKeys>> {
        self.tenants.read().get(&tenant).cloned()
    }

    /// Unwraps the data key from the tenant's row.
    ///
    /// # Errors
    /// [`Error::Internal`] when the root key is not the one that wrapped it.
    pub fn unwrap(&self, tenant: TenantId, data_key: &[u8]) -> Result<Arc<TenantKeys>> {
        let key = Zeroizing::new(self.root.open(wrapped(&tenant), data_key)?);
        let keys = Arc::new(TenantKeys::derive(&key, tenant)?);
        self.tenants.write().insert(tenant, keys.clone());
        Ok(keys)
    }
}

fn wrapped(tenant: &TenantId) -> Place<'_> {
    Place {
        table: "tenant",
        column: "data_key",
        row: tenant.0.as_bytes(),
    }
}
