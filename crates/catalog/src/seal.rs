//! Encryption of what must not be readable in the database: AES-256-GCM, one random 96-bit nonce per value, bound to
//! the place (table, id, column) it was written for, so that a value cannot be moved to another row.
//!
//! Stored form: `v1:<key id>:<hex of nonce and ciphertext>`.
//!
//! A key file holds one key, or several lines while keys are changed: the first seals, the others only unseal. Keys that
//! come from elsewhere are written with commas in between.

mod key_file;

pub use key_file::{begin_rotation, end_rotation};

use crate::error::corrupt;
use crate::model::{from_json, to_json};
use aes_gcm::aead::{Aead, KeyInit, Nonce, Payload};
use aes_gcm::{Aes256Gcm, Key};
use key_file::{KEYS_MAX, KeyBytes, create_key, read_keys};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

const VERSION: &str = "v1";
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// Encrypts secrets with one key, and decrypts them with that and older ones.
pub struct Sealer {
    current: SealingKey,
    older: Vec<SealingKey>,
    origin: String,
}

struct SealingKey {
    cipher: Aes256Gcm,
    id: String,
    /// For what is derived from it.
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl SealingKey {
    fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        // A one-way name of the key, which tells keys apart and tells nothing about them.
        let digest = blake3::derive_key("milvault 2026 catalog sealing key id", &*key);
        Self {
            cipher: Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key)),
            id: hex::encode(&digest[..8]),
            bytes: key,
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("key_id", &self.current.id)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads the keys from a file, or makes a new key and its file where there is none. The file holds 64 hexadecimal
    /// digits, and one such line more for each older key; only its owner may read it. Whoever loses it loses the secrets in the catalog: back it up apart
    /// from the database.
    ///
    /// # Errors
    /// `PermissionDenied` when other users can read the file or this one cannot; `InvalidInput` when it holds no key;
    /// `Unavailable` when it cannot be read or made.
    pub fn load_or_create(path: &Path) -> PortResult<Self> {
        let keys = match read_keys(path)? {
            Some(keys) => keys,
            None => vec![create_key(path)?],
        };
        Self::with_keys(keys, format!("key file {}", path.display()))
    }

    /// Reads the keys from a file that must exist.
    ///
    /// # Errors
    /// As for [`Self::load_or_create`]; `NotFound` when there is none.
    pub fn load(path: &Path) -> PortResult<Self> {
        let missing =
            || PortError::new(PortErrorKind::NotFound, format!("there is no key file {}", path.display()));
        Self::with_keys(read_keys(path)?.ok_or_else(missing)?, format!("key file {}", path.display()))
    }

    /// Takes keys that come from elsewhere, named by `origin` in messages: 64 hexadecimal digits each, with commas in
    /// between. The first seals, the others only unseal.
    ///
    /// # Errors
    /// `InvalidInput` when it is no such text. Nothing of it is repeated.
    pub fn from_hex(text: &str, origin: &str) -> PortResult<Self> {
        let no_keys = || {
            let message = format!(
                "{origin} does not hold 1 to {KEYS_MAX} keys of 64 hexadecimal digits, separated by commas"
            );
            PortError::new(PortErrorKind::InvalidInput, message)
        };
        let mut keys = Vec::new();
        for digits in text.split(',').map(str::trim) {
            let mut key: KeyBytes = Zeroizing::new([0; KEY_BYTES]);
            hex::decode_to_slice(digits, &mut *key).map_err(|_| no_keys())?;
            keys.push(key);
        }
        if KEYS_MAX < keys.len() { Err(no_keys()) } else { Self::with_keys(keys, origin.to_owned()) }
    }

    /// Takes a key that comes from elsewhere.
    #[must_use]
    pub fn from_key_bytes(key: [u8; KEY_BYTES]) -> Self {
        let current = SealingKey::new(Zeroizing::new(key));
        Self { current, older: Vec::new(), origin: String::from("the given key") }
    }

    /// Takes keys that come from elsewhere: one that seals, and others that only unseal.
    #[must_use]
    pub fn from_keys(current: [u8; KEY_BYTES], older: &[[u8; KEY_BYTES]]) -> Self {
        let older = older.iter().map(|key| SealingKey::new(Zeroizing::new(*key))).collect();
        Self { older, ..Self::from_key_bytes(current) }
    }

    fn with_keys(keys: Vec<Zeroizing<[u8; KEY_BYTES]>>, origin: String) -> PortResult<Self> {
        let mut keys = keys.into_iter().map(SealingKey::new);
        let none = || PortError::new(PortErrorKind::InvalidInput, format!("{origin} holds no key"));
        let current = keys.next().ok_or_else(none)?;
        Ok(Self { current, older: keys.collect(), origin })
    }

    /// Name of the key that seals, not secret.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.current.id
    }

    /// Names of the keys that only unseal.
    #[must_use]
    pub fn older_key_ids(&self) -> Vec<String> {
        self.older.iter().map(|key| key.id.clone()).collect()
    }

    /// The key with that name.
    fn key(&self, key_id: &str) -> Option<&SealingKey> {
        std::iter::once(&self.current).chain(&self.older).find(|key| key.id == key_id)
    }

    /// Whether a sealed value is sealed with the key that seals now.
    pub(crate) fn is_current(&self, sealed: &str) -> bool {
        key_id_of(sealed) == Some(self.key_id())
    }

    /// Seals a sealed value anew, with the key that seals now.
    pub(crate) fn reseal(&self, place: Place<'_>, sealed: &str) -> PortResult<String> {
        self.seal(place, &self.unseal(place, sealed)?)
    }

    /// Encrypts a structure for one place.
    pub(crate) fn seal_json<T: Serialize>(&self, place: Place<'_>, value: &T) -> PortResult<String> {
        self.seal(place, &Zeroizing::new(to_json(value)?))
    }

    /// Decrypts a structure that was sealed for the same place.
    pub(crate) fn unseal_json<T: DeserializeOwned>(&self, place: Place<'_>, sealed: &str) -> PortResult<T> {
        from_json(&self.unseal(place, sealed)?)
    }

    /// Encrypts a text for one place.
    fn seal(&self, place: Place<'_>, plaintext: &str) -> PortResult<String> {
        let nonce: [u8; NONCE_BYTES] = random_bytes();
        let bound_to = place.to_string();
        let payload = Payload { msg: plaintext.as_bytes(), aad: bound_to.as_bytes() };
        let ciphertext = self
            .current
            .cipher
            .encrypt(&Nonce::<Aes256Gcm>::from(nonce), payload)
            .map_err(|_| PortError::new(PortErrorKind::Internal, format!("cannot encrypt {place}")))?;
        Ok(format!("{VERSION}:{}:{}{}", self.current.id, hex::encode(nonce), hex::encode(ciphertext)))
    }

    /// Decrypts what was sealed for the same place.
    fn unseal(&self, place: Place<'_>, sealed: &str) -> PortResult<Zeroizing<String>> {
        let mut parts = sealed.splitn(3, ':');
        let (Some(VERSION), Some(key_id), Some(digits)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(corrupt(format_args!("{place} is not sealed in a form that this program knows")));
        };
        let Some(key) = self.key(key_id) else { return Err(self.unknown_key(key_id)) };
        let damaged = || corrupt(format_args!("{place} was changed after it was sealed"));
        let bytes = hex::decode(digits).map_err(|_| damaged())?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let bound_to = place.to_string();
        let payload = Payload { msg: ciphertext, aad: bound_to.as_bytes() };
        let plaintext =
            key.cipher.decrypt(&Nonce::<Aes256Gcm>::from(*nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(plaintext).map(Zeroizing::new).map_err(|_| damaged())
    }

    /// Whether this holds the key with that name.
    ///
    /// # Errors
    /// `PermissionDenied`, in words that name both keys.
    pub(crate) fn check_key_id(&self, key_id: &str) -> PortResult<()> {
        if self.key(key_id).is_some() { Ok(()) } else { Err(self.unknown_key(key_id)) }
    }

    fn unknown_key(&self, key_id: &str) -> PortError {
        PortError::new(
            PortErrorKind::PermissionDenied,
            format!(
                "the secrets in the catalog are sealed with key {key_id}, but {} holds key {}; put the key back that the catalog was made with",
                self.origin, self.current.id
            ),
        )
    }
}

/// Bytes of a key's name, and of what makes the key of each file another one.
pub(crate) const KEY_ID_BYTES: usize = 8;
pub(crate) const SALT_BYTES: usize = 16;

/// A key for one file, derived from one that seals.
pub(crate) struct FileKey {
    cipher: Aes256Gcm,
}

impl FileKey {
    fn derive(key: &SealingKey, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("milvault 2026 catalog backup key v1");
        hasher.update(&*key.bytes).update(salt);
        let derived = Zeroizing::new(*hasher.finalize().as_bytes());
        Self { cipher: Aes256Gcm::new(&Key::<Aes256Gcm>::from(*derived)) }
    }

    /// A nonce for each piece of the file: no two pieces have the same, and the last one is known as such.
    fn nonce(piece: u64, last: bool) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&piece.to_le_bytes());
        nonce[8] = u8::from(last);
        nonce
    }

    pub(crate) fn seal(&self, piece: u64, last: bool, plaintext: &[u8]) -> PortResult<Vec<u8>> {
        let nonce = Nonce::<Aes256Gcm>::from(Self::nonce(piece, last));
        let failed =
            |_| PortError::new(PortErrorKind::Internal, "a backup of the catalog cannot be encrypted");
        self.cipher.encrypt(&nonce, plaintext).map_err(failed)
    }

    pub(crate) fn unseal(&self, piece: u64, last: bool, sealed: &[u8]) -> PortResult<Vec<u8>> {
        let nonce = Nonce::<Aes256Gcm>::from(Self::nonce(piece, last));
        let failed = |_| PortError::new(PortErrorKind::Corrupt, "the backup of the catalog is damaged");
        self.cipher.decrypt(&nonce, sealed).map_err(failed)
    }
}

impl Sealer {
    /// A key for a new file, the name of the key that it derives from, and the salt to derive it again.
    pub(crate) fn new_file_key(&self) -> PortResult<(FileKey, [u8; KEY_ID_BYTES], [u8; SALT_BYTES])> {
        let mut key_id = [0; KEY_ID_BYTES];
        hex::decode_to_slice(&self.current.id, &mut key_id)
            .map_err(|error| PortError::with_source(PortErrorKind::Internal, "a key has no name", error))?;
        let salt = random_bytes::<SALT_BYTES>();
        Ok((FileKey::derive(&self.current, &salt), key_id, salt))
    }

    /// The key of a file that was written before.
    ///
    /// # Errors
    /// `PermissionDenied` when it derives from a key that is not here.
    pub(crate) fn file_key(&self, key_id: &[u8], salt: &[u8]) -> PortResult<FileKey> {
        let key_id = hex::encode(key_id);
        let missing = || {
            let message = format!(
                "the backup of the catalog is sealed with key {key_id}, but {} holds key {}; put that key back, or behind the current one",
                self.origin, self.current.id
            );
            PortError::new(PortErrorKind::PermissionDenied, message)
        };
        Ok(FileKey::derive(self.key(&key_id).ok_or_else(missing)?, salt))
    }
}

/// Name of the key that a value is sealed with; `None` when it has no form that this program knows.
pub(crate) fn key_id_of(sealed: &str) -> Option<&str> {
    let mut parts = sealed.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(VERSION), Some(key_id), Some(_)) => Some(key_id),
        _ => None,
    }
}

/// The place a sealed value belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) id: &'a str,
    pub(crate) column: &'static str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.table, self.id, self.column)
    }
}

fn random_bytes<const N: usize>() -> [u8; N] {
    use aes_gcm::aead::Generate;
    <[u8; N]>::generate()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLACE: Place<'static> = Place { table: "clusters", id: "clu_1", column: "endpoint" };

    #[test]
    fn what_was_sealed_can_be_unsealed_and_never_looks_the_same() {
        let sealer = Sealer::from_key_bytes([7; 32]);
        let first = sealer.seal(PLACE, "hunter2").unwrap();
        let second = sealer.seal(PLACE, "hunter2").unwrap();
        assert_ne!(first, second);
        assert!(first.starts_with(&format!("v1:{}:", sealer.key_id())));
        assert!(!first.contains("hunter2") && !first.contains(&hex::encode("hunter2")));
        assert_eq!(sealer.unseal(PLACE, &first).unwrap().as_str(), "hunter2");
    }

    #[test]
    fn moved_and_changed_values_are_refused() {
        let sealer = Sealer::from_key_bytes([7; 32]);
        let text = sealer.seal(PLACE, "hunter2").unwrap();
        for place in [
            Place { table: "repositories", ..PLACE },
            Place { id: "clu_2", ..PLACE },
            Place { column: "storage", ..PLACE },
        ] {
            assert_eq!(sealer.unseal(place, &text).unwrap_err().kind(), PortErrorKind::Corrupt);
        }
        let last = if text.ends_with('0') { "1" } else { "0" };
        let changed = format!("{}{last}", &text[..text.len() - 1]);
        for text in [changed.as_str(), "", "v1", "v2:x:00", &text[..text.len() - 2]] {
            assert_eq!(sealer.unseal(PLACE, text).unwrap_err().kind(), PortErrorKind::Corrupt, "{text}");
        }
    }

    #[test]
    fn another_key_is_named_in_the_error() {
        let sealed = Sealer::from_key_bytes([7; 32]).seal(PLACE, "hunter2").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.key");
        let error = Sealer::load_or_create(&path).unwrap().unseal(PLACE, &sealed).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
        assert!(error.to_string().contains("other.key"), "{error}");
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", Sealer::from_key_bytes([0xab; 32]));
        assert!(!text.contains("abab") && !text.contains("171"), "{text}");
    }

    #[test]
    fn keys_are_read_from_a_text_of_which_no_error_repeats_anything() {
        let (new, old) = ("ab".repeat(KEY_BYTES), "07".repeat(KEY_BYTES));
        let sealed = Sealer::from_key_bytes([7; KEY_BYTES]).seal(PLACE, "hunter2").unwrap();
        let both = Sealer::from_hex(&format!("{new}, {old}"), "catalog.master_key").unwrap();
        assert_eq!(both.unseal(PLACE, &sealed).unwrap().as_str(), "hunter2");
        assert!(!both.is_current(&sealed) && both.is_current(&both.reseal(PLACE, &sealed).unwrap()));
        let alone = Sealer::from_hex(&new, "catalog.master_key").unwrap();
        let error = alone.unseal(PLACE, &sealed).unwrap_err();
        assert!(error.to_string().contains("catalog.master_key holds key"), "{error}");
        let many = [new.as_str(); KEYS_MAX + 1].join(",");
        for text in ["", &new[1..], &format!("{new},"), &format!("{new};{old}"), &many] {
            let error = Sealer::from_hex(text, "it").unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{text}");
            assert!(!error.to_string().contains("abab"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_private_and_read_again() {
        use std::fs::{Permissions, metadata, set_permissions, write};
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.key");
        let made = Sealer::load_or_create(&path).unwrap();
        assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Sealer::load_or_create(&path).unwrap().key_id(), made.key_id());

        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = Sealer::load_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
        assert!(error.to_string().contains("chmod 600"), "{error}");

        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, "no key").unwrap();
        let error = Sealer::load_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput);
        assert!(!error.to_string().contains("no key"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn keys_are_changed_in_steps_that_never_lose_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let first = Sealer::load_or_create(&path).unwrap();
        let sealed = first.seal(PLACE, "hunter2").unwrap();

        let both = begin_rotation(&path).unwrap();
        assert_ne!(both.key_id(), first.key_id());
        assert_eq!(both.older_key_ids(), [first.key_id().to_owned()]);
        assert_eq!(begin_rotation(&path).unwrap().key_id(), both.key_id(), "an open change goes on");
        assert!(!both.is_current(&sealed));
        assert_eq!(both.unseal(PLACE, &sealed).unwrap().as_str(), "hunter2");
        let anew = both.reseal(PLACE, &sealed).unwrap();
        assert!(both.is_current(&anew));

        let retired = end_rotation(&path).unwrap();
        assert_eq!(retired.len(), 1);
        let second = Sealer::load(&path).unwrap();
        assert_eq!((second.key_id(), second.older_key_ids().len()), (both.key_id(), 0));
        assert_eq!(second.unseal(PLACE, &anew).unwrap().as_str(), "hunter2");
        assert_eq!(second.unseal(PLACE, &sealed).unwrap_err().kind(), PortErrorKind::PermissionDenied);
        assert_eq!(Sealer::load(&retired[0]).unwrap().unseal(PLACE, &sealed).unwrap().as_str(), "hunter2");
        assert!(end_rotation(&path).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn servers_that_start_at_once_get_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.key");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Sealer::load_or_create(&path).unwrap().current.id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
