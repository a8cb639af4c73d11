//! Copies that policies ask for.

use super::{Stage, conflict, repository};
use crate::support::bounded;
use crate::support::fakes::gates::Act;
use chrono::TimeDelta;
use milvault_actors::{ClusterPatch, CopyChange, PolicyChange, ServiceError, VerifyRequest};
use milvault_domain::backup::{Backup, CreationMethod};
use milvault_domain::ids::ProjectId;
use milvault_domain::job::{JobState, JobType, VerifyLevel};
use milvault_domain::ports::{CopyCatalog, ScheduleCatalog};
use milvault_domain::queue::ClusterQueue;
use std::sync::Arc;
use tokio::sync::Semaphore;
use uuid::Uuid;

// Left out, null and a value mean three things, as they do in the API.
#[allow(clippy::option_option)]
fn policy(stage: &Stage, copy: Option<Option<CopyChange>>) -> PolicyChange {
    PolicyChange {
        cluster_id: stage.cluster.id,
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: None,
        time_zone: None,
        retention_days: Some(5),
        keep: None,
        copy,
    }
}

/// The copies of a policy, ended.
async fn automatic_copies(stage: &Stage, count: usize) -> Vec<Backup> {
    loop {
        let jobs = stage.world.catalog.all_jobs();
        let copies: Vec<_> = jobs.into_iter().filter(|job| job.job_type == JobType::Copy).collect();
        if copies.len() >= count {
            let mut made = Vec::new();
            for job in copies {
                assert_eq!(stage.server.ended(job.id).await.state, JobState::Successful);
                assert_eq!(job.created_by, "schedule");
                made.push(stage.row(job.backup_id.unwrap()).await);
            }
            return made;
        }
        tokio::task::yield_now().await;
    }
}

async fn staged_with_policies() -> Stage {
    let mut stage = Stage::new().await;
    stage.server.stop_service().await;
    stage.world.settings.schedule_interval = std::time::Duration::from_millis(10);
    stage.server = stage.world.start().await;
    stage
}

#[tokio::test]
async fn a_policy_copies_each_automatic_backup_once() {
    bounded(async {
        let stage = staged_with_policies().await;
        let copy = CopyChange { repository_id: stage.elsewhere, retention_days: None };
        let set = stage.server.service.set_backup_policy(policy(&stage, Some(Some(copy)))).await.unwrap();
        let first = set.job.unwrap();
        assert_eq!(stage.server.ended(first.id).await.state, JobState::Successful);
        let copies = automatic_copies(&stage, 1).await;
        assert_eq!(copies.len(), 1);
        assert_eq!(
            (copies[0].repository_id, copies[0].creation_method),
            (stage.elsewhere, CreationMethod::Auto)
        );
        assert_eq!(copies[0].expires_at, Some(copies[0].created_at + TimeDelta::days(5)));
        assert_eq!(copies[0].copied_from.unwrap().backup_id, first.backup_id.unwrap());

        // What is not said stays; other days are for copies to come.
        let kept = stage.server.service.set_backup_policy(policy(&stage, None)).await.unwrap();
        assert_eq!(kept.schedule.policy.copy.unwrap().repository_id, stage.elsewhere);
        let longer = CopyChange { retention_days: Some(30), ..copy };
        stage.server.service.set_backup_policy(policy(&stage, Some(Some(longer)))).await.unwrap();
        stage.world.clock.advance(TimeDelta::days(1));
        let copies = automatic_copies(&stage, 2).await;
        assert_eq!(copies.len(), 2);
        assert_eq!(copies[1].expires_at, Some(copies[1].created_at + TimeDelta::days(30)));
        assert_eq!(stage.world.catalog.due_copies(10).await.unwrap(), []);

        let none = stage.server.service.set_backup_policy(policy(&stage, Some(None))).await.unwrap();
        assert_eq!(none.schedule.policy.copy, None);
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_policy_survives_a_crash_right_after_the_backup() {
    bounded(async {
        let stage = staged_with_policies().await;
        stage.world.gates.always("due_copies", Act::Hang);
        let copy = CopyChange { repository_id: stage.elsewhere, retention_days: Some(2) };
        let set = stage.server.service.set_backup_policy(policy(&stage, Some(Some(copy)))).await.unwrap();
        assert_eq!(stage.server.ended(set.job.unwrap().id).await.state, JobState::Successful);
        let Stage { world, server, cluster, source, elsewhere, copied } = stage;
        server.kill().await;
        world.gates.clear("due_copies");
        let server = world.start().await;
        let stage = Stage { world, server, cluster, source, elsewhere, copied };
        assert_eq!(automatic_copies(&stage, 1).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_policy_copies_to_another_repository_of_the_project() {
    bounded(async {
        let stage = Stage::new().await;
        let hidden = repository(&stage.server, ProjectId::from_uuid(Uuid::from_u128(99)), "hidden").await;
        let set = async |repository_id, retention_days| {
            let copy = CopyChange { repository_id, retention_days };
            stage.server.service.set_backup_policy(policy(&stage, Some(Some(copy)))).await
        };
        let error = set(hidden, None).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "repository", .. }), "{error:?}");
        for (repository_id, days) in [(stage.cluster.repository_id, None), (stage.elsewhere, Some(31))] {
            match set(repository_id, days).await.unwrap_err() {
                ServiceError::InvalidInput(invalid) => assert_eq!(invalid.field, "copy"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(stage.world.catalog.schedule(stage.cluster.id).await.unwrap(), None);
        set(stage.elsewhere, None).await.unwrap();
        let moved = ClusterPatch { repository_id: Some(stage.elsewhere), ..ClusterPatch::default() };
        let refused = stage.server.service.update_cluster(stage.cluster.id, moved).await.unwrap_err();
        assert!(conflict(refused).0.contains("backup policy copies to that repository"));
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_policy_waits_where_the_queue_is_full() {
    bounded(async {
        let stage = staged_with_policies().await;
        let looks = stage.world.gates.calls("due_copies");
        let hold_look = stage.world.gates.hold_once("due_copies");
        stage.world.gates.reached("due_copies", looks + 1).await;
        let copy = CopyChange { repository_id: stage.elsewhere, retention_days: None };
        let set = stage.server.service.set_backup_policy(policy(&stage, Some(Some(copy)))).await.unwrap();
        assert_eq!(stage.server.ended(set.job.unwrap().id).await.state, JobState::Successful);

        let hold_verifies = Arc::new(Semaphore::new(0));
        stage.world.gates.always("verify", Act::Hold(Arc::clone(&hold_verifies)));
        let hold_writer = stage.world.gates.hold_once("cut");
        stage.server.back_up(stage.cluster.id).await;
        let verify = || VerifyRequest {
            backup_id: stage.source.id,
            level: VerifyLevel::Content,
            created_by: "tester".to_owned(),
        };
        let begun = stage.world.gates.calls("verify");
        for number in 1..=ClusterQueue::VERIFIES_MAX + ClusterQueue::WAITING_MAX {
            stage.server.service.request_verify(verify()).await.unwrap();
            // What has begun waits no more.
            if number == ClusterQueue::VERIFIES_MAX {
                stage.world.gates.reached("verify", begun + number).await;
            }
        }
        hold_look.add_permits(1);
        stage.world.gates.reached("due_copies", looks + 3).await;
        let jobs = stage.world.catalog.all_jobs();
        let copies: Vec<_> = jobs.iter().filter(|job| job.job_type == JobType::Copy).collect();
        assert_eq!((copies.len(), copies[0].state), (1, JobState::Pending));
        hold_verifies.add_permits(1000);
        hold_writer.add_permits(1);
        assert_eq!(automatic_copies(&stage, 1).await.len(), 1);
    })
    .await;
}
