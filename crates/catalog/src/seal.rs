//! Encryption of what must not be readable in the database: AES-256-GCM, one random 96-bit nonce per value, bound to
//! the place (table, id, column) it was written for, so that a value cannot be moved to another row.
//!
//! Stored form: `v1:<key id>:<hex of nonce and ciphertext>`.

use crate::error::corrupt;
use crate::model::{from_json, to_json};
use aes_gcm::aead::{Aead, KeyInit, Nonce, Payload};
use aes_gcm::{Aes256Gcm, Key};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

const VERSION: &str = "v1";
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
/// A key file holds 64 digits and a line break; whatever is larger is no key file.
const KEY_FILE_BYTES_MAX: u64 = 256;

/// Encrypts and decrypts secrets with one key.
pub struct Sealer {
    cipher: Aes256Gcm,
    key_id: String,
    origin: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("key_id", &self.key_id)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads the key from a file, or makes a new key and its file where there is none. The file holds 64 hexadecimal
    /// digits, and only its owner may read it. Whoever loses it loses the secrets in the catalog: back it up apart
    /// from the database.
    ///
    /// # Errors
    /// `PermissionDenied` when other users can read the file or this one cannot; `InvalidInput` when it holds no key;
    /// `Unavailable` when it cannot be read or made.
    pub fn load_or_create(path: &Path) -> PortResult<Self> {
        let key = match read_key(path) {
            Ok(Some(key)) => key,
            Ok(None) => create_key(path)?,
            Err(error) => return Err(error),
        };
        Ok(Self::with_key(&key, format!("key file {}", path.display())))
    }

    /// Takes a key that comes from elsewhere.
    #[must_use]
    pub fn from_key_bytes(key: [u8; KEY_BYTES]) -> Self {
        Self::with_key(&Zeroizing::new(key), String::from("the given key"))
    }

    fn with_key(key: &Zeroizing<[u8; KEY_BYTES]>, origin: String) -> Self {
        // A one-way name of the key, which tells keys apart and tells nothing about them.
        let digest = blake3::derive_key("milvault 2026 catalog sealing key id", &**key);
        Self {
            cipher: Aes256Gcm::new(&Key::<Aes256Gcm>::from(**key)),
            key_id: hex::encode(&digest[..8]),
            origin,
        }
    }

    /// Name of the key, not secret.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
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
            .cipher
            .encrypt(&Nonce::<Aes256Gcm>::from(nonce), payload)
            .map_err(|_| PortError::new(PortErrorKind::Internal, format!("cannot encrypt {place}")))?;
        Ok(format!("{VERSION}:{}:{}{}", self.key_id, hex::encode(nonce), hex::encode(ciphertext)))
    }

    /// Decrypts what was sealed for the same place.
    fn unseal(&self, place: Place<'_>, sealed: &str) -> PortResult<Zeroizing<String>> {
        let mut parts = sealed.splitn(3, ':');
        let (Some(VERSION), Some(key_id), Some(digits)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(corrupt(format_args!("{place} is not sealed in a form that this program knows")));
        };
        self.check_key_id(key_id)?;
        let damaged = || corrupt(format_args!("{place} was changed after it was sealed"));
        let bytes = hex::decode(digits).map_err(|_| damaged())?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let bound_to = place.to_string();
        let payload = Payload { msg: ciphertext, aad: bound_to.as_bytes() };
        let plaintext =
            self.cipher.decrypt(&Nonce::<Aes256Gcm>::from(*nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(plaintext).map(Zeroizing::new).map_err(|_| damaged())
    }

    /// Whether this is the key with that name.
    ///
    /// # Errors
    /// `PermissionDenied`, in words that name both keys.
    pub(crate) fn check_key_id(&self, key_id: &str) -> PortResult<()> {
        if key_id == self.key_id {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::PermissionDenied,
            format!(
                "the secrets in the catalog are sealed with key {key_id}, but {} holds key {}; put the key back that the catalog was made with",
                self.origin, self.key_id
            ),
        ))
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

fn read_key(path: &Path) -> PortResult<Option<Zeroizing<[u8; KEY_BYTES]>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(path, "read", error)),
    };
    check_private(path, &file)?;
    let mut text = Zeroizing::new(String::new());
    (&mut file)
        .take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| file_error(path, "read", error))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| {
        PortError::new(
            PortErrorKind::InvalidInput,
            format!(
                "key file {} does not hold 64 hexadecimal digits; put the right file back, or remove it when the catalog is new",
                path.display()
            ),
        )
    })?;
    Ok(Some(key))
}

/// Writes the file under a temporary name and links it to its own, so that nobody ever sees half a key and two
/// servers that start at once end up with the same one.
fn create_key(path: &Path) -> PortResult<Zeroizing<[u8; KEY_BYTES]>> {
    let failed = |error| file_error(path, "make", error);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let key = Zeroizing::new(random_bytes::<KEY_BYTES>());
    // Temporary files of this library are readable by their owner only.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*key))));
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or_else(|| failed(error.error))
        }
        Err(error) => Err(failed(error.error)),
    }
}

#[cfg(unix)]
fn check_private(path: &Path, file: &File) -> PortResult<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(|error| file_error(path, "read", error))?.permissions().mode();
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::PermissionDenied,
        format!(
            "key file {} can be read by other users (mode {:o}); run `chmod 600` on it, and consider its key known to them",
            path.display(),
            mode & 0o777
        ),
    ))
}

#[cfg(not(unix))]
fn check_private(_path: &Path, _file: &File) -> PortResult<()> {
    Ok(())
}

fn file_error(path: &Path, verb: &str, error: std::io::Error) -> PortError {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied => PortErrorKind::PermissionDenied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => PortErrorKind::StorageFull,
        ErrorKind::ReadOnlyFilesystem => PortErrorKind::ReadOnly,
        _ => PortErrorKind::Unavailable,
    };
    PortError::with_source(kind, format!("cannot {verb} key file {}: {error}", path.display()), error)
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
    fn servers_that_start_at_once_get_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.key");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Sealer::load_or_create(&path).unwrap().key_id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
