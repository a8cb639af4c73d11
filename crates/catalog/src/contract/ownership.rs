//! Whose the catalog is: one server or several, one key; and that nothing is lost between two runs.

use super::Home;
use super::samples::{World, at, cut, manual_backup, progress, sealer, tenancy};
use crate::Sealer;
use milvault_domain::access::ApiKey;
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::ports::{InsertOutcome, PortErrorKind};
use std::sync::Arc;

super::cases![
    a_second_server_is_refused_where_it_cannot_share,
    the_next_run_sees_everything,
    another_key_is_refused,
    secrets_cannot_be_read_in_the_database,
];

async fn a_second_server_is_refused_where_it_cannot_share(home: Arc<dyn Home>) {
    let catalog = home.open(sealer()).await.unwrap();
    if catalog.is_shared() {
        home.open(sealer()).await.unwrap().ping().await.unwrap();
        return;
    }
    let error = home.open(sealer()).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Conflict);
    assert!(error.to_string().contains("stop that server"), "{error}");
    catalog.ping().await.unwrap();
    drop(catalog);
    home.open(sealer()).await.unwrap().ping().await.unwrap();
}

async fn the_next_run_sees_everything(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let done = manual_backup(&world.cluster);
    world.add_available(&done).await;
    let open = manual_backup(&world.cluster);
    world.add(&open).await;
    world.start(open.job.id).await;
    world.catalog.save_progress(open.job.id, JobPhase::Copy, progress(400), at(2)).await.unwrap();
    let before = (world.job(open.job.id).await, world.backup(done.backup.id).await);
    let events = world.catalog.job_events(open.job.id).await.unwrap();
    let World { catalog, repository, cluster, .. } = world;
    drop(catalog);

    let catalog = home.open(sealer()).await.unwrap();
    assert_eq!(catalog.repository(repository.id).await.unwrap(), Some(repository));
    assert_eq!(catalog.cluster(cluster.id).await.unwrap(), Some(cluster.clone()));
    assert_eq!(catalog.open_jobs().await.unwrap(), [before.0]);
    assert_eq!(catalog.job_events(open.job.id).await.unwrap(), events);
    assert_eq!(catalog.backup(done.backup.id).await.unwrap(), Some(before.1));
    let contents = catalog.backup_contents(done.backup.id).await.unwrap().unwrap();
    assert_eq!(contents.row_count(), cut().row_count());
    let second = catalog.insert_backup(&manual_backup(&cluster)).await.unwrap();
    assert_eq!(second, InsertOutcome::Busy(open.job.id));
    let (_, made) = catalog.ensure_tenancy(&tenancy(), &unused_key()).await.unwrap();
    assert!(!made);
    catalog.transition_job(open.job.id, JobState::Pending, None, at(3)).await.unwrap();
}

fn unused_key() -> ApiKey {
    super::samples::api_key(&tenancy())
}

async fn another_key_is_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let cluster = world.cluster.clone();
    drop(world);
    let error = home.open(Sealer::from_key_bytes([8; 32])).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::PermissionDenied);
    assert!(error.to_string().contains("put the key back"), "{error}");
    // The attempt harmed nothing.
    let catalog = home.open(sealer()).await.unwrap();
    assert_eq!(catalog.cluster(cluster.id).await.unwrap(), Some(cluster));
}

async fn secrets_cannot_be_read_in_the_database(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.catalog.update_cluster(&world.cluster).await.unwrap();
    let contents = home.raw_contents().await;
    let holds = |text: &str| contents.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&world.cluster.name), "the search finds what is there");
    for secret in ["repository-secret-plaintext", "milvus-secret-plaintext", "storage-path-plaintext"] {
        assert!(!holds(secret), "{secret}");
        assert!(!holds(&hex::encode(secret)), "{secret} as hexadecimal digits");
    }
}
