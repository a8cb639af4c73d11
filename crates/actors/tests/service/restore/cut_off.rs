//! Restores that are cut off at any call, in every way in which that can happen.

use super::stage::{Stage, cities};
use crate::support::fakes::gates::Act;
use crate::support::{Server, bounded};
use futures::StreamExt;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::RestoreStep;
use std::collections::BTreeMap;

/// Calls of the server's timers, which have no part in a restore.
const OF_TIMERS: [&str; 7] = [
    "claim_deliveries",
    "due_copies",
    "due_schedules",
    "due_verify_schedules",
    "expire_backups",
    "open_jobs",
    "prune_jobs",
];

/// Calls that come in any number, because time or other jobs make them.
const IRREGULAR: [&str; 4] = ["save_progress", "transition_job", "import_progress", "load_state"];

/// How many calls a restore that replaces a collection makes to each point.
pub(super) async fn calls() -> BTreeMap<&'static str, usize> {
    let (stage, server) = Stage::new().await;
    stage.occupy();
    let before = stage.world.gates.all_calls();
    let job = stage.restore(&server, stage.replacing()).await;
    assert_eq!((job.state, job.failure), (JobState::Successful, None));
    let mut calls = stage.world.gates.all_calls();
    for (point, count) in &mut calls {
        *count -= before.get(point).copied().unwrap_or(0);
    }
    calls.retain(|point, count| *count > 0 && !IRREGULAR.contains(point) && !OF_TIMERS.contains(point));
    calls
}

/// Every call, with its number among those to the same point. Of many alike, the first, one in the middle and the last.
pub(super) async fn all_points() -> Vec<(&'static str, usize)> {
    let mut points = Vec::new();
    for (point, count) in calls().await {
        let mut numbers = vec![1, count.div_ceil(2), count];
        numbers.dedup();
        points.extend(numbers.into_iter().map(|number| (point, number)));
    }
    points.extend(IRREGULAR.map(|point| (point, 1)));
    assert!(points.len() > 80, "{points:?}");
    points
}

/// Makes the call meet something else.
pub(super) fn arrange(stage: &Stage, point: &'static str, number: usize, act: Act) -> usize {
    for _ in 1..number {
        stage.world.gates.once(point, Act::Pass);
    }
    stage.world.gates.once(point, act);
    stage.world.gates.calls(point) + number
}

/// Begins a restore in which a call hangs, and returns when it does. The request itself may be what hangs.
pub(super) async fn begin_and_hang(
    stage: &Stage,
    server: &Server,
    point: &'static str,
    number: usize,
) -> JobId {
    let reached = arrange(stage, point, number, Act::Hang);
    let (service, request) = (server.service.clone(), stage.replacing());
    tokio::spawn(async move { service.request_restore(request, None, "tester".to_owned()).await });
    stage.world.gates.reached(point, reached).await;
    the_restore(stage)
}

fn the_restore(stage: &Stage) -> JobId {
    stage.world.catalog.all_jobs().last().unwrap().id
}

fn assert_restored(stage: &Stage, job: &Job, old_id: i64, context: &str) {
    assert_eq!((job.state, job.failure.as_deref()), (JobState::Successful, None), "{context}");
    assert_eq!(stage.seen(), stage.wanted(), "{context}");
    assert_eq!(stage.name_of(old_id), None, "{context}");
    assert_eq!(stage.steps(job.id), [RestoreStep::Done; 3], "{context}");
    stage.assert_tidy(context);
}

/// Whether the job's row is written when the call comes.
fn has_a_row(point: &str) -> bool {
    point != "insert_requested_job"
}

#[tokio::test]
async fn a_restore_that_was_killed_anywhere_is_finished_by_the_next_server() {
    for (point, number) in all_points().await {
        if !has_a_row(point) {
            continue;
        }
        let context = format!("{point} {number}");
        bounded(async {
            let (stage, server) = Stage::new().await;
            let old_id = stage.occupy();
            let job_id = begin_and_hang(&stage, &server, point, number).await;
            server.kill().await;
            stage.world.gates.clear(point);
            let server = stage.world.start().await;
            let job = server.ended(job_id).await;
            assert_restored(&stage, &job, old_id, &context);
        })
        .await;
    }
}

#[tokio::test]
async fn a_restore_that_was_parked_anywhere_is_finished_by_the_next_server() {
    // These hang the shutdown's own writes, or come when the job has ended.
    let others = ["inserted_requested_job", "transition_job", "save_progress", "completed_restore"];
    let is_meant = |point: &&'static str| has_a_row(point) && !others.contains(point);
    let points = all_points().await.into_iter().filter(|(point, _)| is_meant(point));
    // Side by side, because a shutdown waits a while for a call that hangs.
    let parked = points.map(|(point, number)| bounded(park_at(point, number)));
    futures::stream::iter(parked).buffer_unordered(8).collect::<()>().await;
}

async fn park_at(point: &'static str, number: usize) {
    let context = format!("{point} {number}");
    let (stage, server) = Stage::new().await;
    let old_id = stage.occupy();
    let job_id = begin_and_hang(&stage, &server, point, number).await;
    server.shutdown().await;
    assert_eq!(stage.world.job(job_id).state, JobState::Pending, "{context}");
    stage.world.gates.clear(point);
    let server = stage.world.start().await;
    let job = server.ended(job_id).await;
    assert_restored(&stage, &job, old_id, &context);
}

#[tokio::test]
async fn a_call_that_fails_once_for_a_moment_does_no_harm() {
    for (point, number) in all_points().await {
        if point == "insert_requested_job" || point == "inserted_requested_job" {
            continue;
        }
        let context = format!("{point} {number}");
        bounded(async {
            let (stage, server) = Stage::new().await;
            let old_id = stage.occupy();
            arrange(&stage, point, number, Act::Fail(PortErrorKind::Unavailable, "a moment away"));
            let job = stage.restore(&server, stage.replacing()).await;
            assert_restored(&stage, &job, old_id, &context);
        })
        .await;
    }
}

/// Done or not, everything that was there is there, under its name or kept under another, and nothing else is left.
fn assert_in_order(stage: &Stage, job: &Job, old_id: i64, context: &str) {
    assert!(job.state.is_final(), "{context}");
    let restore = stage.restore_row(job.id);
    let Some(plan) = &restore.plan else {
        assert_eq!(stage.name_of(old_id), Some(cities()), "{context}");
        return stage.assert_tidy(context);
    };
    let mut expected: Vec<String> = Vec::new();
    for (collection, state) in plan.collections.iter().zip(&restore.collections) {
        let name = format!("{}.{}", collection.target.database, collection.target.collection);
        assert!(![RestoreStep::Created, RestoreStep::Compared].contains(&state.step), "{context}: {state:?}");
        if state.step == RestoreStep::Done {
            assert_eq!(stage.seen()[&name], stage.wanted()[&name], "{context}");
            expected.push(name);
        }
    }
    let replaced = restore.collections[0].replaced.clone();
    match stage.name_of(old_id) {
        Some(name) if name == cities() => expected.push("default.cities".to_owned()),
        Some(name) => {
            assert_eq!(
                replaced.and_then(|replaced| replaced.kept_as),
                Some(name.collection.clone()),
                "{context}"
            );
            expected.push(format!("default.{}", name.collection));
        }
        None => assert_eq!(restore.collections[0].step, RestoreStep::Done, "{context}"),
    }
    expected.sort();
    assert_eq!(stage.target.collection_names(), expected, "{context}");
    assert_eq!(stage.target.staged(), Vec::<String>::new(), "{context}");
}

#[tokio::test]
async fn a_call_that_fails_for_good_leaves_everything_in_order() {
    for (point, number) in all_points().await {
        if point == "insert_requested_job" || point == "inserted_requested_job" {
            continue;
        }
        let context = format!("{point} {number}");
        bounded(async {
            let (stage, server) = Stage::new().await;
            let old_id = stage.occupy();
            arrange(&stage, point, number, Act::Fail(PortErrorKind::Internal, "out of order"));
            let job = stage.restore(&server, stage.replacing()).await;
            assert_in_order(&stage, &job, old_id, &context);
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_in_any_call_leaves_everything_in_order() {
    for (point, number) in all_points().await {
        // Part of the request, not of the work.
        if ["insert_requested_job", "inserted_requested_job", "transition_job", "claim_lease"]
            .contains(&point)
        {
            continue;
        }
        let context = format!("{point} {number}");
        bounded(async {
            let (stage, server) = Stage::new().await;
            let old_id = stage.occupy();
            arrange(&stage, point, number, Act::Panic);
            let job = stage.restore(&server, stage.replacing()).await;
            assert_in_order(&stage, &job, old_id, &context);
        })
        .await;
    }
}

#[tokio::test]
async fn a_restore_that_takes_every_server_down_is_given_up_and_cleaned_up_after() {
    bounded(async {
        let (mut stage, server) = Stage::new().await;
        server.shutdown().await;
        stage.world.settings.job_attempts_max = 2;
        let mut server = stage.world.start().await;
        stage.world.gates.always("flush", Act::Hang);
        let job_id = stage.begin(&server, stage.request()).await;
        for life in 1..=2 {
            stage.world.gates.reached("flush", life * 3).await;
            server.kill().await;
            if life == 2 {
                break;
            }
            server = stage.world.start().await;
        }
        stage.world.gates.clear("flush");
        let _server = stage.world.start().await;
        let job = stage.world.job(job_id);
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("given up after 2 attempts"));
        while !stage.target.collection_names().is_empty() || !stage.target.staged().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}
