//! What a restore gives back.

use super::stage::{CUSTOMERS, Stage, cities};
use crate::support::bounded;
use crate::support::fakes::server::{name, row};
use milvault_actors::ServiceError;
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::milvus::LoadState;
use milvault_domain::ports::Catalog;
use milvault_domain::restore::{
    AccessRestore, ChosenItem, CollectionRename, CompareDepth, IndexChoice, LoadChoice, PartitionRows,
    RestoreRequest, RestoreSelection, RestoreStep, TargetNames, UserPassword,
};
use milvault_domain::secret::{Secret, SecretValue};

#[tokio::test]
async fn everything_comes_back_as_it_was_at_the_cut() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let wanted = stage.wanted();
        // None of this was there at the cut.
        stage.source.insert(&cities(), "_default", &[row(&["99", "late", "x"])]);
        stage.source.delete(&cities(), &["1", "10"]);

        for depth in [CompareDepth::Counts, CompareDepth::Keys, CompareDepth::Sample, CompareDepth::Rows] {
            stage.target.state().databases.retain(|_, _| false);
            stage.target.state().databases.insert("default".to_owned(), vec![]);
            let selection = RestoreSelection::NewCluster;
            let request = RestoreRequest { selection, compare: depth, ..stage.request() };
            let job = stage.restore(&server, request).await;
            assert_eq!((job.state, job.failure), (JobState::Successful, None), "{depth:?}");
            assert_eq!(stage.seen(), wanted, "{depth:?}");
            stage.assert_tidy("the end");
            let progress = job.progress;
            assert_eq!(progress.percent(), 100);
            assert_eq!(progress.bytes_done, progress.bytes_total);
            assert_eq!(progress.objects_done, progress.objects_total);
            assert!(progress.bytes_total > 0);

            let restore = stage.restore_row(job.id);
            assert!(restore.collections.iter().all(|state| state.step == RestoreStep::Done), "{restore:?}");
            assert_eq!(restore.warnings, Vec::<String>::new());
            let rows = |partition: &str, rows| PartitionRows {
                partition: partition.to_owned(),
                expected: rows,
                found: rows,
            };
            assert_eq!(
                restore.collections[0].partitions,
                [rows("_default", 6), rows("empty", 0), rows("north", 5)]
            );
            let made = stage.name_of(restore.collections[0].target_collection_id.unwrap());
            assert_eq!(made, Some(cities()));
        }
        let events = stage.world.catalog.job_events(stage.world.catalog.all_jobs().last().unwrap().id).await;
        let phases: Vec<_> = events.unwrap().iter().filter_map(|event| event.phase).collect();
        for phase in [JobPhase::Prepare, JobPhase::Import, JobPhase::Finish, JobPhase::Cleanup] {
            assert!(phases.contains(&phase), "{phase:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn deletes_in_segments_of_their_own_are_imported_after_the_rows() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        for milvus in [&stage.source, &stage.target] {
            milvus.state().l0_segments = true;
        }
        stage.source.delete_in_l0(&cities(), &["3", "20"]);
        stage.source.delete_in_l0_of_partition(&cities(), "north", &["12", "4"]);
        // What is written again later is not deleted.
        stage.source.insert(&cities(), "north", &[row(&["20", "again", "x"])]);
        let wanted = stage.wanted();
        let keys = |partition: &str| -> Vec<&str> {
            let rows = &wanted["default.cities"].rows[partition];
            rows.iter().map(|row| row[0].as_str()).collect()
        };
        assert_eq!(
            (keys("_default"), keys("north")),
            (vec!["0", "1", "4", "5", "6"], vec!["10", "13", "20", "21"])
        );

        let made = server.back_up(stage.source_id).await;
        assert_eq!(server.ended(made.job.id).await.failure, None);
        let selection = RestoreSelection::NewCluster;
        let compare = CompareDepth::Rows;
        let request = RestoreRequest { backup_id: made.backup.id, selection, compare, ..stage.request() };
        let job = stage.restore(&server, request).await;
        let collections = stage.restore_row(job.id).collections;
        assert_eq!((job.state, job.failure), (JobState::Successful, None), "{collections:?}");
        assert_eq!(stage.seen(), wanted);
        assert_eq!(job.progress.objects_done, job.progress.objects_total);
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn chosen_parts_come_back_under_chosen_names() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let item = |database: &str, collection: &str, partitions: Option<&str>| ChosenItem {
            database: database.to_owned(),
            collection: Some(collection.to_owned()),
            partitions: partitions.map(|partition| vec![partition.to_owned()]),
        };
        let request = RestoreRequest {
            selection: RestoreSelection::Chosen(vec![
                item("default", "cities", Some("north")),
                item("shop", "customers", None),
            ]),
            names: TargetNames {
                collections: vec![CollectionRename {
                    from: name("shop", "customers"),
                    to: name("default", "clients"),
                }],
                suffix: "_again".to_owned(),
                ..TargetNames::default()
            },
            shard_count: Some(3),
            ..stage.request()
        };
        let job = stage.restore(&server, request).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stage.target.collection_names(), ["default.cities_again", "default.clients"]);
        let cities = stage.target.rows(&name("default", "cities_again"));
        assert_eq!(cities["north"].len(), 5);
        assert!(cities["_default"].is_empty() && cities.contains_key("empty"));
        let clients = stage.target.rows(&name("default", "clients"));
        assert_eq!(clients["_default"], CUSTOMERS.map(|(id, name)| row(&[id, name])));
        assert!(stage.seen().values().all(|seen| seen.shard_count == 3));
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn indexes_and_load_state_are_a_choice() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let request =
            RestoreRequest { indexes: IndexChoice::Leave, load: LoadChoice::All, ..stage.request() };
        assert_eq!(stage.restore(&server, request).await.state, JobState::Successful);
        for seen in stage.seen().values() {
            assert_eq!((seen.indexes, seen.load_state), (0, LoadState::NotLoaded));
        }
    })
    .await;
}

#[tokio::test]
async fn users_and_roles_are_made_at_the_end_and_their_trouble_is_a_warning() {
    use crate::support::fakes::gates::Act;
    use milvault_domain::ports::PortErrorKind;
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.source.state().users.insert("ada".to_owned());
        let made = server.back_up(stage.source_id).await;
        server.ended(made.job.id).await;
        let password = Secret::Value(SecretValue::new("not told".to_owned()));
        let passwords = vec![UserPassword { user: "ada".to_owned(), password }];
        let request = RestoreRequest {
            backup_id: made.backup.id,
            access_control: Some(AccessRestore { passwords }),
            ..stage.request()
        };
        let job = stage.restore(&server, request.clone()).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert!(stage.target.state().users.contains("ada"));

        stage.target.state().users.remove("ada");
        stage.world.gates.once("restore_access", Act::Fail(PortErrorKind::PermissionDenied, "not allowed"));
        let names = TargetNames { suffix: "_2".to_owned(), ..TargetNames::default() };
        let job = stage.restore(&server, RestoreRequest { names, ..request }).await;
        assert_eq!(job.state, JobState::Successful);
        let warnings = stage.restore_row(job.id).warnings;
        assert!(warnings.iter().any(|words| words.contains("not allowed")), "{warnings:?}");
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_there_gets_no_grants() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.source.state().roles.extend(["reader".to_owned(), "writer".to_owned()]);
        let made = server.back_up(stage.source_id).await;
        server.ended(made.job.id).await;
        stage.target.state().roles.insert("reader".to_owned());
        let request = RestoreRequest {
            backup_id: made.backup.id,
            access_control: Some(AccessRestore { passwords: vec![] }),
            ..stage.request()
        };
        let job = stage.restore(&server, request).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let plan = stage.restore_row(job.id).plan.unwrap().access_control.unwrap();
        assert_eq!((plan.roles, plan.grant_count), (vec!["writer".to_owned()], 1));
        let at_target = stage.target.state();
        assert!(at_target.roles.contains("writer"));
        assert_eq!(at_target.grants, 1, "only what the plan counts");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_touches_nothing() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let before = (stage.seen(), stage.world.catalog.all_jobs());
        let plan = server.service.plan_restore(stage.request()).await.unwrap();
        assert_eq!(plan.collections.len(), 3);
        assert!(plan.bytes() > 0);
        assert!(plan.conflicts.iter().any(|conflict| conflict.name == "cities"), "{:?}", plan.conflicts);
        assert_eq!((stage.seen(), stage.world.catalog.all_jobs()), before);
        assert_eq!(stage.world.gates.calls("stage"), 0);

        let unknown = ChosenItem { database: "nowhere".to_owned(), collection: None, partitions: None };
        let selection = RestoreSelection::Chosen(vec![unknown]);
        let request = RestoreRequest { selection, ..stage.request() };
        let error = server.service.plan_restore(request).await.unwrap_err();
        assert!(matches!(error, ServiceError::InvalidInput(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_job_of_the_first() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let ask =
            |request| server.service.request_restore(request, Some("key".to_owned()), "tester".to_owned());
        let with_password = |text: &str| {
            let password = Secret::Value(SecretValue::new(text.to_owned()));
            let passwords = vec![UserPassword { user: "ada".to_owned(), password }];
            RestoreRequest { access_control: Some(AccessRestore { passwords }), ..stage.request() }
        };
        let first = ask(with_password("one")).await.unwrap();
        server.ended(first.id).await;
        // What a password is makes no difference, and no hash of it is kept.
        assert_eq!(ask(with_password("two")).await.unwrap().id, first.id);
        match ask(RestoreRequest { compare: CompareDepth::Rows, ..with_password("one") }).await {
            Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(first.id)),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_restored_is_refused_at_once() {
    use crate::support::new_cluster;
    use milvault_actors::{NewCluster, NewRepository};
    use milvault_domain::backup::BackupStatus;
    use milvault_domain::ids::{BackupId, ClusterId, ProjectId};
    use uuid::Uuid;
    bounded(async {
        let (stage, server) = Stage::new().await;
        let ask = |request| server.service.request_restore(request, None, "tester".to_owned());
        let backup_id = BackupId::from_uuid(Uuid::from_u128(404));
        let error = ask(RestoreRequest { backup_id, ..stage.request() }).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "backup", .. }), "{error:?}");
        let target_cluster_id = ClusterId::from_uuid(Uuid::from_u128(404));
        let error = ask(RestoreRequest { target_cluster_id, ..stage.request() }).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "cluster", .. }), "{error:?}");

        let project_id = ProjectId::from_uuid(Uuid::from_u128(2));
        let repository = NewRepository {
            project_id,
            name: "elsewhere".to_owned(),
            storage: crate::support::directory("/elsewhere"),
        };
        let repository = server.service.register_repository(repository).await.unwrap();
        let new = NewCluster { project_id, ..new_cluster("foreign", repository.id) };
        let target_cluster_id = server.service.register_cluster(new).await.unwrap().id;
        let error = ask(RestoreRequest { target_cluster_id, ..stage.request() }).await.unwrap_err();
        assert!(matches!(&error, ServiceError::InvalidInput(input) if input.field == "targetClusterId"));

        stage.world.catalog.edit_backup(stage.backup_id, |backup| backup.status = BackupStatus::Deleted);
        let error = ask(stage.request()).await.unwrap_err();
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
        let error = server.service.plan_restore(stage.request()).await.unwrap_err();
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
        assert!(stage.world.catalog.all_jobs().len() == 1, "only the backup");
    })
    .await;
}

#[tokio::test]
async fn collections_are_restored_side_by_side_and_not_too_many() {
    use crate::support::fakes::gates::Act;
    use crate::support::fakes::server::fields;
    use std::sync::Arc;
    use tokio::sync::Semaphore;
    bounded(async {
        let (stage, server) = Stage::new().await;
        for number in 0..17 {
            let more = name("default", &format!("more_{number}"));
            stage.source.create(&more, &fields(&["id", "text"]), &[]);
            stage.source.insert(&more, "_default", &[row(&["1", "one"])]);
        }
        let made = server.back_up(stage.source_id).await;
        server.ended(made.job.id).await;
        let hold = Arc::new(Semaphore::new(0));
        stage.world.gates.always("import_progress", Act::Hold(Arc::clone(&hold)));
        let request = RestoreRequest { backup_id: made.backup.id, ..stage.request() };
        let job_id = stage.begin(&server, request).await;
        // One of the eight has two partitions, and both are imported at once.
        stage.world.gates.reached("import", 9).await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        assert_eq!((stage.world.gates.calls("import"), stage.world.gates.calls("create_collection")), (9, 8));
        stage.world.gates.clear("import_progress");
        hold.add_permits(1000);
        assert_eq!(server.ended(job_id).await.failure, None);
        assert_eq!(stage.seen(), stage.wanted());
    })
    .await;
}
