//! Servers that share a catalog, and leases on clusters. Where a catalog cannot be shared, one server plays all parts.

use super::Home;
use super::samples::{
    World, api_key, at, cut, facts, manual_backup, progress, sealer, tenancy, uuid, verify_job,
};
use milvault_domain::audit::AuditRecord;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, ServerId};
use milvault_domain::job::{Job, JobPhase, JobState, JobType};
use milvault_domain::lease::{Claim, Fence, HeldLease, NewServer};
use milvault_domain::ports::{
    AuditFilter, AuditPage, Catalog, Idempotency, InsertOutcome, NewBackup, PortErrorKind, PortResult,
};
use milvault_domain::progress::Progress;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

super::cases![
    a_lease_has_one_holder_and_passes_on_when_it_runs_out,
    of_many_claims_at_once_one_is_granted,
    leases_are_renewed_and_given_back_by_their_holder_alone,
    stale_writes_are_refused_and_change_nothing,
    servers_are_known_while_they_live,
    a_server_that_cannot_share_finds_nothing_held,
    servers_that_start_at_once_make_one_owner,
    two_servers_accept_one_backup,
    two_servers_write_one_chain,
    the_latest_ends_are_listed,
    of_two_changes_of_a_cluster_the_second_is_made_anew,
    of_two_timers_one_asks_for_a_sweep,
];

const LONG: Duration = Duration::from_mins(10);
/// Has run out when the next statement looks at it.
const OVER: Duration = Duration::ZERO;

fn new_server(name: &str) -> NewServer {
    NewServer { id: ServerId::from_uuid(uuid()), name: name.to_owned(), version: String::from("1.2.3") }
}

fn server() -> ServerId {
    ServerId::from_uuid(uuid())
}

async fn claim(catalog: &dyn Catalog, cluster_id: ClusterId, server_id: ServerId, length: Duration) -> Fence {
    match catalog.claim_lease(cluster_id, server_id, length).await.unwrap() {
        Claim::Granted(fence) => fence,
        Claim::HeldBy(other) => panic!("{other} holds the lease"),
    }
}

/// The catalogs of two servers: of two pools where that can be, else twice the same.
pub(super) async fn two(home: &dyn Home) -> (World, Arc<dyn Catalog>) {
    let world = World::open(home).await;
    let other = if world.catalog.is_shared() {
        home.open(sealer()).await.unwrap()
    } else {
        Arc::clone(&world.catalog)
    };
    (world, other)
}

async fn a_lease_has_one_holder_and_passes_on_when_it_runs_out(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let (catalog, cluster_id) = (&world.catalog, world.cluster.id);
    let (first, second) = (server(), server());
    assert_eq!(catalog.held_lease(cluster_id).await.unwrap(), None);

    let fence = claim(&**catalog, cluster_id, first, LONG).await;
    assert_eq!(fence, Fence { cluster_id, server_id: first, generation: 1 });
    assert_eq!(other.claim_lease(cluster_id, second, LONG).await.unwrap(), Claim::HeldBy(first));
    let held: HeldLease = other.held_lease(cluster_id).await.unwrap().unwrap();
    assert_eq!(held.fence, fence);
    assert_eq!(other.held_leases().await.unwrap(), [held]);

    // The holder itself gets a new generation, and one that is over before anybody looks.
    let short = claim(&**catalog, cluster_id, first, OVER).await;
    assert_eq!(short.generation, 2);
    assert_eq!(catalog.held_lease(cluster_id).await.unwrap(), None);
    assert_eq!(catalog.held_leases().await.unwrap(), []);
    let taken = claim(&*other, cluster_id, second, LONG).await;
    assert_eq!(taken, Fence { cluster_id, server_id: second, generation: 3 });
    assert_eq!(catalog.claim_lease(cluster_id, first, LONG).await.unwrap(), Claim::HeldBy(second));

    let error = catalog.claim_lease(ClusterId::from_uuid(uuid()), first, LONG).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
}

async fn of_many_claims_at_once_one_is_granted(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let cluster_id = world.cluster.id;
    let mut generations = BTreeSet::new();
    for _ in 0..10 {
        let claims = (0..8).map(|number| {
            let catalog = Arc::clone(if number % 2 == 0 { &world.catalog } else { &other });
            tokio::spawn(async move { catalog.claim_lease(cluster_id, server(), LONG).await.unwrap() })
        });
        let mut granted = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            if let Claim::Granted(fence) = claim.await.unwrap() {
                granted.push(fence);
            }
        }
        assert_eq!(granted.len(), 1, "{granted:?}");
        assert!(generations.insert(granted[0].generation), "a generation was granted twice");
        assert_eq!(world.catalog.held_lease(cluster_id).await.unwrap().unwrap().fence, granted[0]);
        other.give_back_leases(&granted).await.unwrap();
    }
}

async fn leases_are_renewed_and_given_back_by_their_holder_alone(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let cluster_id = world.cluster.id;
    let second_cluster = world.add_cluster("second").await.id;
    let (first, second) = (new_server("first"), new_server("second"));
    let own = claim(&*world.catalog, cluster_id, first.id, LONG).await;
    let short = claim(&*world.catalog, second_cluster, first.id, OVER).await;

    // What is over is not prolonged, even if nobody has claimed it.
    let before = world.catalog.held_lease(cluster_id).await.unwrap().unwrap();
    assert_eq!(world.catalog.renew_leases(&first, &[own, short], 2 * LONG).await.unwrap(), [own]);
    let after = world.catalog.held_lease(cluster_id).await.unwrap().unwrap();
    assert!(before.expires_at < after.expires_at, "{before:?} {after:?}");
    // Nobody renews or gives back what is another's.
    let stranger = Fence { server_id: second.id, ..own };
    let stale = Fence { generation: 0, ..own };
    assert_eq!(other.renew_leases(&second, &[stranger, stale], LONG).await.unwrap(), []);
    other.give_back_leases(&[stranger, stale]).await.unwrap();
    assert_eq!(other.held_lease(cluster_id).await.unwrap().unwrap(), after);

    world.catalog.give_back_leases(&[own, short]).await.unwrap();
    assert_eq!(other.held_leases().await.unwrap(), []);
    let next = claim(&*other, cluster_id, second.id, LONG).await;
    assert_eq!(next.generation, own.generation + 1);
    world.catalog.give_back_leases(&[own]).await.unwrap();
    assert_eq!(other.held_lease(cluster_id).await.unwrap().unwrap().fence, next);
}

async fn stale_writes_are_refused_and_change_nothing(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    let (job_id, backup_id) = (new.job.id, new.backup.id);
    let stale = world.catalog.fenced(claim(&*world.catalog, world.cluster.id, server(), OVER).await);

    // It has run out, and nobody else has begun: what was done is recorded.
    stale.transition_job(job_id, JobState::InProgress, None, at(1)).await.unwrap();
    stale.save_progress(job_id, JobPhase::Copy, progress(100), at(2)).await.unwrap();
    let current = other.fenced(claim(&*other, world.cluster.id, server(), LONG).await);
    let before = (world.job(job_id).await, other.job_events(job_id).await.unwrap());

    let report = milvault_domain::ports::VerifyReport::default();
    let writes: Vec<(&str, PortResult<()>)> = vec![
        ("progress", stale.save_progress(job_id, JobPhase::Seal, progress(400), at(3)).await),
        ("parking", stale.transition_job(job_id, JobState::Pending, Some("parked"), at(3)).await.map(|_| ())),
        ("failing", stale.transition_job(job_id, JobState::Failed, Some("x"), at(3)).await.map(|_| ())),
        (
            "completing",
            stale
                .complete_backup(job_id, backup_id, &facts(), &cut(), Progress::default(), at(3))
                .await
                .map(|_| ()),
        ),
        ("verifying", stale.complete_verify(job_id, &report, Progress::default(), at(3)).await.map(|_| ())),
        ("sweeping", stale.mark_swept(&[backup_id], at(3)).await),
        ("restoring", stale.complete_restore(job_id, &[], Progress::default(), at(3)).await.map(|_| ())),
    ];
    for (what, outcome) in writes {
        let error = outcome.expect_err(what);
        assert_eq!(error.kind(), PortErrorKind::Canceled, "{what}: {error}");
        assert!(error.to_string().contains("lost its lease"), "{what}: {error}");
    }
    assert_eq!((world.job(job_id).await, other.job_events(job_id).await.unwrap()), before);
    assert_eq!(stale.job(job_id).await.unwrap().as_ref(), Some(&before.0), "it may read");

    // The present holder goes on, and people are not bound by leases.
    current.save_progress(job_id, JobPhase::Seal, progress(400), at(4)).await.unwrap();
    world.catalog.transition_job(job_id, JobState::Canceling, None, at(5)).await.unwrap();
    let done = current
        .complete_backup(job_id, backup_id, &facts(), &cut(), Progress::default(), at(6))
        .await
        .unwrap();
    assert_eq!(done.1.state, JobState::Successful);
}

async fn servers_are_known_while_they_live(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let (first, second) = (new_server("first"), new_server("second"));
    world.catalog.register_server(&first, LONG).await.unwrap();
    let known = other.servers().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].id, known[0].name.as_str(), known[0].alive), (first.id, "first", true));
    assert_eq!(known[0].version, "1.2.3");

    // One that is heard of is known, whether it was forgotten meanwhile or not.
    other.renew_leases(&second, &[], OVER).await.unwrap();
    let known = world.catalog.servers().await.unwrap();
    let alive: Vec<_> = known.iter().map(|server| (server.id, server.alive)).collect();
    assert_eq!(alive, [(first.id, true), (second.id, false)]);
    other.renew_leases(&second, &[], LONG).await.unwrap();
    let later = world.catalog.servers().await.unwrap();
    assert!(later[1].alive && known[1].heartbeat_at <= later[1].heartbeat_at, "{later:?}");
    assert_eq!(later[1].started_at, known[1].started_at);

    // Ending in order is one thing, being dead another: only then leases are given back for it.
    let fence = claim(&*world.catalog, world.cluster.id, first.id, LONG).await;
    other.remove_server(first.id).await.unwrap();
    other.remove_server(first.id).await.unwrap();
    assert_eq!(other.held_lease(world.cluster.id).await.unwrap().unwrap().fence, fence);
    other.bury_server(first.id).await.unwrap();
    assert_eq!(other.held_leases().await.unwrap(), []);
    let left: Vec<_> = world.catalog.servers().await.unwrap().into_iter().map(|server| server.id).collect();
    assert_eq!(left, [second.id]);
}

async fn a_server_that_cannot_share_finds_nothing_held(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let cluster_id = world.cluster.id;
    let (former, next) = (new_server("former"), new_server("next"));
    world.catalog.register_server(&former, LONG).await.unwrap();
    let fence = claim(&*world.catalog, cluster_id, former.id, LONG).await;
    world.catalog.register_server(&next, LONG).await.unwrap();
    let known: Vec<_> = world.catalog.servers().await.unwrap().into_iter().map(|server| server.id).collect();
    if world.catalog.is_shared() {
        assert_eq!(known, [former.id, next.id]);
        let claimed = world.catalog.claim_lease(cluster_id, next.id, LONG).await.unwrap();
        assert_eq!(claimed, Claim::HeldBy(former.id));
    } else {
        assert_eq!(known, [next.id]);
        assert_eq!(claim(&*world.catalog, cluster_id, next.id, LONG).await.generation, fence.generation + 1);
    }
}

async fn servers_that_start_at_once_make_one_owner(home: Arc<dyn Home>) {
    let first = home.open(sealer()).await.unwrap();
    if !first.is_shared() {
        return;
    }
    drop(first);
    let starts = (0..6).map(|_| {
        let home = Arc::clone(&home);
        tokio::spawn(async move {
            let catalog = home.open(sealer()).await.unwrap();
            let proposed = tenancy();
            catalog.ensure_tenancy(&proposed, &api_key(&proposed)).await.unwrap()
        })
    });
    let mut made = 0;
    let mut organizations = BTreeSet::new();
    for start in starts.collect::<Vec<_>>() {
        let (tenancy, is_new) = start.await.unwrap();
        made += u32::from(is_new);
        organizations.insert(tenancy.organization_id);
    }
    assert_eq!((made, organizations.len()), (1, 1));
}

async fn two_servers_accept_one_backup(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let insert = |catalog: &Arc<dyn Catalog>, new: NewBackup| {
        let catalog = Arc::clone(catalog);
        tokio::spawn(async move { catalog.insert_backup(&new).await.unwrap() })
    };
    for _ in 0..5 {
        let (one, two) = (manual_backup(&world.cluster), manual_backup(&world.cluster));
        let ids = [one.job.id, two.job.id];
        let (first, second) = (insert(&world.catalog, one), insert(&other, two));
        let outcomes = [first.await.unwrap(), second.await.unwrap()];
        let winner = ids[usize::from(outcomes[0] != InsertOutcome::Created)];
        assert!(outcomes.contains(&InsertOutcome::Created), "{outcomes:?}");
        assert!(outcomes.contains(&InsertOutcome::Busy(winner)), "{outcomes:?}");
        other.transition_job(winner, JobState::Canceled, None, at(1)).await.unwrap();

        // The same request twice, as a client sends it that heard nothing from the first server.
        let key = Idempotency { key: format!("key-{winner}"), request_hash: [3; 32] };
        let keyed = || NewBackup { idempotency: Some(key.clone()), ..manual_backup(&world.cluster) };
        let (first, second) = (insert(&world.catalog, keyed()), insert(&other, keyed()));
        let outcomes = [first.await.unwrap(), second.await.unwrap()];
        let duplicates = outcomes.iter().filter(|outcome| matches!(outcome, InsertOutcome::Duplicate(_)));
        assert_eq!(duplicates.count(), 1, "{outcomes:?}");
        let open = other.open_jobs().await.unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        other.transition_job(open[0].id, JobState::Canceled, None, at(1)).await.unwrap();
    }
}

async fn two_servers_write_one_chain(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let organization_id = world.organization_id;
    let writers = (0..6).map(|number| {
        let catalog = Arc::clone(if number % 2 == 0 { &world.catalog } else { &other });
        tokio::spawn(async move {
            for _ in 0..10 {
                let record = AuditRecord::by_system(at(1), organization_id, "pruneJobs");
                catalog.append_audit(&record).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let filter = AuditFilter::of(organization_id);
    let page = AuditPage { limit: 100, after: None, newest_first: false };
    let entries = other.audit_entries(&filter, page).await.unwrap().items;
    assert_eq!(entries.len(), 60);
    for pair in entries.windows(2) {
        assert_eq!(pair[0].sequence + 1, pair[1].sequence);
        assert_eq!(pair[0].hash, pair[1].previous_hash);
    }
}

async fn the_latest_ends_are_listed(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = manual_backup(&world.cluster);
    world.add_available(&made).await;
    let mut ended = Vec::new();
    for seconds in [10, 30, 20] {
        let job = verify_job(&world.cluster, made.backup.id);
        world.catalog.insert_job(&job).await.unwrap();
        let job = world.catalog.transition_job(job.id, JobState::Canceled, None, at(seconds)).await.unwrap();
        ended.push((seconds, job));
    }
    let open = verify_job(&world.cluster, made.backup.id);
    world.catalog.insert_job(&open).await.unwrap();
    let since = |seconds, limit| world.catalog.jobs_ended_since(at(seconds), limit);
    let [ten, thirty, twenty] = [0, 1, 2].map(|index: usize| ended[index].1.clone());
    assert_eq!(since(20, 10).await.unwrap(), [thirty.clone(), twenty.clone()]);
    assert_eq!(since(10, 3).await.unwrap(), [thirty.clone(), twenty, ten]);
    assert_eq!(since(0, 1).await.unwrap(), [thirty]);
    assert_eq!(since(31, 10).await.unwrap(), []);
}

async fn of_two_changes_of_a_cluster_the_second_is_made_anew(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let former = world.cluster.clone();
    let changed =
        |seconds, name: &str| Cluster { name: name.to_owned(), updated_at: at(seconds), ..former.clone() };
    let (first, second) = (changed(100, "renamed"), changed(200, "renamed-too"));
    assert!(world.catalog.replace_cluster(&former, &first).await.unwrap());
    assert!(!other.replace_cluster(&former, &second).await.unwrap());
    assert_eq!(other.cluster(former.id).await.unwrap().as_ref(), Some(&first));
    assert!(other.replace_cluster(&first, &second).await.unwrap());
    assert_eq!(world.catalog.cluster(former.id).await.unwrap().as_ref(), Some(&second));

    let neighbour = world.add_cluster("neighbour").await;
    let taken = Cluster { name: neighbour.name, ..changed(300, "x") };
    let error = other.replace_cluster(&second, &taken).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    world.catalog.remove_cluster(former.id, at(400)).await.unwrap();
    let error = other.replace_cluster(&second, &changed(500, "late")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
}

async fn of_two_timers_one_asks_for_a_sweep(home: Arc<dyn Home>) {
    let (world, other) = two(&*home).await;
    let sweep = |seconds| Job {
        job_type: JobType::Sweep,
        backup_id: None,
        verify_level: None,
        created_at: at(seconds),
        ..verify_job(&world.cluster, BackupId::from_uuid(uuid()))
    };
    let timers = [&world.catalog, &other].map(|catalog| {
        let (catalog, job) = (Arc::clone(catalog), sweep(1000));
        tokio::spawn(async move { catalog.insert_due_sweep(&job, at(900)).await.unwrap() })
    });
    let mut asked = 0;
    for timer in timers {
        asked += u32::from(timer.await.unwrap());
    }
    assert_eq!(asked, 1);
    // It is over before the other one, who looked earlier, comes to ask.
    let open = other.open_jobs().await.unwrap().remove(0);
    other.transition_job(open.id, JobState::InProgress, None, at(1001)).await.unwrap();
    other.transition_job(open.id, JobState::Successful, None, at(1002)).await.unwrap();
    assert!(!world.catalog.insert_due_sweep(&sweep(1003), at(903)).await.unwrap());
    // Those of a clock that ran ahead do not count.
    let ahead = sweep(999_000);
    assert_eq!(world.catalog.insert_sweep(&ahead).await.unwrap(), None);
    world.catalog.transition_job(ahead.id, JobState::Canceled, None, at(999_001)).await.unwrap();
    assert!(world.catalog.insert_due_sweep(&sweep(3000), at(2900)).await.unwrap());
    assert!(!world.catalog.insert_due_sweep(&sweep(9000), at(8900)).await.unwrap(), "one is open");
}
