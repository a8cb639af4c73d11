//! How milvus-backup lays out the binlogs it copied: as Milvus does, with a group between partition and segment.
//!
//! The group is the segment's own id in general and missing for segments of all partitions, but that is a habit of the
//! tool, not a promise. So groups are taken from what lies there: one listing per kind and collection, remembered.

use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Longest name of a directory, in bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Most directories on the way to a file, from `insert_log` on.
pub(super) const DIRECTORIES_MAX: usize = 6;

/// Where a source's binlogs lie below its root.
#[derive(Clone)]
pub(crate) enum KeyLayout {
    /// As Milvus writes them.
    Milvus,
    /// As milvus-backup copies them.
    Grouped(Arc<GroupedKeys>),
}

impl KeyLayout {
    /// Directory below the root under which `insert_log` and `delta_log` lie, with a slash at its end unless empty.
    pub(crate) fn base(&self) -> &str {
        match self {
            Self::Milvus => "",
            Self::Grouped(keys) => &keys.base,
        }
    }
}

/// Groups by partition and segment; `None` where a segment lies in its partition directly.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(HashMap<(i64, i64), Option<i64>>);

/// See the module.
pub(crate) struct GroupedKeys {
    base: String,
    /// Held while a listing is made, so that copies that begin together make one.
    known: Mutex<HashMap<(BinlogKind, i64), Groups>>,
}

impl GroupedKeys {
    /// The binlogs of a backup's directory.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be the name of a directory.
    pub(crate) fn new(directory: &str) -> PortResult<Self> {
        check_directory(directory)?;
        Ok(Self { base: format!("{directory}/binlogs/"), known: Mutex::default() })
    }

    /// Directory of the binlogs below the source's root, with a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Path of a key below the source's root; `None` when nothing of its segment is there. Lists when the key's
    /// collection was not listed before.
    pub(crate) async fn path(
        &self,
        key: &BinlogKey,
        list: impl AsyncFnOnce() -> PortResult<Groups>,
    ) -> PortResult<Option<String>> {
        let mut known = self.known.lock().await;
        let groups = match known.entry((key.kind, key.collection_id)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(list().await?),
        };
        Ok(self.path_in(groups, key))
    }

    /// As [`Self::path`], for blocking threads.
    pub(crate) fn path_blocking(
        &self,
        key: &BinlogKey,
        list: impl FnOnce() -> PortResult<Groups>,
    ) -> PortResult<Option<String>> {
        let mut known = self.known.blocking_lock();
        let groups = match known.entry((key.kind, key.collection_id)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(list()?),
        };
        Ok(self.path_in(groups, key))
    }

    fn path_in(&self, groups: &Groups, key: &BinlogKey) -> Option<String> {
        let group = groups.0.get(&(key.partition_id, key.segment_id))?;
        Some(format!("{}{}", self.base, relative(key, *group)))
    }
}

impl Groups {
    /// Notes where a listed file lies.
    ///
    /// # Errors
    /// `Corrupt` when its segment lies in another group too: one of them would be lost.
    pub(crate) fn note(&mut self, key: &BinlogKey, group: Option<i64>) -> PortResult<()> {
        let before = self.0.insert((key.partition_id, key.segment_id), group);
        if before.is_none_or(|before| before == group) {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::Corrupt,
            format!(
                "segment {} of collection {} lies in two places of `binlogs/{}/`; milvus-backup writes each once",
                key.segment_id,
                key.collection_id,
                key.kind.directory()
            ),
        ))
    }
}

/// A key as the tool lays it out, below `binlogs/`.
fn relative(key: &BinlogKey, group: Option<i64>) -> String {
    let BinlogKey { kind, collection_id, partition_id, segment_id, field_id, log_id } = key;
    let group = group.map(|group| format!("{group}/")).unwrap_or_default();
    let segment = format!("{}/{collection_id}/{partition_id}/{group}{segment_id}", kind.directory());
    match kind {
        BinlogKind::Insert => format!("{segment}/{field_id}/{log_id}"),
        BinlogKind::Delta => format!("{segment}/{log_id}"),
    }
}

/// Reads a path below `binlogs/`: the key and its group. The number of parts tells whether there is a group.
pub(crate) fn parse(path: &str) -> Option<(BinlogKey, Option<i64>)> {
    let parts: Vec<&str> = path.split('/').collect();
    let without_group = match parts.first() {
        Some(&"insert_log") => 6,
        Some(&"delta_log") => 5,
        _ => return None,
    };
    if parts.len() != without_group + 1 {
        return Some((BinlogKey::parse(path)?, None));
    }
    let group: i64 = parts[3].parse().ok()?;
    let key = BinlogKey::parse(&[&parts[..3], &parts[4..]].concat().join("/"))?;
    // Only the one spelling that leads back to this path.
    (relative(&key, Some(group)) == path).then_some((key, Some(group)))
}

/// Checks the name of a backup's directory.
///
/// # Errors
/// `InvalidInput` for one that leads elsewhere or cannot exist.
pub(crate) fn check_directory(name: &str) -> PortResult<()> {
    let hostile = name.is_empty()
        || name == "."
        || name == ".."
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control)
        || NAME_BYTES_MAX < name.len();
    if hostile {
        let shown: String = name.escape_debug().take(80).collect();
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!("`{shown}` cannot be the name of a backup's directory; give its name without a path"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_with_and_without_a_group_are_read_and_written_back() {
        for (path, group) in [
            ("insert_log/1/2/3/3/100/7", Some(3)),
            ("insert_log/1/2/9/3/100/7", Some(9)),
            ("insert_log/1/2/3/100/7", None),
            ("delta_log/1/2/3/3/7", Some(3)),
            ("delta_log/1/2/3/7", None),
            ("delta_log/1/-1/3/7", None),
            ("delta_log/1/-1/0/3/7", Some(0)),
        ] {
            let (key, found) = parse(path).unwrap();
            assert_eq!((key.segment_id, key.log_id, found), (3, 7, group), "{path}");
            assert_eq!(relative(&key, found), path);
        }
        for path in [
            "insert_log/1/2/3/4/5/6/7",
            "delta_log/1/2/03/3/7",
            "delta_log/1/2/+3/3/7",
            "stats_log/1/2/3/4",
            "",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_segment_in_two_groups_is_refused() {
        let mut groups = Groups::default();
        let (key, _) = parse("insert_log/1/2/3/3/100/7").unwrap();
        groups.note(&key, Some(3)).unwrap();
        groups.note(&key, Some(3)).unwrap();
        assert_eq!(groups.note(&key, None).unwrap_err().kind(), PortErrorKind::Corrupt);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", "/etc", "a\0b", "a\nb", "a\\b", &"x".repeat(256)] {
            assert_eq!(check_directory(name).unwrap_err().kind(), PortErrorKind::InvalidInput, "{name:?}");
        }
        for name in ["nightly", "backup_2024_01_02", "..x", "with space", "\u{e9}"] {
            check_directory(name).unwrap();
        }
    }

    proptest! {
        #[test]
        fn what_is_read_leads_back_to_where_it_was(path in "(insert|delta)_log(/-?[0-9]{1,3}){2,8}") {
            if let Some((key, group)) = parse(&path) {
                prop_assert_eq!(relative(&key, group), path);
            }
        }
    }
}
