//! What automatic backups are, and how they and manual ones make room for one another.

use super::*;

#[tokio::test]
async fn switching_on_makes_a_backup_of_everything_at_once() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            let now = stage.now();
            let on = PolicyChange { retention_days: Some(3), ..change(cluster.id) };
            let set = server.service.set_backup_policy(on.clone()).await.unwrap();
            assert_eq!((set.schedule.last_started, set.schedule.last_run), (Some(now), Some(now)));
            let job = server.ended(set.job.unwrap().id).await;
            assert_eq!((job.state, job.created_by.as_str()), (JobState::Successful, "schedule"));
            let backup = stage.catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
            assert_eq!(
                (backup.creation_method, &backup.scope),
                (CreationMethod::Auto, &BackupScope::Cluster)
            );
            assert_eq!((backup.name.as_str(), backup.created_by.as_str()), ("prod_backup1", "schedule"));
            assert_eq!(backup.expires_at, Some(now + TimeDelta::days(3)));

            // It is on already: nothing is made, whatever else changes.
            let again = PolicyChange { retention_days: Some(5), ..on.clone() };
            assert_eq!(server.service.set_backup_policy(again).await.unwrap().job, None);
            let other_time = cron(cluster.id, "0 3 * * *", "Asia/Kathmandu");
            assert_eq!(server.service.set_backup_policy(other_time).await.unwrap().job, None);
            let off = PolicyChange { enabled: false, ..change(cluster.id) };
            let set = server.service.set_backup_policy(off).await.unwrap();
            assert_eq!((set.job, set.schedule.next_look), (None, None));
            assert_eq!(set.schedule.policy.retention_days, 5);
            stage.pass(cluster.id, TimeDelta::days(3)).await;
            assert_eq!(stage.backups_made().await, 1);
            switch_on(&stage, &server, change(cluster.id)).await;
            assert_eq!(stage.backups_made().await, 2);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn an_automatic_backup_waits_for_a_manual_one_and_then_runs() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            let cuts = stage.world.gates.calls("cut");
            let hold_manual = stage.world.gates.hold_once("cut");
            let hold_automatic = stage.world.gates.hold_once("cut");
            let manual = server.back_up(cluster.id).await.job;
            stage.world.gates.reached("cut", cuts + 1).await;

            stage.world.clock.advance(TimeDelta::days(1));
            let schedule = stage.looked_at(cluster.id).await;
            let open = stage.open_jobs().await;
            let automatic = open.iter().find(|job| job.id != manual.id).unwrap();
            assert_eq!((automatic.state, schedule.last_skipped), (JobState::Pending, None));
            assert_eq!(stage.world.gates.calls("cut"), cuts + 1);

            // The next does not pile up behind it.
            stage.world.clock.advance(TimeDelta::days(1));
            let schedule = stage.looked_at(cluster.id).await;
            let skipped = schedule.last_skipped.unwrap();
            assert_eq!(skipped.job_id, automatic.id);
            assert_eq!(Some(skipped.scheduled_for), schedule.last_run);
            assert_eq!(stage.open_jobs().await.len(), 2);

            hold_manual.add_permits(1);
            assert_eq!(server.ended(manual.id).await.state, JobState::Successful);
            stage.world.gates.reached("cut", cuts + 2).await;
            match server.service.request_backup(request(cluster.id)).await {
                Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(automatic.id)),
                other => panic!("{other:?}"),
            }
            hold_automatic.add_permits(1);
            assert_eq!(server.ended(automatic.id).await.state, JobState::Successful);
            let manual = server.back_up(cluster.id).await.job;
            assert_eq!(server.ended(manual.id).await.state, JobState::Successful);
            // What was skipped is not made up for.
            assert_eq!(stage.backups_made().await, 4);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_schedule_that_cannot_be_looked_at_holds_up_no_other() {
    bounded(Box::pin(async {
        let stage = Stage::in_memory();
        let server = stage.world.start().await;
        let repository = server.register_repository().await;
        let mut clusters = Vec::new();
        for name in ["first", "second"] {
            let cluster = server.service.register_cluster(new_cluster(name, repository.id)).await.unwrap();
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            clusters.push(cluster.id);
        }
        stage.world.gates.once("record_start", Act::Fail(PortErrorKind::Internal, "no"));
        stage.world.clock.advance(TimeDelta::days(1));
        for cluster_id in &clusters {
            stage.settled(*cluster_id).await;
        }
        assert_eq!(stage.backups_made().await, 3);
        // The other one is tried again soon.
        stage.world.clock.advance(TimeDelta::minutes(2));
        for cluster_id in &clusters {
            stage.settled(*cluster_id).await;
        }
        assert_eq!(stage.backups_made().await, 4);
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn policies_that_break_a_rule_change_nothing() {
    bounded(Box::pin(async {
        let stage = Stage::in_memory();
        let server = stage.world.start().await;
        let cluster = server.register().await;
        let unknown = change(ClusterId::from_uuid(uuid::Uuid::nil()));
        let error = server.service.set_backup_policy(unknown).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "cluster", .. }), "{error:?}");
        for (field, bad) in [
            ("cron", cron(cluster.id, "*/5 * * * *", "UTC")),
            ("retentionDays", PolicyChange { retention_days: Some(31), ..change(cluster.id) }),
        ] {
            match server.service.set_backup_policy(bad).await {
                Err(ServiceError::InvalidInput(invalid)) => assert_eq!(invalid.field, field),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(stage.catalog.schedule(cluster.id).await.unwrap(), None);
        assert!(stage.world.catalog.all_jobs().is_empty());
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn the_schedule_of_a_removed_cluster_rests() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            server.service.remove_cluster(cluster.id).await.unwrap();
            stage.world.clock.advance(TimeDelta::days(2));
            let other = server.service.register_cluster(new_cluster("other", cluster.repository_id)).await;
            switch_on(&stage, &server, change(other.unwrap().id)).await;
            assert_eq!(stage.backups_made().await, 2);
            server.shutdown().await;
        }
    }))
    .await;
}
