//! Comparisons of a restore's collections with their backup.

use crate::support::fakes::gates::Act;
use crate::support::fakes::server::{FakeServer, name, row};
use crate::support::restored::{PARTITIONS, Restored, cities, city_fields, rows_at_cut};
use crate::support::{World, bounded};
use futures::FutureExt;
use milvault_actors::ServiceError;
use milvault_domain::binlog::BinlogKind;
use milvault_domain::job::JobState;
use milvault_domain::ports::{Catalog, PortErrorKind};
use milvault_domain::restore::{CompareDepth, ComparedCollection};
use std::sync::atomic::Ordering;

const DEPTHS: [CompareDepth; 4] =
    [CompareDepth::Counts, CompareDepth::Keys, CompareDepth::Sample, CompareDepth::Rows];

/// Compares at a depth and returns what was found about the only collection. Job and report agree.
async fn compared(world: &World, restored: &Restored, depth: CompareDepth) -> ComparedCollection {
    let job = restored.compare(world, depth).await;
    let report = world.catalog.compare_report(job.id).await.unwrap();
    let report = report.unwrap_or_else(|| panic!("{:?}", job.failure));
    assert_eq!(report.collections.len(), 1);
    let differs = !report.collections[0].differences.is_empty();
    assert_eq!(job.state, if differs { JobState::Failed } else { JobState::Successful }, "{job:?}");
    let progress = job.progress;
    assert_eq!((progress.bytes_done, progress.objects_done), (progress.bytes_total, progress.objects_total));
    assert!(progress.bytes_total > 0);
    report.collections[0].clone()
}

/// Damages a target that was restored well, and tells what each depth finds.
async fn findings(damage: impl Fn(&FakeServer)) -> Vec<Vec<String>> {
    let mut findings = Vec::new();
    for depth in DEPTHS {
        let found = bounded(async {
            let world = World::new();
            let restored = Restored::backed_up(&world).await;
            restored.fill_target();
            damage(&restored.target);
            compared(&world, &restored, depth).await.differences
        });
        findings.push(found.await);
    }
    findings
}

fn first_mentions(found: &[String], words: &[&str]) -> bool {
    found.first().is_some_and(|first| words.iter().all(|word| first.contains(word)))
}

#[tokio::test]
async fn a_faithful_target_agrees_at_every_depth() {
    for (depth, whole) in DEPTHS.into_iter().zip([0, 0, 22, 22]) {
        bounded(async {
            let world = World::new();
            let restored = Restored::backed_up(&world).await;
            restored.fill_target();
            let found = compared(&world, &restored, depth).await;
            assert_eq!(found.differences, Vec::<String>::new(), "{depth:?}");
            assert_eq!(found.rows_compared_whole, whole, "{depth:?}");
            let rows: Vec<_> =
                found.partitions.iter().map(|p| (p.partition.as_str(), p.expected, p.found)).collect();
            assert_eq!(rows, [("_default", 0, 0), ("north", 17, 17), ("south", 5, 5)], "{depth:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_row_too_few_is_found_at_every_depth() {
    let found = findings(|target| {
        let state = target.state();
        let segment = state.find(&cities()).unwrap().segments.last().unwrap().segment_id;
        drop(state);
        drop_row(target, segment);
    })
    .await;
    for found in found {
        assert!(
            first_mentions(&found, &["partition `south`", "5 rows in the backup", "4 at the target"]),
            "{found:?}"
        );
    }
}

/// Takes the last row out of a segment's files and of the server's figures.
fn drop_row(target: &FakeServer, segment_id: i64) {
    target.disks.edit(&target.disk, |disk| {
        let mut last = std::collections::BTreeMap::new();
        for key in disk.binlogs.keys().filter(|key| key.segment_id == segment_id) {
            last.insert(key.field_id, *key);
        }
        for key in last.into_values() {
            let mut values = crate::support::fakes::binlogs::decode(&disk.binlogs[&key].content).unwrap();
            values.pop();
            disk.write(key, crate::support::fakes::binlogs::encode(values));
        }
    });
    let mut state = target.state();
    let segments = &mut state.find_mut(&cities()).unwrap().segments;
    segments.iter_mut().find(|segment| segment.segment_id == segment_id).unwrap().row_count -= 1;
}

#[tokio::test]
async fn a_row_too_many_is_found_at_every_depth() {
    let found = findings(|target| {
        target.insert(&cities(), "north", &[row(&["99", "new", "[1]", "{}"])]);
    })
    .await;
    for found in found {
        assert!(
            first_mentions(&found, &["partition `north`", "17 rows in the backup", "18 at the target"]),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn rows_in_a_partition_that_had_none_are_found_at_every_depth() {
    let found = findings(|target| {
        target.insert(&cities(), "_default", &[row(&["99", "new", "[1]", "{}"])]);
    })
    .await;
    for found in found {
        assert!(
            first_mentions(&found, &["partition `_default`", "0 rows in the backup", "1 at the"]),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn another_primary_key_is_found_by_its_checksum() {
    let found = findings(|target| {
        target.damage_field(&cities(), 100, |keys| {
            keys.iter_mut().filter(|key| *key == "43").for_each(|key| *key = "430".to_owned());
        });
    })
    .await;
    assert_eq!(found[0], Vec::<String>::new());
    for found in &found[1..] {
        assert!(first_mentions(found, &["partition `south`", "5 rows", "primary keys differ"]), "{found:?}");
    }
}

#[tokio::test]
async fn one_changed_value_is_found_by_the_field_it_is_in() {
    for (field_id, field) in [(101, "`name`"), (102, "`vector`"), (103, "`$meta`")] {
        let found = findings(|target| {
            target.damage_field(&cities(), field_id, |values| {
                if values.iter().any(|value| value.contains("24")) {
                    values.last_mut().unwrap().push('!');
                }
            });
        })
        .await;
        assert_eq!(found[..2], [vec![], Vec::<String>::new()]);
        for found in &found[2..] {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(first_mentions(found, &["partition `north`", field, "checksum"]), "{found:?}");
        }
    }
}

#[tokio::test]
async fn swapped_values_of_two_rows_are_found() {
    let found = findings(|target| {
        target.damage_field(&cities(), 101, |values| {
            if values.len() > 1 {
                values.swap(0, 1);
            }
        });
    })
    .await;
    assert_eq!(found[..2], [vec![], Vec::<String>::new()]);
    assert!(found[2..].iter().all(|found| first_mentions(found, &["`name`", "checksum"])), "{found:?}");
}

#[tokio::test]
async fn a_field_that_is_missing_on_one_side_is_a_difference() {
    let found = findings(|target| {
        target.disks.edit(&target.disk, |disk| disk.binlogs.retain(|key, _| key.field_id != 103));
    })
    .await;
    assert!(
        found[2..].iter().all(|found| first_mentions(found, &["`$meta`", "missing at the target"])),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_partition_that_is_missing_is_named() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.target.create(&cities(), &city_fields(), &["_default", "north"]);
        restored.target.insert(&cities(), "north", &rows_at_cut("north"));
        for depth in DEPTHS {
            let found = compared(&world, &restored, depth).await;
            assert!(first_mentions(&found.differences, &["partition `south` does not exist"]), "{found:?}");
            assert_eq!(found.partitions[2].found, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn deletes_at_the_target_count_by_what_they_leave() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        restored.target.insert(&cities(), "south", &[row(&["99", "new", "[1]", "{}"])]);
        restored.target.delete_in_l0(&cities(), &["99"]);
        let found = compared(&world, &restored, CompareDepth::Rows).await;
        assert_eq!(found.differences, Vec::<String>::new());
        restored.target.delete_in_l0(&cities(), &["40"]);
        let found = compared(&world, &restored, CompareDepth::Keys).await;
        assert!(first_mentions(&found.differences, &["`south`", "5 rows in the backup, 4"]), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn counts_are_of_what_deletes_leave_where_a_server_counts_deleted_rows() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        restored.target.state().l0_segments = true;
        let found = compared(&world, &restored, CompareDepth::Counts).await;
        assert_eq!(found.differences, Vec::<String>::new());
        restored.target.delete_in_l0(&cities(), &["40"]);
        let found = compared(&world, &restored, CompareDepth::Counts).await;
        assert!(first_mentions(&found.differences, &["`south`", "5 rows in the backup, 4"]), "{found:?}");
        // One row for another: the numbers agree, and nothing else is asked for.
        restored.target.insert(&cities(), "south", &[row(&["99", "new", "[1]", "{}"])]);
        let found = compared(&world, &restored, CompareDepth::Counts).await;
        assert_eq!(found.differences, Vec::<String>::new());
    })
    .await;
}

/// Four thousand rows in 80 segments at the source and in 31 at the target.
async fn spread(world: &World) -> Restored {
    let (source, target) = (world.add_milvus("source", 1), world.add_milvus("target", 2));
    let rows: Vec<_> = (0..4000).map(|key| row(&[&key.to_string(), "x", "y", "z"])).collect();
    for (milvus, width) in [(&source, 50), (&target, 130)] {
        milvus.create(&cities(), &city_fields(), &PARTITIONS);
        rows.chunks(width).for_each(|rows| {
            milvus.insert(&cities(), "north", rows);
        });
    }
    let server = world.start().await;
    let repository = server.register_repository().await;
    let source_cluster = server.register_milvus("source", repository.id).await;
    let target_cluster = server.register_milvus("target", repository.id).await;
    let backup = server.back_up(source_cluster.id).await;
    server.ended(backup.job.id).await;
    Restored { server, source, target, source_cluster, target_cluster, backup_id: backup.backup.id }
}

#[tokio::test]
async fn a_sample_reads_some_segments_only_and_finds_what_is_wrong_there() {
    bounded(async {
        let world = World::new();
        let restored = spread(&world).boxed().await;
        let files = || world.binlogs.field_files.load(Ordering::Relaxed);
        let found = compared(&world, &restored, CompareDepth::Sample).await;
        let of_sample = files();
        assert_eq!((found.differences.len(), found.rows_compared_whole), (0, 8 * 50), "{found:?}");
        let found = compared(&world, &restored, CompareDepth::Rows).await;
        assert_eq!((found.differences.len(), found.rows_compared_whole), (0, 4000));
        assert!(of_sample * 3 < files() - of_sample, "{of_sample} of {}", files());

        // The first segment is always part of a sample.
        restored.target.damage_field(&cities(), 102, |values| values[0].push('!'));
        let found = compared(&world, &restored, CompareDepth::Sample).await;
        assert!(first_mentions(&found.differences, &["`vector`", "over 400 rows"]), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn a_collection_that_is_gone_or_another_is_a_difference() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        let found = compared(&world, &restored, CompareDepth::Counts).await;
        assert!(first_mentions(&found.differences, &["default.cities is gone"]), "{found:?}");
        restored.fill_target();
        let restore = restored.restore_row(&world, &name("default", "other")).await;
        {
            let mut state = restored.target.state();
            state.find_mut(&cities()).unwrap().name = "other".to_owned();
        }
        let service = &restored.server.service;
        let job = service.request_compare(restore, CompareDepth::Keys, "tester".to_owned()).await.unwrap();
        let job = restored.server.ended(job.id).await;
        let report = world.catalog.compare_report(job.id).await.unwrap().unwrap();
        let found = &report.collections[0].differences;
        assert!(first_mentions(found, &["default.other belongs to another collection"]), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn damage_in_the_repository_is_told_and_not_taken_for_missing_rows() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        let repository = &world.stores.repository;
        let objects = repository.sealed.lock().unwrap()[&restored.backup_id].1.clone();
        let delta = objects.iter().find(|object| object.source.key.kind == BinlogKind::Delta).unwrap();
        repository.damaged.lock().unwrap().insert(delta.id);
        let found = compared(&world, &restored, CompareDepth::Keys).await;
        assert!(first_mentions(&found.differences, &["could not be compared", "is damaged"]), "{found:?}");
        assert_eq!(found.partitions, vec![]);
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_is_not_the_targets_is_told() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        restored.target.disks.edit(&restored.target.disk, |disk| disk.binlogs.clear());
        let found = compared(&world, &restored, CompareDepth::Keys).await;
        let words = ["could not be compared", "default.cities", "registered storage"];
        assert!(first_mentions(&found.differences, &words), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn an_outage_that_lasts_fails_the_job_and_one_that_passes_does_not() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        for point in ["read_binlog", "read_object", "cut", "read_header"] {
            world.gates.once(point, Act::Fail(PortErrorKind::Unavailable, "away"));
        }
        assert_eq!(restored.compare(&world, CompareDepth::Rows).await.state, JobState::Successful);
        world.gates.always("read_binlog", Act::Fail(PortErrorKind::Unavailable, "the store is away"));
        let job = restored.compare(&world, CompareDepth::Rows).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("the store is away"));
        assert_eq!(world.catalog.compare_report(job.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_comparison_that_was_cut_off_begins_anew() {
    const POINTS: [&str; 7] = [
        "job_request",
        "read_objects",
        "read_object",
        "cut",
        "read_binlog",
        "save_compare_report",
        "complete_compare",
    ];
    for point in POINTS {
        bounded(async {
            let world = World::new();
            let restored = Restored::backed_up(&world).await;
            restored.fill_target();
            let restore = restored.restore_row(&world, &cities()).await;
            let before = world.gates.calls(point);
            for _ in 0..8 {
                world.gates.once(point, Act::Hang);
            }
            let service = &restored.server.service;
            let job =
                service.request_compare(restore, CompareDepth::Rows, "tester".to_owned()).await.unwrap();
            world.gates.reached(point, before + 1).await;
            restored.server.kill().await;
            world.gates.clear(point);
            let server = world.start().await;
            let job = server.ended(job.id).await;
            assert_eq!((job.state, job.attempt), (JobState::Successful, 2), "{point}: {:?}", job.failure);
            assert_eq!(job.progress.percent(), 100, "{point}");
            let report = world.catalog.compare_report(job.id).await.unwrap().unwrap();
            assert_eq!(report.collections[0].rows_compared_whole, 22, "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn only_ended_restores_that_left_something_are_compared() {
    bounded(async {
        let world = World::new();
        let restored = Restored::backed_up(&world).await;
        restored.fill_target();
        let service = &restored.server.service;
        let request = |job_id| service.request_compare(job_id, CompareDepth::Keys, "tester".to_owned());
        let backup_job = world.catalog.all_jobs()[0].id;
        let error = request(backup_job).await.unwrap_err();
        assert!(
            matches!(error, ServiceError::InvalidInput(ref invalid) if invalid.field == "jobId"),
            "{error:?}"
        );
        let unknown = milvault_domain::ids::JobId::from_uuid(uuid::Uuid::nil());
        let error = request(unknown).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "job", .. }), "{error:?}");
        let restore = restored.restore_row(&world, &cities()).await;
        world.catalog.edit_job(restore, |job| job.state = JobState::InProgress);
        let error = request(restore).await.unwrap_err();
        assert!(
            matches!(error, ServiceError::Conflict { job_id: Some(id), .. } if id == restore),
            "{error:?}"
        );
        world.catalog.edit_job(restore, |job| job.state = JobState::Failed);
        let waiting = milvault_domain::restore::RestoredCollection::default();
        world.catalog.save_restored_collection(restore, 0, &waiting).await.unwrap();
        let error = request(restore).await.unwrap_err();
        assert!(error.to_string().contains("has left no collections"), "{error}");
    })
    .await;
}
