#![allow(clippy::unwrap_used)]

use super::*;
use crate::place::LocalPlace;
use milvault_domain::ids::{ClusterId, OrganizationId, ProjectId};
use tempfile::TempDir;
use uuid::Uuid;

fn record(revision: u64, name: &str) -> BackupRecord {
    BackupRecord {
        backup_id: BackupId::from_uuid(Uuid::from_u128(5)),
        cluster_id: ClusterId::from_uuid(Uuid::from_u128(6)),
        revision,
        organization: NamedOrganization {
            id: OrganizationId::from_uuid(Uuid::from_u128(1)),
            name: String::from("Acme"),
        },
        project: NamedProject { id: ProjectId::from_uuid(Uuid::from_u128(2)), name: String::from("Default") },
        name: name.to_owned(),
        description: String::new(),
        created_at: DateTime::UNIX_EPOCH,
        completed_at: DateTime::UNIX_EPOCH,
        expires_at: None,
        newly_stored_bytes: 1,
        reused_object_count: 2,
        holds: Vec::new(),
    }
}

async fn read_back(place: &LocalPlace) -> PortResult<Option<BackupRecord>> {
    read(place, record(1, "").backup_id).await
}

#[tokio::test]
async fn a_damaged_record_hides_none_that_is_written_since() {
    let directory = TempDir::new().unwrap();
    let place = LocalPlace::new(directory.path());
    let path = |revision| directory.path().join(layout::record(record(1, "").backup_id, revision));
    assert_eq!(read_back(&place).await.unwrap(), None);
    write(&place, &record(3, "lost")).await.unwrap();
    std::fs::write(path(3), "{").unwrap();
    assert_eq!(read_back(&place).await.unwrap_err().kind(), PortErrorKind::Corrupt);
    // A catalog that was made again without it counts from 1.
    write(&place, &record(2, "since")).await.unwrap();
    assert_eq!(read_back(&place).await.unwrap(), Some(record(2, "since")));
    write(&place, &record(3, "and on")).await.unwrap();
    assert_eq!(read_back(&place).await.unwrap(), Some(record(3, "and on")));
}

#[tokio::test]
async fn a_record_of_a_later_version_is_not_taken_for_one_of_this() {
    let directory = TempDir::new().unwrap();
    let place = LocalPlace::new(directory.path());
    write(&place, &record(1, "ours")).await.unwrap();
    let path = directory.path().join(layout::record(record(1, "").backup_id, 1));
    let later = std::fs::read_to_string(&path).unwrap();
    let later = later.replacen("\"format_version\": 1", "\"format_version\": 2", 1);
    std::fs::write(&path, later).unwrap();
    assert_eq!(read_back(&place).await.unwrap_err().kind(), PortErrorKind::Unsupported);
}
