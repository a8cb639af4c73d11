//! Undoing and resuming restores.

use super::stage::{Stage, cities, orders};
use crate::support::fakes::gates::Act;
use crate::support::fakes::server::{fields, name, row};
use crate::support::{Server, bounded};
use milvault_actors::ServiceError;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::{AccessRestore, RestoreRequest, RestoreStep};

pub(super) async fn undone(server: &Server, job_id: JobId) -> Job {
    let job = server.service.undo_restore(job_id, "tester".to_owned()).await.unwrap();
    server.ended(job.id).await
}

pub(super) async fn resumed(server: &Server, job_id: JobId) -> Job {
    let job = server.service.resume_restore(job_id, "tester".to_owned()).await.unwrap();
    server.ended(job.id).await
}

/// A restore that replaced one collection, made a second, and failed with the third.
async fn half_way(stage: &Stage, server: &Server) -> (Job, i64) {
    let old_id = stage.occupy();
    let id = stage.source.state().find(&orders()).unwrap().collection_id;
    stage.world.stores.repository.damage(|key| key.collection_id == id);
    let job = stage.restore(server, stage.replacing()).await;
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(stage.steps(job.id), [RestoreStep::Done, RestoreStep::Done, RestoreStep::Failed]);
    (job, old_id)
}

#[tokio::test]
async fn undoing_puts_everything_back() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let (job, old_id) = half_way(&stage, &server).await;
        let undo = undone(&server, job.id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert_eq!(stage.target.collection_names(), ["default.cities"]);
        assert_eq!(stage.name_of(old_id), Some(cities()));
        assert_eq!(stage.target.rows(&cities())["_default"], [row(&["1", "old", "old"])]);
        assert!(stage.target.state().find(&cities()).unwrap().aliases.contains("towns"));
        let databases: Vec<_> = stage.target.state().databases.keys().cloned().collect();
        assert_eq!(databases, ["default"], "the restore had made the other one");
        assert_eq!(stage.steps(job.id), [RestoreStep::Undone, RestoreStep::Undone, RestoreStep::Failed]);
        stage.assert_tidy("the end");

        let again = server.service.undo_restore(job.id, "tester".to_owned()).await.unwrap_err();
        assert!(matches!(again, ServiceError::Conflict { .. }), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn what_others_made_since_is_not_undone() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let job = stage.restore(&server, stage.request()).await;
        let mine = name("shop", "mine");
        stage.target.create(&mine, &fields(&["id", "text"]), &[]);
        // Somebody has dropped a restored collection and made one of the same name.
        stage.target.state().databases.get_mut("default").unwrap().clear();
        let foreign_id = stage.occupy();
        let undo = undone(&server, job.id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert_eq!(stage.target.collection_names(), ["default.cities", "shop.mine"]);
        assert_eq!(stage.name_of(foreign_id), Some(cities()));
        let warnings = stage.world.catalog.restore_warnings(undo.id);
        assert!(warnings.iter().any(|words| words.contains("`default.cities`")), "{warnings:?}");
    })
    .await;
}

#[tokio::test]
async fn undo_and_resume_are_refused_where_they_make_no_sense() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let hold = stage.world.gates.hold_once("stage");
        let running = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("stage", 1).await;
        let by = || "tester".to_owned();
        let refused = |answer: Result<Job, ServiceError>, words: &str| match answer {
            Err(ServiceError::Conflict { message, .. }) => assert!(message.contains(words), "{message}"),
            other => panic!("{other:?}"),
        };
        refused(server.service.undo_restore(running, by()).await, "has not ended");
        refused(server.service.resume_restore(running, by()).await, "has not ended");
        hold.add_permits(1);
        assert_eq!(server.ended(running).await.state, JobState::Successful);
        refused(server.service.resume_restore(running, by()).await, "nothing to resume");

        // Conflicts everywhere: it ends before it has made anything.
        let nothing = stage.restore(&server, stage.request()).await;
        assert_eq!(nothing.state, JobState::Failed);
        refused(server.service.undo_restore(nothing.id, by()).await, "nothing to undo");
        let backup_job = stage.world.catalog.all_jobs()[0].id;
        refused(server.service.undo_restore(backup_job, by()).await, "not a restore");
        let unknown = JobId::from_uuid(uuid::Uuid::nil());
        let error = server.service.undo_restore(unknown, by()).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "job", .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn resuming_restores_the_rest_and_keeps_what_is_there() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let (job, old_id) = half_way(&stage, &server).await;
        let done = stage.target.state().find(&cities()).unwrap().collection_id;
        stage.world.stores.repository.damaged.lock().unwrap().clear();
        let before = stage.world.gates.calls("import");

        let next = resumed(&server, job.id).await;
        assert_eq!((next.state, next.failure), (JobState::Successful, None));
        assert_eq!(stage.seen(), stage.wanted());
        assert_eq!(stage.world.gates.calls("import"), before + 1, "only the rest is imported");
        assert_eq!(stage.target.state().find(&cities()).unwrap().collection_id, done);
        assert_eq!(stage.name_of(old_id), None, "the restore has succeeded as a whole");
        assert_eq!(stage.steps(next.id), [RestoreStep::Done; 3]);
        stage.assert_tidy("the end");

        // The new job owns everything: undoing it removes all.
        let undo = undone(&server, next.id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert!(stage.target.collection_names().is_empty());
        let databases: Vec<_> = stage.target.state().databases.keys().cloned().collect();
        assert_eq!(databases, ["default"]);
    })
    .await;
}

#[tokio::test]
async fn resuming_removes_what_the_former_job_left_behind() {
    bounded(async {
        let (mut stage, server) = Stage::new().await;
        server.shutdown().await;
        stage.world.settings.cleanup_time_max = std::time::Duration::from_millis(20);
        let server = stage.world.start().await;
        // The clean-up cannot do its work.
        stage.world.gates.always("drop_collection", Act::Hang);
        stage.world.gates.always("unstage", Act::Hang);
        stage.world.gates.always("import_progress", Act::Hang);
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("import_progress", 3).await;
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert!(!stage.target.collection_names().is_empty() && !stage.target.staged().is_empty());

        for point in ["drop_collection", "unstage", "import_progress"] {
            stage.world.gates.clear(point);
        }
        let next = resumed(&server, job_id).await;
        assert_eq!((next.state, next.failure), (JobState::Successful, None));
        assert_eq!(stage.seen(), stage.wanted());
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn an_undo_that_was_cut_off_anywhere_goes_on() {
    for (point, call) in [
        ("drop_collection", 1),
        ("dropped_collection", 1),
        ("dropped_collection", 2),
        ("rename_collection", 1),
        ("renamed_collection", 1),
        ("alias_set", 1),
        ("saved_restored_collection", 1),
        ("drop_database", 1),
        ("unstaged", 1),
        ("complete_restore", 1),
    ] {
        bounded(async {
            let (stage, server) = Stage::new().await;
            let (job, old_id) = half_way(&stage, &server).await;
            let already = stage.world.gates.calls(point);
            for _ in 1..call {
                stage.world.gates.once(point, Act::Pass);
            }
            stage.world.gates.once(point, Act::Hang);
            let undo = server.service.undo_restore(job.id, "tester".to_owned()).await.unwrap();
            stage.world.gates.reached(point, already + call).await;
            server.kill().await;
            stage.world.gates.clear(point);

            let server = stage.world.start().await;
            let undo = server.ended(undo.id).await;
            assert_eq!((undo.state, undo.failure), (JobState::Successful, None), "{point} {call}");
            assert_eq!(stage.target.collection_names(), ["default.cities"], "{point} {call}");
            assert_eq!(stage.name_of(old_id), Some(cities()), "{point} {call}");
            assert!(
                stage.target.state().find(&cities()).unwrap().aliases.contains("towns"),
                "{point} {call}"
            );
            stage.assert_tidy(point);
        })
        .await;
    }
}

#[tokio::test]
async fn staged_files_that_a_clean_up_could_not_remove_are_removed_by_an_undo() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        // Nothing else is left to undo: the restore makes no database.
        stage.target.state().databases.insert("shop".to_owned(), vec![]);
        stage.world.gates.always("import_progress", Act::Hang);
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("import_progress", 3).await;
        stage.world.gates.always("unstage", Act::Fail(PortErrorKind::PermissionDenied, "no"));
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert!(stage.target.collection_names().is_empty() && !stage.target.staged().is_empty());

        stage.world.gates.clear("unstage");
        let undo = undone(&server, job_id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        stage.assert_tidy("undone");
    })
    .await;
}

#[tokio::test]
async fn an_undo_says_that_roles_stay() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.source.state().roles.insert("reader".to_owned());
        let made = server.back_up(stage.source_id).await;
        server.ended(made.job.id).await;
        let request = RestoreRequest {
            backup_id: made.backup.id,
            access_control: Some(AccessRestore { passwords: vec![] }),
            ..stage.request()
        };
        let job = stage.restore(&server, request).await;
        let undo = undone(&server, job.id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert!(stage.target.state().roles.contains("reader"));
        let warnings = stage.world.catalog.restore_warnings(undo.id);
        assert!(warnings.iter().any(|words| words.contains("are not undone")), "{warnings:?}");
    })
    .await;
}

#[tokio::test]
async fn an_undo_that_is_canceled_waits_for_the_calls_it_has_sent() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let (job, _) = half_way(&stage, &server).await;
        let calls = stage.world.gates.calls("drop_collection");
        let hold = stage.world.gates.hold_once("drop_collection");
        let undo = server.service.undo_restore(job.id, "tester".to_owned()).await.unwrap();
        stage.world.gates.reached("drop_collection", calls + 1).await;
        server.service.cancel_job(undo.id).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(stage.world.job(undo.id).state, JobState::Canceling);
        hold.add_permits(1);
        assert_eq!(server.ended(undo.id).await.state, JobState::Canceled);
    })
    .await;
}
