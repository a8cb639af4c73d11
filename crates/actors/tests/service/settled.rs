//! Segments that an earlier backup settles: their insert logs are not looked at again, everything else is.
use crate::support::fakes::milvus::{collection, cut};
use crate::support::{Server, World, bounded, request};
use milvault_actors::BackupRequest;
use milvault_domain::backup::{BackupFacts, BackupScope, CollectionName};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::object::{Fingerprint, Location, PackId, SourceObject};
use milvault_domain::ports::Catalog;
use std::collections::{HashMap, HashSet};

/// Deletes in a segment of collection 1.
fn delta(segment_id: i64, log_id: i64, size_bytes: u64) -> SourceObject {
    let key = BinlogKey {
        kind: BinlogKind::Delta,
        collection_id: 1,
        partition_id: 1,
        segment_id,
        field_id: 0,
        log_id,
    };
    SourceObject { key, size_bytes, fingerprint: Fingerprint::ModifiedAtNanos(9) }
}

fn put(world: &World, object: SourceObject) {
    world.stores.source.lock().unwrap().insert(object.key, object);
}

fn lose(world: &World, such: impl Fn(&BinlogKey) -> bool) {
    world.stores.source.lock().unwrap().retain(|key, _| !such(key));
}

async fn back_up(world: &World, server: &Server, cluster_id: ClusterId) -> (BackupId, BackupFacts) {
    let accepted = server.back_up(cluster_id).await;
    let job = server.ended(accepted.job.id).await;
    assert_eq!((job.state, job.failure), (JobState::Successful, None));
    let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
    (backup.id, backup.facts.unwrap())
}

fn keys(world: &World, backup_id: BackupId) -> Vec<BinlogKey> {
    let sealed = world.stores.repository.sealed.lock().unwrap();
    sealed[&backup_id].1.iter().map(|object| object.source.key).collect()
}

#[tokio::test]
async fn a_backup_of_an_unchanged_cluster_has_the_same_objects_and_nothing_to_copy() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        put(&world, delta(100, 1, 7));
        let (first, _) = back_up(&world, &server, cluster.id).await;
        let accepted = server.back_up(cluster.id).await;
        let job = server.ended(accepted.job.id).await;
        assert_eq!((job.state, job.progress.percent()), (JobState::Successful, 100));
        assert_eq!((job.progress.objects_total, job.progress.objects_reused), (11, 11));
        assert_eq!(keys(&world, first), keys(&world, accepted.backup.id));
        let events = world.catalog.job_events(job.id).await.unwrap();
        let phases: Vec<_> = events.into_iter().filter_map(|event| event.phase).collect();
        assert!(!phases.contains(&JobPhase::Copy) && phases.contains(&JobPhase::Seal), "{phases:?}");
    })
    .await;
}

#[tokio::test]
async fn deletes_that_come_to_a_settled_segment_are_copied() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        put(&world, delta(100, 1, 7));
        back_up(&world, &server, cluster.id).await;
        put(&world, delta(100, 2, 8));
        put(&world, delta(101, 3, 9));
        let (second, facts) = back_up(&world, &server, cluster.id).await;
        assert_eq!((facts.object_count, facts.reused_object_count), (13, 11));
        let logs: Vec<i64> = keys(&world, second)
            .into_iter()
            .filter(|key| key.kind == BinlogKind::Delta)
            .map(|key| key.log_id)
            .collect();
        assert_eq!(logs, [1, 2, 3]);
        // A delta log that is not as it was is another object.
        put(&world, delta(100, 2, 88));
        let (_, facts) = back_up(&world, &server, cluster.id).await;
        assert_eq!((facts.object_count, facts.reused_object_count), (13, 12));
    })
    .await;
}

#[tokio::test]
async fn a_segment_that_replaces_others_and_one_that_looks_otherwise_are_listed() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        back_up(&world, &server, cluster.id).await;
        // Compaction made segment 150 of 100 and 101; 102 has other rows than before.
        let mut cities = collection(1, "cities", 3);
        cities.segments.retain(|segment| segment.segment_id == 102);
        cities.segments[0].row_count += 1;
        let mut compacted = cities.segments[0];
        (compacted.segment_id, compacted.row_count) = (150, 19);
        cities.segments.push(compacted);
        world.show(cut(vec![cities, collection(2, "people", 2)]));
        let source = world.stores.source.lock().unwrap().clone();
        let more: Vec<SourceObject> = source
            .values()
            .filter(|object| object.key.segment_id == 102)
            .map(|object| SourceObject {
                key: BinlogKey { log_id: object.key.log_id + 500, ..object.key },
                ..object.clone()
            })
            .collect();
        for object in more {
            put(&world, object);
        }
        let (second, facts) = back_up(&world, &server, cluster.id).await;
        // Four of segment 102, of which two are new; two of segment 150; four of the other collection.
        assert_eq!((facts.object_count, facts.reused_object_count), (10, 6));
        assert!(keys(&world, second).iter().all(|key| ![100, 101].contains(&key.segment_id)));
    })
    .await;
}

#[tokio::test]
async fn files_of_settled_segments_may_vanish_and_files_of_others_may_not() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let (first, _) = back_up(&world, &server, cluster.id).await;
        // The bytes are in the repository, so the backup shows what it must.
        lose(&world, |key| key.segment_id == 100 && key.field_id == 100);
        let (second, _) = back_up(&world, &server, cluster.id).await;
        assert_eq!(keys(&world, first), keys(&world, second));

        world.show(cut(vec![collection(1, "cities", 4), collection(2, "people", 2)]));
        lose(&world, |key| key.segment_id == 103);
        let accepted = server.back_up(cluster.id).await;
        let job = server.ended(accepted.job.id).await;
        let failure = job.failure.unwrap();
        assert_eq!(job.state, JobState::Failed);
        assert!(failure.contains("default.cities") && failure.contains("insert_log/1/1/103/"), "{failure}");
    })
    .await;
}

/// A cluster whose ten objects lie in one pack, of which one segment is left.
async fn mostly_dead() -> (World, Server, ClusterId, HashSet<PackId>) {
    let world = World::new();
    *world.stores.repository.packs.lock().unwrap() = Some(HashMap::new());
    make_small(&world);
    let server = world.start().await;
    let cluster = server.register().await;
    let (first, _) = back_up(&world, &server, cluster.id).await;
    let old = packs(&world, first);
    assert_eq!(old.len(), 1);
    world.show(cut(vec![collection(1, "cities", 1)]));
    make_small(&world);
    (world, server, cluster.id, old)
}

fn make_small(world: &World) {
    world.stores.source.lock().unwrap().values_mut().for_each(|object| object.size_bytes = 4 << 20);
}

fn packs(world: &World, backup_id: BackupId) -> HashSet<PackId> {
    let sealed = world.stores.repository.sealed.lock().unwrap();
    let pack_of = |location| match location {
        Location::Pack { pack_id, .. } => Some(pack_id),
        Location::Object => None,
    };
    sealed[&backup_id].1.iter().filter_map(|object| pack_of(object.location)).collect()
}

#[tokio::test]
async fn a_pack_of_which_one_segment_is_left_is_left_behind_once() {
    bounded(async {
        let (world, server, cluster_id, old) = mostly_dead().await;
        let name = CollectionName { database: "default".to_owned(), collection: "cities".to_owned() };
        let scope = BackupScope::Collections(vec![name]);
        let part =
            server.service.request_backup(BackupRequest { scope, ..request(cluster_id) }).await.unwrap();
        assert_eq!(server.ended(part.job.id).await.progress.objects_reused, 2);
        assert_eq!(packs(&world, part.backup.id), old, "what other collections need is not dead");

        let (second, facts) = back_up(&world, &server, cluster_id).await;
        assert_eq!((facts.object_count, facts.reused_object_count), (2, 0));
        let new = packs(&world, second);
        assert!(new.len() == 1 && new.is_disjoint(&old), "{new:?}");
        let (third, facts) = back_up(&world, &server, cluster_id).await;
        assert_eq!((facts.object_count, facts.reused_object_count), (2, 2));
        assert_eq!(packs(&world, third), new);
        assert_eq!(world.copies_max(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_the_source_does_not_have_any_more_stays_in_its_pack() {
    bounded(async {
        let (world, server, cluster_id, old) = mostly_dead().await;
        lose(&world, |key| key.segment_id == 100 && key.field_id == 100);
        let (second, facts) = back_up(&world, &server, cluster_id).await;
        assert_eq!((facts.object_count, facts.reused_object_count), (2, 2));
        assert_eq!(packs(&world, second), old);
    })
    .await;
}
