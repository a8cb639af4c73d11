//! Requests that meet at the worst moment.

use crate::support::{World, bounded, request};
use milvault_actors::{Lifecycle, ServiceError};
use milvault_domain::job::JobState;
use milvault_domain::ports::Catalog;

#[tokio::test]
async fn of_many_simultaneous_requests_one_wins_and_the_others_learn_which() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let requests = (0..50).map(|_| server.service.request_backup(request(cluster.id)));
        let mut accepted = Vec::new();
        let mut refused_for = Vec::new();
        for answer in futures::future::join_all(requests).await {
            match answer {
                Ok(pair) => accepted.push(pair.job.id),
                Err(ServiceError::Conflict { job_id, .. }) => refused_for.push(job_id),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(accepted.len(), 1);
        assert_eq!(refused_for, vec![Some(accepted[0]); 49]);
        hold.add_permits(1);
        assert_eq!(server.ended(accepted[0]).await.state, JobState::Successful);
        assert_eq!((world.gates.calls("cut"), world.catalog.all_jobs().len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_comes_while_the_backup_becomes_available_comes_too_late() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for point in ["complete_backup", "completed_backup", "sealed"] {
            let calls = world.gates.calls(point);
            let hold = world.gates.hold_once(point);
            let job_id = server.back_up(cluster.id).await.job.id;
            world.gates.reached(point, calls + 1).await;
            let answer = server.service.cancel_job(job_id).await;
            if point == "completed_backup" {
                assert!(matches!(answer, Err(ServiceError::Conflict { .. })), "{answer:?}");
            } else {
                assert_eq!(answer.unwrap().state, JobState::Canceling);
            }
            hold.add_permits(1);
            let job = server.ended(job_id).await;
            assert_eq!(job.state, JobState::Successful, "{point}");
        }
        assert_eq!(world.sealed_backups(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_comes_while_a_job_is_being_begun_wins() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("transition_job");
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("transition_job", 1).await;
        let canceled = server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(canceled.state, JobState::Canceled);
        hold.add_permits(1);
        // The next backup is made after the task of the first has ended: it never began to work.
        let next = server.back_up(cluster.id).await.job.id;
        assert_eq!(server.ended(next).await.state, JobState::Successful);
        assert_eq!((world.gates.calls("cut"), world.job(job_id).attempt), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn many_cancels_at_once_all_succeed() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", crate::support::fakes::gates::Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("cut", 1).await;
        let answers = futures::future::join_all((0..20).map(|_| server.service.cancel_job(job_id))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_removed_under_a_request_refuses_it() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("insert_backup");
        let service = server.service.clone();
        let asked = tokio::spawn(async move { service.request_backup(request(cluster.id)).await });
        world.gates.reached("insert_backup", 1).await;
        server.service.remove_cluster(cluster.id).await.unwrap();
        hold.add_permits(1);
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "cluster", .. }), "{error:?}");
        assert!(world.catalog.all_jobs().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_under_a_removal_keeps_the_cluster() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold_removal = world.gates.hold_once("remove_cluster");
        let hold_job = world.gates.hold_once("cut");
        let service = server.service.clone();
        let removed = tokio::spawn(async move { service.remove_cluster(cluster.id).await });
        world.gates.reached("remove_cluster", 1).await;
        let job_id = server.back_up(cluster.id).await.job.id;
        hold_removal.add_permits(1);
        match removed.await.unwrap() {
            Err(ServiceError::Conflict { job_id: blocking, .. }) => assert_eq!(blocking, Some(job_id)),
            other => panic!("{other:?}"),
        }
        hold_job.add_permits(1);
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
        server.service.remove_cluster(cluster.id).await.unwrap();
        assert!(world.catalog.cluster(cluster.id).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_under_a_shutdown_is_carried_out_by_the_next_server() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("inserted_backup");
        let service = server.service.clone();
        let asked = tokio::spawn(async move { service.request_backup(request(cluster.id)).await });
        world.gates.reached("inserted_backup", 1).await;
        let service = server.service.clone();
        let mut server = server;
        server.stop_service().await;
        hold.add_permits(1);
        let accepted = asked.await.unwrap().unwrap();
        assert_eq!(service.lifecycle(), Lifecycle::Stopped);
        assert_eq!(world.job(accepted.job.id).state, JobState::Pending);
        let refused = service.request_backup(request(cluster.id)).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Unavailable { .. }), "{refused:?}");
        drop(server);

        let server = world.start().await;
        assert_eq!(server.ended(accepted.job.id).await.state, JobState::Successful);
    })
    .await;
}
