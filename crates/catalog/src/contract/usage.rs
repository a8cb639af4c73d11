//! What the backups of a project take up.

use super::Home;
use super::samples::{World, facts, manual_backup};
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::ProjectUsage;
use std::sync::Arc;
use uuid::Uuid;

super::cases![available_backups_are_summed_by_project];

async fn available_backups_are_summed_by_project(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let here = world.cluster.project_id;
    assert_eq!(world.catalog.usage(&[here]).await.unwrap(), []);
    for name in ["one", "two"] {
        let mut new = manual_backup(&world.cluster);
        name.clone_into(&mut new.backup.name);
        world.add_available(&new).await;
    }
    // One that is being made takes up nothing yet.
    world.catalog.insert_backup(&manual_backup(&world.cluster)).await.unwrap();
    let facts = facts();
    let expected = ProjectUsage {
        backup_count: 2,
        logical_bytes: 2 * facts.logical_bytes,
        stored_bytes: 2 * facts.newly_stored_bytes,
    };
    let elsewhere = ProjectId::from_uuid(Uuid::from_u128(99));
    assert_eq!(world.catalog.usage(&[elsewhere, here]).await.unwrap(), [(here, expected)]);
}
