//! The revocation journal: which certificates must never act again, kept outside the database.
//!
//! Owns: one append-only file. A line is forced to disk after the transaction that revokes has committed and before
//! anybody is answered, so that a restored older backup cannot revive a device that has left (invariant E7). A crash in
//! between is mended at the next start ([`reconcile`](super::reconcile)). Not before the commit: a line whose transaction
//! then failed would lock out a device that nobody revoked. Never removes a line and never decides what is revoked.
//!
//! While the server runs, the database row is what decides; the journal is read at start and after a restore
//! ([`reconcile`](super::reconcile)). Several nodes may write to one file on a shared disk, since each
//! line is written with a single append.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// The SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// A certificate that must never act again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The tenant.
    pub tenant: TenantId,
    /// Which certificate.
    pub fingerprint: Fingerprint,
    /// When.
    pub at: Micros,
    /// One word, such as `checked_out`; other characters than letters, digits, `_` and `-` are replaced.
    pub reason: String,
}

/// The open journal. Clones share the file.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    file: Mutex<Option<File>>,
    revoked: RwLock<HashSet<(TenantId, Fingerprint)>>,
    damaged: usize,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.0.path)
            .field("revoked", &self.len())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens or creates the file at `path` and reads it. Lines that cannot be read (a write was cut short) are
    /// skipped and counted.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be read or created.
    pub fn open(path: &Path) -> Result<Self> {
        let (revoked, damaged) = match std::fs::read(path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => (HashSet::new(), 0),
            Err(error) => return Err(unavailable(error)),
        };
        if damaged > 0 {
            tracing::warn!(
                journal.damaged_lines = damaged,
                "the revocation journal has lines that cannot be read"
            );
        }
        let file = open_for_append(path).map_err(unavailable)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            file: Mutex::new(Some(file)),
            revoked: RwLock::new(revoked),
            damaged,
        })))
    }

    /// Whether this certificate of this tenant was ever revoked.
    pub fn contains(&self, tenant: TenantId, fingerprint: &Fingerprint) -> bool {
        self.0.revoked.read().contains(&(tenant, *fingerprint))
    }

    /// How many revocations there are.
    pub fn len(&self) -> usize {
        self.0.revoked.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many lines could not be read when it was opened.
    pub fn damaged_lines(&self) -> usize {
        self.0.damaged
    }

    /// Every revocation, in no order.
    pub fn revoked(&self) -> Vec<(TenantId, Fingerprint)> {
        self.0.revoked.read().iter().copied().collect()
    }

    /// Adds `revocations` and returns when they are on disk. Call it after the transaction that revokes has
    /// committed and before anybody is answered. Those that stand in it already are not written again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they may not be on disk; the next start writes them then.
    pub async fn append(&self, revocations: &[Revocation]) -> Result<()> {
        let fresh: Vec<Revocation> = {
            let known = self.0.revoked.read();
            revocations
                .iter()
                .filter(|r| !known.contains(&(r.tenant, r.fingerprint)))
                .cloned()
                .collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || inner.write(&fresh))
            .await
            .map_err(|error| Error::internal("writing the revocation journal", error))?
            .map_err(unavailable)
    }
}

impl Inner {
    fn write(&self, fresh: &[Revocation]) -> std::io::Result<()> {
        let mut lines = String::new();
        for revocation in fresh {
            line(&mut lines, revocation);
        }
        let mut held = self.file.lock();
        // After a failed write or flush the handle is not used again: it may report a later flush as good
        // although the pages were lost, and the file may end within a line.
        let mut file = match held.take() {
            Some(file) => file,
            None => open_for_append(&self.path)?,
        };
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        *held = Some(file);
        drop(held);
        let mut revoked = self.revoked.write();
        revoked.extend(fresh.iter().map(|r| (r.tenant, r.fingerprint)));
        Ok(())
    }
}

fn unavailable(source: std::io::Error) -> Error {
    Error::Unavailable {
        message: "the revocation journal cannot be used",
        source: source.into(),
    }
}

/// Opens the file for appending; makes sure that its name is on disk and that what follows begins on a new line.
fn open_for_append(path: &Path) -> std::io::Result<File> {
    let ends_within_a_line = match std::fs::read(path) {
        Ok(bytes) => bytes.last().is_some_and(|last| *last != b'\n'),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    if ends_within_a_line {
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    #[cfg(unix)]
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// `fingerprint tenant micros reason`, each line ended by a newline.
fn line(out: &mut String, revocation: &Revocation) {
    use fmt::Write as _;
    let reason: String = revocation
        .reason
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
            _ => '_',
        })
        .take(64)
        .collect();
    let _ = writeln!(
        out,
        "{} {} {} {}",
        hex::encode(revocation.fingerprint),
        revocation.tenant.0,
        revocation.at,
        if reason.is_empty() { "-" } else { &reason }
    );
}

/// Reads the lines. Fingerprint and tenant are what counts: a line cut off after them still revokes.
fn parse(bytes: &[u8]) -> (HashSet<(TenantId, Fingerprint)>, usize) {
    let mut revoked = HashSet::new();
    let mut damaged = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match parse_line(line) {
            Some(entry) => {
                revoked.insert(entry);
            }
            None => damaged += 1,
        }
    }
    (revoked, damaged)
}

fn parse_line(line: &[u8]) -> Option<(TenantId, Fingerprint)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let mut fingerprint = [0u8; 32];
    hex::decode_to_slice(words.next()?, &mut fingerprint).ok()?;
    let tenant = words.next().filter(|word| word.len() == 36)?;
    Some((TenantId(Uuid::parse_str(tenant).ok()?), fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(7));

    fn revocation(n: u8, reason: &str) -> Revocation {
        Revocation {
            tenant: TENANT,
            fingerprint: [n; 32],
            at: 1_800_000_000_000_000,
            reason: reason.into(),
        }
    }

    #[tokio::test]
    async fn what_was_appended_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let journal = Journal::open(&path).unwrap();
        assert!(journal.is_empty());
        journal
            .append(&[revocation(1, "checked_out"), revocation(2, "a b\nc")])
            .await
            .unwrap();
        journal.append(&[revocation(1, "again")]).await.unwrap();
        assert!(journal.contains(TENANT, &[1; 32]));
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.len(), 2);
        assert_eq!(again.damaged_lines(), 0);
        assert!(again.contains(TENANT, &[2; 32]));
        assert!(!again.contains(TenantId(Uuid::from_u128(8)), &[2; 32]));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "a known one is not written twice");
    }

    #[tokio::test]
    async fn a_journal_cut_at_any_byte_keeps_every_whole_line_and_takes_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let mut whole = String::new();
        line(&mut whole, &revocation(1, "removed"));
        let first = whole.len();
        line(&mut whole, &revocation(2, "removed"));
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let journal = Journal::open(&path).unwrap();
            assert!(journal.contains(TENANT, &[1; 32]), "cut at {cut}");
            journal.append(&[revocation(3, "removed")]).await.unwrap();
            let again = Journal::open(&path).unwrap();
            assert!(again.contains(TENANT, &[1; 32]) && again.contains(TENANT, &[3; 32]));
            assert!(again.damaged_lines() <= 1);
        }
    }

    #[tokio::test]
    async fn a_failed_append_says_so_and_revokes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let journal = Journal::open(&path).unwrap();
        *journal.0.file.lock() = None;
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(journal.append(&[revocation(1, "x")]).await.is_err());
        assert!(!journal.contains(TENANT, &[1; 32]));
    }

    #[test]
    fn lines_that_are_no_revocation_are_counted() {
        let (revoked, damaged) = parse(b"nonsense\n\n00 11\n\xff\xff\n");
        assert!(revoked.is_empty());
        assert_eq!(damaged, 3);
    }
}
