//! The file of the keys: one line for the key that seals, and one for each older key that values may still need.

use super::{KEY_BYTES, Sealer, random_bytes};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most keys at a time: the current one, and those that values may still be sealed with.
pub(super) const KEYS_MAX: usize = 8;
/// A key is 64 digits and a line break; whatever is larger is no key file.
const KEY_FILE_BYTES_MAX: u64 = 1024;

pub(super) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

pub(super) fn read_keys(path: &Path) -> PortResult<Option<Vec<KeyBytes>>> {
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
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(line, &mut *key).map_err(|_| no_key(path))?;
        keys.push(key);
    }
    if keys.is_empty() || KEYS_MAX < keys.len() { Err(no_key(path)) } else { Ok(Some(keys)) }
}

fn no_key(path: &Path) -> PortError {
    let message = format!(
        "key file {} does not hold 64 hexadecimal digits (a line for each key); put the right file back, or remove it when the catalog is new",
        path.display()
    );
    PortError::new(PortErrorKind::InvalidInput, message)
}

/// Makes a new key and puts it in front of those of the file: from now on it seals. A file that has older keys
/// already is left as it is: an earlier change of keys was cut off, and goes on.
///
/// # Errors
/// As for [`Sealer::load`].
pub fn begin_rotation(path: &Path) -> PortResult<Sealer> {
    let sealer = Sealer::load(path)?;
    if !sealer.older.is_empty() {
        return Ok(sealer);
    }
    let key = Zeroizing::new(random_bytes::<KEY_BYTES>());
    let text = Zeroizing::new(format!("{}{}", *line_of(&key), *line_of(&sealer.current.bytes)));
    write_private(path, &text)?;
    Sealer::load(path)
}

/// Leaves only the first key in the file, after the others were written to files of their own beside it, whose paths
/// this returns: backups of the catalog that were made before need them.
///
/// # Errors
/// As for [`Sealer::load`].
pub fn end_rotation(path: &Path) -> PortResult<Vec<PathBuf>> {
    let sealer = Sealer::load(path)?;
    let mut retired = Vec::new();
    for key in &sealer.older {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".retired-{}", key.id));
        let beside = PathBuf::from(name);
        write_private(&beside, &line_of(&key.bytes))?;
        retired.push(beside);
    }
    write_private(path, &line_of(&sealer.current.bytes))?;
    Ok(retired)
}

fn line_of(key: &KeyBytes) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(**key))))
}

/// Puts a file in the place of another, at once and durably, readable by its owner only.
fn write_private(path: &Path, text: &str) -> PortResult<()> {
    let failed = |error| file_error(path, "write", error);
    let directory = directory_of(path);
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes the file under a temporary name and links it to its own, so that nobody ever sees half a key and two
/// servers that start at once end up with the same one.
pub(super) fn create_key(path: &Path) -> PortResult<KeyBytes> {
    let failed = |error| file_error(path, "make", error);
    let directory = directory_of(path);
    let key = Zeroizing::new(random_bytes::<KEY_BYTES>());
    // Temporary files of this library are readable by their owner only.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    let text = line_of(&key);
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            let keys = read_keys(path)?.unwrap_or_default();
            keys.into_iter().next().ok_or_else(|| failed(error.error))
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
