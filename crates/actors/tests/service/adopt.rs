//! Taking over backups that milvus-backup made.

use crate::support::fakes::disks::{ForeignDirectory, name_of};
use crate::support::fakes::gates::Act;
use crate::support::restored::{PARTITIONS, cities, city_fields, rows_at_cut};
use crate::support::{Server, World, bounded, directory};
use milvault_actors::{AdoptBackupRequest, ServiceError};
use milvault_domain::backup::{BackupScope, BackupStatus};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::ClusterId;
use milvault_domain::job::{JobState, JobType};
use milvault_domain::milvus::Cut;
use milvault_domain::object::ObjectId;
use milvault_domain::ports::{Catalog, ForeignBackup, MilvusCluster, PortErrorKind, WantedDirectories};
use milvault_domain::storage::SourceLayout;

const MADE_AT_MS: i64 = 1_700_000_000_000;

fn request(cluster_id: ClusterId) -> AdoptBackupRequest {
    AdoptBackupRequest {
        cluster_id,
        storage: directory("/foreign"),
        directory: "nightly".to_owned(),
        name: None,
        created_by: "tester".to_owned(),
    }
}

fn listed(directory: &str, problem: Option<&str>) -> ForeignBackup {
    ForeignBackup {
        directory: directory.to_owned(),
        created_at_ms: Some(MADE_AT_MS),
        milvus_version: "v2.3.5".to_owned(),
        collection_count: 1,
        size_bytes: 1,
        problem: problem.map(str::to_owned),
    }
}

/// Puts a directory of milvus-backup into `/foreign`, made of a Milvus with rows. Returns what it shows.
async fn make_directory(world: &World) -> Cut {
    let source = world.add_milvus("source", 1);
    source.create(&cities(), &city_fields(), &PARTITIONS);
    for rows in rows_at_cut("north").chunks(5) {
        source.insert(&cities(), "north", rows);
    }
    source.delete(&cities(), &["12"]);
    let connection = crate::support::fakes::target::TargetConnection::new(source.clone());
    let cut = connection.take_cut(&BackupScope::Cluster).await.unwrap();
    let files = world.stores.disks.snapshot(&source.disk).unwrap();
    let layout = SourceLayout::MilvusBackup { directory: "nightly".to_owned() };
    world.stores.disks.edit(&name_of(&directory("/foreign"), &layout), |disk| *disk = files);
    world.stores.disks.edit(&directory("/foreign").display_url(), |disk| {
        disk.foreign.push(ForeignDirectory { listed: listed("nightly", None), cut: Ok(cut.clone()) });
        let problem = Some("it is not finished");
        let broken = (PortErrorKind::Corrupt, "there is no full_meta.json");
        disk.foreign.push(ForeignDirectory { listed: listed("broken", problem), cut: Err(broken) });
    });
    cut
}

async fn register(server: &Server) -> Cluster {
    let repository = server.register_repository().await;
    server.register_milvus("source", repository.id).await
}

#[tokio::test]
async fn a_directory_becomes_a_backup_as_old_as_it_is() {
    bounded(async {
        let world = World::new();
        let cut = make_directory(&world).await;
        let server = world.start().await;
        let cluster = register(&server).await;
        let accepted = server.service.adopt_backup(request(cluster.id)).await.unwrap();
        assert_eq!((accepted.backup.status, accepted.job.job_type), (BackupStatus::Creating, JobType::Adopt));
        let job = server.ended(accepted.job.id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));

        let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
        assert_eq!((backup.name.as_str(), backup.status), ("nightly", BackupStatus::Available));
        assert_eq!(backup.created_at.timestamp_millis(), MADE_AT_MS);
        let facts = backup.facts.unwrap();
        assert_eq!((facts.row_count, facts.collection_count), (17, 1));
        assert_eq!(facts.cut_at.timestamp_millis(), cut.cut_at_ms);
        let sealed = world.stores.repository.sealed.lock().unwrap();
        let (header, objects) = &sealed[&backup.id];
        assert_eq!((&header.cut, header.source_url.as_str()), (&cut, "file:///foreign/nightly"));
        let files = world.stores.disks.snapshot("file:///source").unwrap().binlogs;
        assert_eq!(objects.len(), files.len());
        assert!(objects.iter().all(|object| object.id == ObjectId::derive(cluster.id, &object.source)));
        let live_calls = ["connect", "connect_target"].map(|point| world.gates.calls(point));
        assert_eq!(live_calls, [0, 0], "the cluster need not live any more");
    })
    .await;
}

#[tokio::test]
async fn a_takeover_that_was_cut_off_anywhere_is_finished_by_the_next_server() {
    const POINTS: [&str; 16] = [
        "inserted_backup",
        "transition_job",
        "job_request",
        "open_repository",
        "load_unfinished",
        "read_foreign_backup",
        "open_source",
        "list",
        "save_unfinished",
        "saved_unfinished",
        "open_copier",
        "copy",
        "copied",
        "seal",
        "sealed",
        "complete_backup",
    ];
    for point in POINTS {
        bounded(async {
            let world = World::new();
            make_directory(&world).await;
            let server = world.start().await;
            let cluster = register(&server).await;
            let before = world.gates.calls(point);
            world.gates.once(point, Act::Hang);
            let service = server.service.clone();
            tokio::spawn(async move { service.adopt_backup(request(cluster.id)).await });
            world.gates.reached(point, before + 1).await;
            server.kill().await;
            world.gates.clear(point);

            let server = world.start().await;
            let jobs = world.catalog.all_jobs();
            assert_eq!(jobs.len(), 1, "{point}");
            let job = server.ended(jobs[0].id).await;
            assert_eq!((job.state, job.failure.as_deref()), (JobState::Successful, None), "{point}");
            let backup = world.catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
            assert_eq!(backup.status, BackupStatus::Available, "{point}");
            assert_eq!((world.copies_max(), world.sealed_backups()), (1, 1), "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_taken_over_is_refused_before_anything_is_written() {
    bounded(async {
        let world = World::new();
        make_directory(&world).await;
        let server = world.start().await;
        let cluster = register(&server).await;
        let found = server
            .service
            .list_foreign_backups(&directory("/foreign"), &WantedDirectories::At(0..9))
            .await
            .unwrap();
        assert_eq!(
            found.iter().map(|found| found.directory.as_str()).collect::<Vec<_>>(),
            ["nightly", "broken"]
        );
        let to_request = |directory: &str, name: Option<&str>| AdoptBackupRequest {
            directory: directory.to_owned(),
            name: name.map(str::to_owned),
            ..request(cluster.id)
        };
        for (request, field, word) in [
            (to_request("broken", None), "directory", "it is not finished"),
            (to_request("weekly", None), "directory", "names no directory"),
            (to_request("../nightly", None), "directory", "the name of one directory"),
            (to_request("nightly", Some(" ")), "name", "white space"),
        ] {
            match server.service.adopt_backup(request).await.unwrap_err() {
                ServiceError::InvalidInput(invalid) => {
                    assert_eq!(invalid.field, field);
                    assert!(invalid.rule.contains(word), "{invalid}");
                }
                other => panic!("{other:?}"),
            }
        }
        let unknown = ClusterId::from_uuid(uuid::Uuid::nil());
        let error = server.service.adopt_backup(request(unknown)).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "cluster", .. }), "{error:?}");
        assert_eq!(world.catalog.all_jobs(), vec![]);
    })
    .await;
}

#[tokio::test]
async fn files_that_are_missing_fail_the_takeover_and_say_whose_fault_it_is() {
    bounded(async {
        let world = World::new();
        make_directory(&world).await;
        let layout = SourceLayout::MilvusBackup { directory: "nightly".to_owned() };
        let name = name_of(&directory("/foreign"), &layout);
        world.stores.disks.edit(&name, |disk| {
            let segment = disk.binlogs.keys().next().unwrap().segment_id;
            disk.binlogs.retain(|key, _| key.segment_id != segment);
        });
        let server = world.start().await;
        let cluster = register(&server).await;
        let accepted = server.service.adopt_backup(request(cluster.id)).await.unwrap();
        let job = server.ended(accepted.job.id).await;
        let failure = job.failure.unwrap();
        assert!(
            failure.contains("default.cities") && failure.contains("milvus-backup did not finish"),
            "{failure}"
        );
        let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
        assert_eq!(backup.status, BackupStatus::Failed);
        assert_eq!(world.sealed_backups(), 0);
    })
    .await;
}
