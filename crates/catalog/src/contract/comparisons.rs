//! Reports of comparisons, and how compare jobs end.

use super::Home;
use super::restore_samples::{new_compare, new_drill};
use super::samples::{World, at, progress, uuid};
use milvault_domain::backup::CollectionName;
use milvault_domain::ids::JobId;
use milvault_domain::job::JobState;
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::{CompareReport, ComparedCollection, PartitionRows};
use std::sync::Arc;

super::cases![
    a_report_is_kept_and_replaced,
    a_comparison_without_differences_is_successful,
    a_comparison_with_differences_fails_and_names_the_first,
    a_comparison_needs_its_report,
    a_comparison_that_ended_otherwise_keeps_its_end,
    reports_of_other_jobs_are_refused,
    long_reports_are_cut,
];

fn report(differences: &[&[&str]]) -> CompareReport {
    let name = |kind: &str, number: usize| CollectionName {
        database: String::from("default"),
        collection: format!("{kind} {number} \0"),
    };
    let collection = |(number, differences): (usize, &&[&str])| ComparedCollection {
        source: name("source", number),
        target: name("target", number),
        partitions: vec![PartitionRows { partition: String::from("_default"), expected: 10, found: 9 }],
        rows_compared_whole: 5_000_000_000,
        differences: differences.iter().map(|text| (*text).to_owned()).collect(),
    };
    CompareReport { collections: differences.iter().enumerate().map(collection).collect() }
}

/// A compare job at work.
async fn start_compare(world: &World) -> JobId {
    let restored = world.add_ended_restore().await;
    let job_id = world.request(&new_compare(&world.cluster, restored)).await;
    world.start(job_id).await;
    job_id
}

async fn a_report_is_kept_and_replaced(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let drill = world.request(&new_drill(&world.cluster, &backup)).await;
    for job_id in [start_compare(&world).await, drill] {
        assert_eq!(world.catalog.compare_report(job_id).await.unwrap(), None);
        for report in [report(&[&["rows are missing"]]), report(&[&[], &["key 7"]]), report(&[])] {
            world.catalog.save_compare_report(job_id, &report).await.unwrap();
            assert_eq!(world.catalog.compare_report(job_id).await.unwrap(), Some(report));
        }
    }
}

async fn a_comparison_without_differences_is_successful(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = start_compare(&world).await;
    world.catalog.save_compare_report(job_id, &report(&[&[], &[]])).await.unwrap();
    let job = world.catalog.complete_compare(job_id, progress(1_000), at(6)).await.unwrap();
    assert_eq!((job.state, job.ended_at, job.failure.as_ref()), (JobState::Successful, Some(at(6)), None));
    assert_eq!(job.progress, progress(1_000));
    assert_eq!(world.job(job_id).await, job);
    assert_eq!(world.catalog.complete_compare(job_id, progress(2), at(7)).await.unwrap(), job);
}

async fn a_comparison_with_differences_fails_and_names_the_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = start_compare(&world).await;
    let found = report(&[&[], &["key 7 is missing", "key 8 is missing"], &["row 9 differs"]]);
    world.catalog.save_compare_report(job_id, &found).await.unwrap();
    let job = world.catalog.complete_compare(job_id, progress(1), at(6)).await.unwrap();
    assert_eq!(job.state, JobState::Failed);
    let expected =
        "2 of 3 collections differ from the backup; first: default.target 1 \u{fffd}: key 7 is missing";
    assert_eq!(job.failure.as_deref(), Some(expected));

    // The report stays the reason of that end.
    let again = world.catalog.save_compare_report(job_id, &report(&[&[]])).await;
    assert_eq!(again.unwrap_err().kind(), PortErrorKind::Conflict);
    assert_eq!(world.catalog.complete_compare(job_id, progress(2), at(7)).await.unwrap(), job);
    assert_eq!(world.job(job_id).await, job);
    assert_eq!(world.catalog.compare_report(job_id).await.unwrap(), Some(found));
    assert_eq!(world.catalog.job_events(job_id).await.unwrap().len(), 3);
}

async fn a_comparison_needs_its_report(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = start_compare(&world).await;
    let complete = |job_id| world.catalog.complete_compare(job_id, progress(1), at(6));
    assert_eq!(complete(job_id).await.unwrap_err().kind(), PortErrorKind::NotFound);
    assert_eq!(complete(JobId::from_uuid(uuid())).await.unwrap_err().kind(), PortErrorKind::NotFound);
    assert_eq!(world.job(job_id).await.state, JobState::InProgress);

    let restore = world.start_restore(0).await;
    assert_eq!(complete(restore).await.unwrap_err().kind(), PortErrorKind::Conflict);
}

async fn a_comparison_that_ended_otherwise_keeps_its_end(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for end in [JobState::Canceled, JobState::Failed] {
        for differences in [&[][..], &["key 7"][..]] {
            let job_id = start_compare(&world).await;
            world.catalog.save_compare_report(job_id, &report(&[differences])).await.unwrap();
            world.catalog.transition_job(job_id, end, Some("stopped"), at(5)).await.unwrap();
            let before = world.job(job_id).await;
            let outcome = world.catalog.complete_compare(job_id, progress(1), at(6)).await;
            assert_eq!(outcome.unwrap_err().kind(), PortErrorKind::Conflict);
            assert_eq!(world.job(job_id).await, before);
        }
    }
}

async fn reports_of_other_jobs_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let restore = world.start_restore(1).await;
    let backup = world.add_restorable().await;
    let verify = world.add_verify(backup.id).await.id;
    for (job_id, kind) in [
        (restore, PortErrorKind::Conflict),
        (verify, PortErrorKind::Conflict),
        (JobId::from_uuid(uuid()), PortErrorKind::NotFound),
    ] {
        let outcome = world.catalog.save_compare_report(job_id, &report(&[])).await;
        assert_eq!(outcome.unwrap_err().kind(), kind);
        assert_eq!(world.catalog.compare_report(job_id).await.unwrap(), None);
    }
}

async fn long_reports_are_cut(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = start_compare(&world).await;
    let long = "ü".repeat(5_000);
    let differences = vec![long.as_str(); 50];
    world.catalog.save_compare_report(job_id, &report(&[&differences])).await.unwrap();
    let kept = world.catalog.compare_report(job_id).await.unwrap().unwrap();
    let kept = &kept.collections[0].differences;
    assert_eq!((kept.len(), &kept[0]), (CompareReport::DIFFERENCES_MAX, &"ü".repeat(1_024)));
}
