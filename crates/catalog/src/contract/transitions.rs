//! States of jobs, their history, and progress.

use super::Home;
use super::samples::{World, at, automatic_backup, manual_backup, progress, uuid};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::JobId;
use milvault_domain::job::{JobEvent, JobPhase, JobState};
use milvault_domain::ports::PortErrorKind;
use std::sync::Arc;

super::cases![
    every_pair_of_states_follows_the_rules,
    starting_counts_attempts_and_keeps_the_first_start,
    being_put_aside_counts_no_attempt,
    a_job_that_ends_badly_takes_its_backup_along,
    long_reasons_are_cut,
    a_backup_job_is_successful_only_with_its_backup,
    history_is_in_order_whatever_the_clock_does,
    progress_and_phases_are_recorded,
    late_progress_changes_nothing,
    racing_ends_agree,
    changes_of_unknown_jobs_are_refused,
];

/// The way from PENDING to a state, for a job that makes no backup.
fn way_to(state: JobState) -> &'static [JobState] {
    use JobState::{Canceled, Canceling, Failed, InProgress, Pending, Successful};
    match state {
        Pending => &[],
        InProgress => &[InProgress],
        Canceling => &[InProgress, Canceling],
        Successful => &[InProgress, Successful],
        Failed => &[InProgress, Failed],
        Canceled => &[Canceled],
    }
}

async fn every_pair_of_states_follows_the_rules(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = automatic_backup(&world.cluster);
    world.add(&new).await;
    for from in JobState::ALL {
        for to in JobState::ALL {
            let job_id = world.add_verify(new.backup.id).await.id;
            for step in way_to(from) {
                world.catalog.transition_job(job_id, *step, None, at(1)).await.unwrap();
            }
            let before = world.job(job_id).await;
            let events_before = world.catalog.job_events(job_id).await.unwrap();
            assert_eq!(before.state, from);

            let outcome = world.catalog.transition_job(job_id, to, Some("why"), at(2)).await;
            let after = world.job(job_id).await;
            let events = world.catalog.job_events(job_id).await.unwrap();
            if from == to {
                assert_eq!((outcome.unwrap(), &after, &events), (before.clone(), &before, &events_before));
            } else if from.transition(to).is_ok() {
                assert_eq!(outcome.unwrap(), after);
                assert_eq!(after.state, to);
                assert_eq!(after.ended_at, to.is_final().then(|| at(2)), "{from:?} {to:?}");
                assert_eq!(after.failure.as_deref(), (to == JobState::Failed).then_some("why"));
                assert_eq!(events.len(), events_before.len() + 1);
                let event = JobEvent { at: at(2), state: to, phase: None, reason: Some(String::from("why")) };
                assert_eq!(events.last(), Some(&event));
            } else {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), PortErrorKind::Conflict, "{from:?} {to:?}");
                assert!(error.to_string().contains(&job_id.to_string()), "{error}");
                assert_eq!((&after, &events), (&before, &events_before));
            }
        }
    }
}

async fn starting_counts_attempts_and_keeps_the_first_start(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    let transition = |to, seconds| world.catalog.transition_job(new.job.id, to, None, at(seconds));
    let started = transition(JobState::InProgress, 1).await.unwrap();
    assert_eq!((started.attempt, started.started_at, started.ended_at), (1, Some(at(1)), None));
    transition(JobState::Pending, 2).await.unwrap();
    let again = transition(JobState::InProgress, 3).await.unwrap();
    assert_eq!((again.attempt, again.started_at), (2, Some(at(1))));
    assert_eq!(transition(JobState::InProgress, 4).await.unwrap(), again);
}

async fn being_put_aside_counts_no_attempt(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = automatic_backup(&world.cluster);
    world.add(&new).await;
    let park = |seconds| world.catalog.park_job(new.job.id, "a restart", at(seconds));
    // It waits already.
    assert_eq!(park(1).await.unwrap(), new.job);
    for parks in 1..=7 {
        world.start(new.job.id).await;
        let parked = park(2).await.unwrap();
        assert_eq!((parked.state, parked.attempt, parked.parks), (JobState::Pending, parks, parks));
        assert_eq!(world.job(new.job.id).await, parked);
    }
    let event = world.catalog.job_events(new.job.id).await.unwrap().pop().unwrap();
    assert_eq!((event.state, event.reason.as_deref()), (JobState::Pending, Some("a restart")));
    // A crash is one.
    world.start(new.job.id).await;
    world.catalog.transition_job(new.job.id, JobState::Pending, None, at(3)).await.unwrap();
    let started = world.start(new.job.id).await;
    assert_eq!((started.attempt, started.parks, started.counted_attempts()), (9, 7, 2));
    world.catalog.transition_job(new.job.id, JobState::Canceling, None, at(4)).await.unwrap();
    assert_eq!(park(5).await.unwrap_err().kind(), PortErrorKind::Conflict);
    assert_eq!(world.job(new.job.id).await.parks, 7);
}

async fn a_job_that_ends_badly_takes_its_backup_along(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for (end, failure) in [(JobState::Failed, Some("no space left")), (JobState::Canceled, None)] {
        let new = manual_backup(&world.cluster);
        world.add(&new).await;
        world.start(new.job.id).await;
        assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Creating);
        let job = world.catalog.transition_job(new.job.id, end, Some("no space left"), at(2)).await.unwrap();
        assert_eq!(job.failure.as_deref(), failure);
        assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Failed);
    }
    // A verify that fails says nothing about the backup's row.
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let verify = world.add_verify(new.backup.id).await;
    world.start(verify.id).await;
    world.catalog.transition_job(verify.id, JobState::Failed, None, at(2)).await.unwrap();
    assert_eq!(world.backup(new.backup.id).await.status, BackupStatus::Available);
}

async fn long_reasons_are_cut(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = manual_backup(&world.cluster);
    new.job.description = "ü".repeat(5_000);
    world.add(&new).await;
    assert_eq!(world.job(new.job.id).await.description, "ü".repeat(1_024));
    let reason = format!("\0{}", "ß".repeat(5_000));
    let job = world.catalog.transition_job(new.job.id, JobState::Failed, Some(&reason), at(2)).await.unwrap();
    assert_eq!(job.failure, Some(format!("\u{fffd}{}", "ß".repeat(4_095))));
    assert_eq!(world.job(new.job.id).await, job);
}

async fn a_backup_job_is_successful_only_with_its_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.start(new.job.id).await;
    let error =
        world.catalog.transition_job(new.job.id, JobState::Successful, None, at(2)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict);
    assert_eq!(world.job(new.job.id).await.state, JobState::InProgress);
}

async fn history_is_in_order_whatever_the_clock_does(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    let steps = [
        (JobState::InProgress, 5),
        (JobState::Pending, 5),
        (JobState::InProgress, 4),
        (JobState::Canceling, 4),
        (JobState::Canceled, -100),
    ];
    let mut expected = vec![(JobState::Pending, at(0))];
    for (state, seconds) in steps {
        world.catalog.transition_job(new.job.id, state, None, at(seconds)).await.unwrap();
        expected.push((state, at(seconds)));
    }
    let events = world.catalog.job_events(new.job.id).await.unwrap();
    let seen: Vec<_> = events.iter().map(|event| (event.state, event.at)).collect();
    assert_eq!(seen, expected);
    let unknown = JobId::from_uuid(uuid());
    assert!(world.catalog.job_events(unknown).await.unwrap().is_empty());
}

async fn progress_and_phases_are_recorded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.start(new.job.id).await;
    let saves = [
        (JobPhase::Cut, 0, 2),
        (JobPhase::Copy, 10, 3),
        (JobPhase::Copy, 500, 4),
        (JobPhase::Seal, 1_000, 5),
    ];
    for (phase, bytes, seconds) in saves {
        world.catalog.save_progress(new.job.id, phase, progress(bytes), at(seconds)).await.unwrap();
        let job = world.job(new.job.id).await;
        assert_eq!((job.phase, job.progress), (Some(phase), progress(bytes)));
    }
    let events = world.catalog.job_events(new.job.id).await.unwrap();
    let phases: Vec<_> = events.iter().map(|event| (event.state, event.phase, event.at)).collect();
    assert_eq!(
        phases,
        [
            (JobState::Pending, None, at(0)),
            (JobState::InProgress, None, at(1)),
            (JobState::InProgress, Some(JobPhase::Cut), at(2)),
            (JobState::InProgress, Some(JobPhase::Copy), at(3)),
            (JobState::InProgress, Some(JobPhase::Seal), at(5)),
        ]
    );
}

async fn late_progress_changes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    let save = || world.catalog.save_progress(new.job.id, JobPhase::Copy, progress(7), at(3));
    save().await.unwrap();
    assert_eq!(world.job(new.job.id).await, new.job);
    world.start(new.job.id).await;
    let ended = world.catalog.transition_job(new.job.id, JobState::Failed, None, at(2)).await.unwrap();
    save().await.unwrap();
    assert_eq!(world.job(new.job.id).await, ended);
    assert_eq!(world.catalog.job_events(new.job.id).await.unwrap().len(), 3);
}

async fn racing_ends_agree(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.start(new.job.id).await;
    let ends = [JobState::Failed, JobState::Canceled].into_iter().cycle().take(16);
    let attempts: Vec<_> = ends
        .map(|end| {
            let (catalog, job_id) = (Arc::clone(&world.catalog), new.job.id);
            tokio::spawn(async move { (end, catalog.transition_job(job_id, end, None, at(2)).await) })
        })
        .collect();
    let mut accepted = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            (end, Ok(job)) => accepted.push((end, job.state)),
            (_, Err(error)) => assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}"),
        }
    }
    let end = world.job(new.job.id).await.state;
    assert_eq!(accepted, vec![(end, end); 8]);
    assert_eq!(world.catalog.job_events(new.job.id).await.unwrap().len(), 3);
}

async fn changes_of_unknown_jobs_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let unknown = JobId::from_uuid(uuid());
    assert_eq!(world.catalog.job(unknown).await.unwrap(), None);
    let error = world.catalog.transition_job(unknown, JobState::InProgress, None, at(1)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
    let error = world.catalog.save_progress(unknown, JobPhase::Copy, progress(1), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
}
