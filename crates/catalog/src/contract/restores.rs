//! Plans of restores, and what becomes of their collections.

use super::Home;
use super::restore_samples::{at_step, new_compare, new_drill, new_restore, new_undo, plan, waiting};
use super::samples::{World, at, progress, uuid, yield_times};
use milvault_domain::ids::JobId;
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::PortErrorKind;
use milvault_domain::restore::{
    DatabaseRestore, ReplacedCollection, RestorePlan, RestoreStep, RestoredCollection,
};
use std::sync::Arc;

super::cases![
    a_restore_is_seen_before_and_after_it_is_planned,
    a_plan_is_kept_once,
    long_plans_keep_their_order,
    plans_that_cannot_be_are_refused,
    racing_plans_leave_one,
    a_dropped_plan_is_kept_whole_or_not_at_all,
    databases_that_a_restore_makes_are_recorded,
    collections_are_recorded_by_position,
    collections_are_recorded_side_by_side,
    collections_that_no_plan_has_are_refused,
    long_texts_of_a_collection_are_cut,
    other_jobs_are_no_restores,
    phases_of_a_restore_are_recorded,
];

async fn a_restore_is_seen_before_and_after_it_is_planned(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    for new in [new_restore(&world.cluster, &backup), new_drill(&world.cluster, &backup)] {
        let job_id = world.request(&new).await;
        let (JobRequest::Restore(request) | JobRequest::Drill(request)) = new.request else {
            panic!("it is a restore or drill")
        };
        let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
        assert_eq!(restore.request, request);
        assert_eq!((restore.plan, restore.collections, restore.warnings), (None, vec![], vec![]));

        let states = vec![at_step(RestoreStep::Skipped), RestoredCollection::default()];
        world.catalog.save_restore_plan(job_id, &plan(2), &states).await.unwrap();
        let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
        assert_eq!(restore.request, request);
        assert_eq!((restore.plan, restore.collections), (Some(plan(2)), states));
    }
}

async fn a_plan_is_kept_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(3).await;
    world.set_step(job_id, 1, RestoreStep::Done).await;
    let before = world.catalog.restore(job_id).await.unwrap().unwrap();
    // As after a crash: planned again, when other things exist at the target.
    world.catalog.save_restore_plan(job_id, &plan(2), &waiting(2)).await.unwrap();
    world.catalog.save_restore_plan(job_id, &plan(3), &waiting(3)).await.unwrap();
    assert_eq!(world.catalog.restore(job_id).await.unwrap().unwrap(), before);
}

async fn long_plans_keep_their_order(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    for count in [0, 1, 250, 1_001] {
        let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
        let mut states = waiting(count);
        for (number, state) in (0..).zip(&mut states) {
            state.target_collection_id = Some(number);
        }
        world.catalog.save_restore_plan(job_id, &plan(count), &states).await.unwrap();
        let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
        assert_eq!(restore.plan.unwrap().collections.len(), count);
        assert_eq!(restore.collections, states);
    }
}

async fn plans_that_cannot_be_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
    let restored = world.add_ended_restore().await;
    let undo = world.request(&new_undo(&world.cluster, restored)).await;
    let verify = world.add_verify(backup.id).await.id;
    for (job_id, states, kind) in [
        (job_id, 1, PortErrorKind::InvalidInput),
        (job_id, 3, PortErrorKind::InvalidInput),
        (undo, 2, PortErrorKind::NotFound),
        (verify, 2, PortErrorKind::NotFound),
        (JobId::from_uuid(uuid()), 2, PortErrorKind::NotFound),
    ] {
        let outcome = world.catalog.save_restore_plan(job_id, &plan(2), &waiting(states)).await;
        assert_eq!(outcome.unwrap_err().kind(), kind);
    }
    assert_eq!(world.catalog.restore(job_id).await.unwrap().unwrap().plan, None);
}

async fn racing_plans_leave_one(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
    let saves: Vec<_> = (1..=8)
        .map(|count| {
            let catalog = Arc::clone(&world.catalog);
            tokio::spawn(async move {
                catalog.save_restore_plan(job_id, &plan(count), &waiting(count)).await.unwrap();
            })
        })
        .collect();
    for save in saves {
        save.await.unwrap();
    }
    let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
    assert_eq!(restore.plan.unwrap().collections.len(), restore.collections.len());
}

async fn a_dropped_plan_is_kept_whole_or_not_at_all(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let (plan, states) = (plan(600), waiting(600));
    for polls in [0, 1, 3, 10, 30, 100, 300, 1_000, 3_000] {
        let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
        tokio::select! {
            biased;
            outcome = world.catalog.save_restore_plan(job_id, &plan, &states) => outcome.unwrap(),
            () = yield_times(polls) => {}
        }
        // Behind the dropped transaction: its end is known when another one has begun.
        world.request(&new_restore(&world.cluster, &backup)).await;
        let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
        assert_eq!(restore.collections.len(), if restore.plan.is_some() { 600 } else { 0 }, "{polls}");
        world.catalog.save_restore_plan(job_id, &plan, &states).await.unwrap();
        assert_eq!(world.catalog.restore(job_id).await.unwrap().unwrap().collections.len(), 600);
    }
}

async fn databases_that_a_restore_makes_are_recorded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let backup = world.add_restorable().await;
    let job_id = world.request(&new_restore(&world.cluster, &backup)).await;
    let missing = world.catalog.save_made_databases(job_id, &[]).await.unwrap_err();
    assert_eq!(missing.kind(), PortErrorKind::NotFound);

    let database =
        |name: &str| DatabaseRestore { name: name.to_owned(), create: true, properties: vec![], made: false };
    let planned = RestorePlan { databases: vec![database("attic"), database("shop")], ..plan(1) };
    world.catalog.save_restore_plan(job_id, &planned, &waiting(1)).await.unwrap();
    for names in [vec!["shop"], vec!["attic", "shop"], vec!["attic", "elsewhere"], vec![]] {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        world.catalog.save_made_databases(job_id, &names).await.unwrap();
        let mut kept = world.catalog.restore(job_id).await.unwrap().unwrap().plan.unwrap();
        let made = kept.made_databases();
        assert!(made.iter().all(|name| names.contains(name)), "{made:?} of {names:?}");
        assert_eq!(made.len(), names.iter().filter(|name| *name != "elsewhere").count(), "{names:?}");
        kept.databases.iter_mut().for_each(|database| database.made = false);
        assert_eq!(kept, planned, "nothing else is changed");
    }
}

async fn collections_are_recorded_by_position(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(7).await;
    let steps = [
        RestoreStep::Waiting,
        RestoreStep::Created,
        RestoreStep::Compared,
        RestoreStep::Done,
        RestoreStep::Skipped,
        RestoreStep::Failed,
        RestoreStep::Undone,
    ];
    let mut expected = Vec::new();
    for (position, step) in (0..).zip(steps) {
        let mut collection = at_step(step);
        collection.warnings = vec![String::from("alias `old` is taken")];
        collection.replaced = (step == RestoreStep::Done).then(|| ReplacedCollection {
            collection_id: 9,
            kept_as: Some(String::from("kept")),
            aliases: vec![String::from("old")],
        });
        world.catalog.save_restored_collection(job_id, position, &collection).await.unwrap();
        expected.push(collection);
    }
    assert_eq!(world.catalog.restore(job_id).await.unwrap().unwrap().collections, expected);
    // An undo changes the collections of a restore that has ended.
    world.catalog.transition_job(job_id, JobState::Failed, None, at(3)).await.unwrap();
    world.set_step(job_id, 3, RestoreStep::Undone).await;
    let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
    assert_eq!(restore.collections[3], at_step(RestoreStep::Undone));
    assert_eq!(restore.collections[2], expected[2]);
}

async fn collections_are_recorded_side_by_side(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(32).await;
    let saves: Vec<_> = (0..32)
        .map(|position| {
            let catalog = Arc::clone(&world.catalog);
            tokio::spawn(async move {
                for step in [RestoreStep::Created, RestoreStep::Compared, RestoreStep::Done] {
                    let mut collection = at_step(step);
                    collection.target_collection_id = Some(i64::from(position));
                    catalog.save_restored_collection(job_id, position, &collection).await.unwrap();
                }
            })
        })
        .collect();
    for save in saves {
        save.await.unwrap();
    }
    let restore = world.catalog.restore(job_id).await.unwrap().unwrap();
    for (position, collection) in (0..).zip(restore.collections) {
        assert_eq!((collection.step, collection.target_collection_id), (RestoreStep::Done, Some(position)));
    }
}

async fn collections_that_no_plan_has_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(2).await;
    let backup = world.add_restorable().await;
    let unplanned = world.request(&new_restore(&world.cluster, &backup)).await;
    for (job_id, position) in [(job_id, 2), (job_id, u32::MAX), (unplanned, 0), (JobId::from_uuid(uuid()), 0)]
    {
        let collection = at_step(RestoreStep::Done);
        let error = world.catalog.save_restored_collection(job_id, position, &collection).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    }
}

async fn long_texts_of_a_collection_are_cut(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(1).await;
    let mut collection = at_step(RestoreStep::Failed);
    collection.failure = Some("ß".repeat(5_000));
    collection.warnings = vec!["ü".repeat(5_000); 150];
    world.catalog.save_restored_collection(job_id, 0, &collection).await.unwrap();
    let kept = world.catalog.restore(job_id).await.unwrap().unwrap().collections.remove(0);
    assert_eq!(kept.failure, Some("ß".repeat(4_096)));
    assert_eq!((kept.warnings.len(), &kept.warnings[99]), (101, &"ü".repeat(1_024)));
    assert_eq!(kept.warnings[100], "and 50 more that were not kept");
}

async fn other_jobs_are_no_restores(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let restored = world.add_ended_restore().await;
    let backup = world.add_restorable().await;
    let undo = world.request(&new_undo(&world.cluster, restored)).await;
    let compare = world.request(&new_compare(&world.cluster, restored)).await;
    let verify = world.add_verify(backup.id).await.id;
    for job_id in [undo, compare, verify, JobId::from_uuid(uuid())] {
        assert_eq!(world.catalog.restore(job_id).await.unwrap(), None);
    }
}

async fn phases_of_a_restore_are_recorded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let job_id = world.start_restore(1).await;
    let phases =
        [JobPhase::Prepare, JobPhase::Import, JobPhase::Finish, JobPhase::Compare, JobPhase::Cleanup];
    for phase in phases {
        world.catalog.save_progress(job_id, phase, progress(1), at(2)).await.unwrap();
        assert_eq!(world.job(job_id).await.phase, Some(phase));
    }
    let events = world.catalog.job_events(job_id).await.unwrap();
    let seen: Vec<_> = events.iter().filter_map(|event| event.phase).collect();
    assert_eq!(seen, phases);
}
