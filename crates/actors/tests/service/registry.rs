//! Clusters and repositories.

use crate::support::fakes::gates::Act;
use crate::support::{World, bounded, directory, new_cluster, project};
use milvault_actors::{ClusterPatch, NewCluster, NewRepository, ServiceError};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, ProjectId, RepositoryId};
use milvault_domain::ports::{Catalog, PortErrorKind};
use uuid::Uuid;

fn repository(name: &str) -> NewRepository {
    NewRepository { project_id: project(), name: name.to_owned(), storage: directory("/repository") }
}

fn field_of(error: ServiceError) -> &'static str {
    match error {
        ServiceError::InvalidInput(invalid) => invalid.field,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cluster_must_be_valid_and_its_repository_must_be_its_projects() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let own = server.service.register_repository(repository("own")).await.unwrap();
        let foreign =
            NewRepository { project_id: ProjectId::from_uuid(Uuid::nil()), ..repository("foreign") };
        let foreign = server.service.register_repository(foreign).await.unwrap();
        let unknown = RepositoryId::from_uuid(Uuid::nil());
        for (field, bad) in [
            ("repositoryId", new_cluster("prod", foreign.id)),
            ("repositoryId", new_cluster("prod", unknown)),
            ("name", new_cluster("", own.id)),
            ("cuSize", NewCluster { cu_size: Some(0), ..new_cluster("prod", own.id) }),
        ] {
            assert_eq!(field_of(server.service.register_cluster(bad).await.unwrap_err()), field);
        }
        let standard = NewCluster { cu_size: None, ..new_cluster("prod", own.id) };
        let cluster = server.service.register_cluster(standard.clone()).await.unwrap();
        assert_eq!(cluster.cu_size, Cluster::CU_SIZE_DEFAULT);
        let taken = server.service.register_cluster(standard).await.unwrap_err();
        assert!(matches!(taken, ServiceError::Conflict { .. }), "{taken:?}");
    })
    .await;
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let before = server.register().await;
        world.clock.advance(chrono::TimeDelta::seconds(5));
        let patch = ClusterPatch { max_bytes_per_second: Some(Some(7)), ..ClusterPatch::default() };
        let after = server.service.update_cluster(before.id, patch).await.unwrap();
        let expected = Cluster {
            max_bytes_per_second: Some(7),
            updated_at: before.created_at + chrono::TimeDelta::seconds(5),
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(world.catalog.cluster(before.id).await.unwrap(), Some(expected));
        let patch = ClusterPatch { max_bytes_per_second: Some(None), ..ClusterPatch::default() };
        assert_eq!(server.service.update_cluster(before.id, patch).await.unwrap().max_bytes_per_second, None);
        let bad = ClusterPatch { max_bytes_per_second: Some(Some(0)), ..ClusterPatch::default() };
        assert_eq!(
            field_of(server.service.update_cluster(before.id, bad).await.unwrap_err()),
            "maxBytesPerSecond"
        );
        let unknown = ClusterId::from_uuid(Uuid::nil());
        let missing = server.service.update_cluster(unknown, ClusterPatch::default()).await.unwrap_err();
        assert!(matches!(missing, ServiceError::NotFound { kind: "cluster", .. }), "{missing:?}");
    })
    .await;
}

#[tokio::test]
async fn two_changes_at_once_are_both_kept() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("update_cluster");
        let service = server.service.clone();
        let first = tokio::spawn(async move {
            let patch = ClusterPatch { name: Some("renamed".to_owned()), ..ClusterPatch::default() };
            service.update_cluster(cluster.id, patch).await
        });
        world.gates.reached("update_cluster", 1).await;
        let service = server.service.clone();
        let second = tokio::spawn(async move {
            let patch = ClusterPatch { cu_size: Some(9), ..ClusterPatch::default() };
            service.update_cluster(cluster.id, patch).await
        });
        hold.add_permits(1);
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        let cluster = world.catalog.cluster(cluster.id).await.unwrap().unwrap();
        assert_eq!((cluster.name.as_str(), cluster.cu_size), ("renamed", 9));
    })
    .await;
}

#[tokio::test]
async fn a_taken_name_leaves_the_place_untouched() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        server.service.register_repository(repository("safe")).await.unwrap();
        let error = server.service.register_repository(repository("safe")).await.unwrap_err();
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
        assert_eq!(world.stores.repository.created.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_place_that_refuses_is_a_mistake_of_the_request() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        world.gates.once("create_repository", Act::Fail(PortErrorKind::ReadOnly, "read-only file system"));
        let error = server.service.register_repository(repository("safe")).await.unwrap_err();
        assert!(error.to_string().contains("read-only file system"));
        assert_eq!(field_of(error), "storage");
        world.gates.once("create_repository", Act::Fail(PortErrorKind::Conflict, "is a repository"));
        let error = server.service.register_repository(repository("safe")).await.unwrap_err();
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_check_looks_at_everything_and_says_what_is_wrong() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let fine = server.service.check_cluster(cluster.id).await.unwrap();
        let subjects: Vec<_> = fine.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["milvus", "storage", "repository"]);
        assert!(fine.iter().all(|finding| finding.ok));
        assert!(fine[0].message.contains("v2.3.5"));

        world.gates.once("connect", Act::Fail(PortErrorKind::PermissionDenied, "wrong password"));
        world.gates.once("open_source", Act::Hang);
        world.gates.once("open_repository", Act::Fail(PortErrorKind::NotFound, "no repository there"));
        let wrong = server.service.check_cluster(cluster.id).await.unwrap();
        assert!(wrong.iter().all(|finding| !finding.ok));
        for (finding, words) in
            wrong.iter().zip(["wrong password", "no answer within", "no repository there"])
        {
            assert!(finding.message.contains(words), "{finding:?}");
        }
    })
    .await;
}
