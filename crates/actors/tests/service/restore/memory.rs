//! A target that has too little memory to load what is restored.

use super::stage::{Stage, cities, orders};
use super::undone::resumed;
use crate::support::bounded;
use crate::support::fakes::gates::Act;
use crate::support::fakes::server::name;
use milvault_domain::job::JobState;
use milvault_domain::milvus::LoadState;
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::{ConflictPolicy, RestoreRequest, RestoreStep};

#[tokio::test]
async fn what_does_not_fit_fails_only_the_collection_that_was_to_replace_another() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let old_id = stage.occupy();
        let old = stage.seen()["default.cities"].clone();
        stage.world.gates.always("load", Act::Fail(PortErrorKind::Unavailable, "insufficient memory"));
        let job = stage.restore(&server, stage.replacing()).await;
        assert_eq!((job.state, job.attempt), (JobState::Failed, 1));
        assert!(job.failure.as_ref().unwrap().contains("cities"), "{job:?}");
        assert_eq!(stage.steps(job.id), [RestoreStep::Failed, RestoreStep::Done, RestoreStep::Done]);
        let states = stage.restore_row(job.id).collections;
        let failure = states[0].failure.clone().unwrap();
        for words in ["insufficient memory", "release other collections", "`load: NONE`"] {
            assert!(failure.contains(words), "{failure}");
        }
        assert_eq!(stage.name_of(old_id), Some(cities()));
        assert_eq!(stage.seen()["default.cities"], old);
        stage.assert_tidy("failed");

        // Nothing was replaced: its rows are there, and it says what is missing.
        assert_eq!(stage.target.rows(&orders()), stage.wanted()["shop.orders"].rows);
        assert_eq!(stage.seen()["shop.orders"].load_state, LoadState::NotLoaded);
        assert!(states[2].warnings[0].contains("insufficient memory"), "{states:?}");

        stage.world.gates.clear("load");
        let next = resumed(&server, job.id).await;
        assert_eq!((next.state, next.failure), (JobState::Successful, None));
        assert_eq!(stage.seen()["default.cities"], stage.wanted()["default.cities"]);
        assert_eq!(stage.name_of(old_id), None);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_taken_for_one_without_memory() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let hold = stage.world.gates.hold_once("created_index");
        let request = RestoreRequest { conflict: ConflictPolicy::Replace, ..stage.only("default", "cities") };
        let job_id = stage.begin(&server, request).await;
        stage.world.gates.reached("created_index", 1).await;
        let calls = stage.world.gates.calls("find_collection");
        for point in ["load", "find_collection"] {
            stage.world.gates.always(point, Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        }
        hold.add_permits(1);
        // As often as a step is repeated: the attempt ends.
        stage.world.gates.reached("find_collection", calls + 3).await;
        for point in ["load", "find_collection"] {
            stage.world.gates.clear(point);
        }
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert!(job.attempt > 1, "{}", job.attempt);
        assert_eq!(stage.seen()["default.cities"], stage.wanted()["default.cities"]);
    })
    .await;
}

#[tokio::test]
async fn a_load_that_the_server_gives_up_is_begun_again() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.world.gates.once("load_state", Act::Pass);
        let hold = stage.world.gates.hold_once("load_state");
        let job_id = stage.begin(&server, stage.only("shop", "orders")).await;
        stage.world.gates.reached("load_state", 2).await;
        let working = stage.restore_row(job_id).plan.unwrap().collections[0].working_name.clone();
        stage.target.state().find_mut(&name("shop", &working)).unwrap().load_state = LoadState::NotLoaded;
        hold.add_permits(1);
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stage.world.gates.calls("load"), 2);
        assert_eq!(stage.seen()["shop.orders"], stage.wanted()["shop.orders"]);
    })
    .await;
}
