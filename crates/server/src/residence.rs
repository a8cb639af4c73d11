//! Whether a server that ran in this data directory before is dead.
//!
//! The file `server.id` names the server that runs here, which holds a lock on the file while it lives, however it ends.
//! Whoever gets the lock knows that the one named before is gone, and need not wait until its leases run out.

use anyhow::Context;
use milvault_domain::ids::ServerId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest content of the file, in bytes.
const FILE_BYTES_MAX: u64 = 256;

/// The data directory as this server's own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Residence {
    /// This server.
    pub(crate) server_id: ServerId,
    /// The server that ran here before and is dead.
    pub(crate) former: Option<ServerId>,
    _lock: Option<File>,
}

impl Residence {
    /// Enters a server into the directory. Where another one runs there, nothing is known and nothing is written.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn take(data_dir: &Path, server_id: ServerId) -> anyhow::Result<Self> {
        let path = data_dir.join("server.id");
        let cannot = || format!("cannot use {}", path.display());
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Self { server_id, former: None, _lock: None }),
            // A file system without locks: nothing can be known.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, path = %path.display(), "the data directory cannot be locked");
                return Ok(Self { server_id, former: None, _lock: None });
            }
        }
        let mut text = String::new();
        (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
        let former = text.trim().parse().ok();
        file.set_len(0).with_context(cannot)?;
        file.rewind().with_context(cannot)?;
        writeln!(file, "{server_id}").with_context(cannot)?;
        Ok(Self { server_id, former, _lock: Some(file) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_former_server_is_known_when_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second, third] = [1, 2, 3].map(|number| ServerId::from_uuid(Uuid::from_u128(number)));
        let running = Residence::take(directory.path(), first).unwrap();
        assert_eq!(running.former, None);
        assert_eq!(Residence::take(directory.path(), second).unwrap().former, None);
        drop(running);
        // The second was refused the lock, so its name is not there.
        let running = Residence::take(directory.path(), third).unwrap();
        assert_eq!(running.former, Some(first));
        drop(running);
        assert_eq!(Residence::take(directory.path(), first).unwrap().former, Some(third));
    }
}
