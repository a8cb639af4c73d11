//! Names of the files of a repository, relative to its root (specified in `docs/format.md`).

use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::object::{Location, ObjectId, PackId, StoredObject};

/// The file that makes a place a repository.
pub(crate) const MARKER: &str = "milvault.json";
/// Directory of what is being written and of probes; nothing in it is part of a backup.
pub(crate) const TEMPORARY: &str = "tmp";
/// Directory of packs.
pub(crate) const PACKS: &str = "packs";
/// Directory of objects that have a file of their own.
pub(crate) const OBJECTS: &str = "objects";
/// Directory of backups.
pub(crate) const BACKUPS: &str = "backups";

/// Directory of backups of catalogs.
pub(crate) const CATALOG: &str = "catalog";

/// File of a backup of a catalog.
pub(crate) fn catalog_backup(name: &str) -> String {
    format!("{CATALOG}/{name}")
}

/// File of a pack.
pub(crate) fn pack(id: PackId) -> String {
    spread(PACKS, &id.to_string())
}

/// File of an object that has one of its own.
pub(crate) fn object(id: ObjectId) -> String {
    spread(OBJECTS, &id.to_string())
}

/// File that an object's bytes lie in.
pub(crate) fn file_of(object: &StoredObject) -> String {
    match object.location {
        Location::Pack { pack_id, .. } => pack(pack_id),
        Location::Object => self::object(object.id),
    }
}

/// A file of a backup.
pub(crate) fn backup_file(id: BackupId, name: &str) -> String {
    format!("{BACKUPS}/{id}/{name}")
}

/// Name of a manifest in the directory of its backup.
pub(crate) const MANIFEST: &str = "manifest";
/// Name of a saved plan in the directory of its backup.
pub(crate) const UNFINISHED: &str = "unfinished";
/// Name of a tombstone in the directory of its backup.
pub(crate) const TOMBSTONE: &str = "deleted.json";

/// The backup that a file belongs to, and its name in that backup's directory.
pub(crate) fn of_backup(path: &str) -> Option<(BackupId, &str)> {
    let (id, name) = path.strip_prefix(BACKUPS)?.strip_prefix('/')?.split_once('/')?;
    Some((id.parse().ok()?, name))
}

/// The manifest of a backup.
pub(crate) fn manifest(id: BackupId) -> String {
    backup_file(id, MANIFEST)
}

/// The file that says that a backup is deleted.
pub(crate) fn tombstone(id: BackupId) -> String {
    backup_file(id, TOMBSTONE)
}

/// The facts of a backup for a person.
pub(crate) fn summary(id: BackupId) -> String {
    backup_file(id, "summary.json")
}

/// Header and plan of a backup that is not sealed.
pub(crate) fn unfinished(id: BackupId) -> String {
    backup_file(id, UNFINISHED)
}

/// What changed of a backup since its manifest was written.
pub(crate) fn record(id: BackupId, revision: u64) -> String {
    backup_file(id, &format!("{RECORD_PREFIX}{revision:0RECORD_DIGITS$}{RECORD_SUFFIX}"))
}

/// The revision of a record, by its path; `None` for other files.
pub(crate) fn record_revision(path: &str) -> Option<u64> {
    revision_in(of_backup(path)?.1, RECORD_PREFIX)
}

/// Directory of what is known of clusters.
pub(crate) const CLUSTERS: &str = "clusters";

/// The policy of a cluster's automatic backups.
pub(crate) fn policy(id: ClusterId, revision: u64) -> String {
    format!("{CLUSTERS}/{id}/{POLICY_PREFIX}{revision:0RECORD_DIGITS$}{RECORD_SUFFIX}")
}

/// Directory of what is known of a cluster.
pub(crate) fn cluster(id: ClusterId) -> String {
    format!("{CLUSTERS}/{id}")
}

/// Cluster and revision of a policy's record, by its path; `None` for other files.
pub(crate) fn policy_revision(path: &str) -> Option<(ClusterId, u64)> {
    let (id, name) = path.strip_prefix(CLUSTERS)?.strip_prefix('/')?.split_once('/')?;
    Some((id.parse().ok()?, revision_in(name, POLICY_PREFIX)?))
}

/// The revision in the name of a record.
fn revision_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(RECORD_SUFFIX)?;
    let well_formed = (RECORD_DIGITS..=RECORD_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| well_formed)
}

const RECORD_PREFIX: &str = "record-";
const POLICY_PREFIX: &str = "policy-";
const RECORD_DIGITS: usize = 16;
/// Longer numbers are nobody's count; whoever counts on from here has room.
const RECORD_DIGITS_MAX: usize = 18;
const RECORD_SUFFIX: &str = ".json";

/// What names of files with hashes recorded by a verify begin with.
pub(crate) const HASHES_PREFIX: &str = "hashes-";

/// A name below [`TEMPORARY`] that nobody else uses.
pub(crate) fn temporary(label: &str) -> String {
    format!("{TEMPORARY}/{label}.{:016x}", rand::random::<u64>())
}

/// Two digits spread the files over 256 directories: file systems and people dislike directories with a million.
fn spread(directory: &str, name: &str) -> String {
    format!("{directory}/{}/{name}", &name[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_by_their_names() {
        let id = BackupId::from_uuid(uuid::Uuid::nil());
        assert_eq!(record(id, 7), backup_file(id, "record-0000000000000007.json"));
        for revision in [1, 12, 999_999_999_999_999_999] {
            assert_eq!(record_revision(&record(id, revision)), Some(revision));
        }
        for name in [
            "record-18446744073709551615.json",
            "record-7.json",
            "record-000000000000000x.json",
            "manifest",
            "record-.json",
        ] {
            assert_eq!(record_revision(&backup_file(id, name)), None, "{name}");
        }
    }

    #[test]
    fn policies_are_told_by_their_names() {
        let id = ClusterId::from_uuid(uuid::Uuid::nil());
        assert_eq!(policy(id, 7), format!("clusters/{id}/policy-0000000000000007.json"));
        for revision in [1, 1_700_000_000_000_000, 999_999_999_999_999_999] {
            assert_eq!(policy_revision(&policy(id, revision)), Some((id, revision)));
        }
        for path in ["clusters/x/policy-0000000000000007.json", "clusters/policy-0000000000000007.json"] {
            assert_eq!(policy_revision(path), None, "{path}");
        }
        assert_eq!(policy_revision(&format!("clusters/{id}/policy-7.json")), None);
    }

    #[test]
    fn files_are_spread_by_their_first_two_digits() {
        assert_eq!(pack(PackId::from_bytes([0xab; 16])), format!("packs/ab/{}", "ab".repeat(16)));
        assert_eq!(object(ObjectId::from_bytes([1; 16])), format!("objects/01/{}", "01".repeat(16)));
    }
}
