//! The audit log: chained, append-only, and found by every filter.

use super::Home;
use super::samples::{World, at, automatic_backup, uuid, verify_job};
use milvault_domain::audit::{AuditActor, AuditEntry, AuditRecord, AuditResult, AuditTarget, CHAIN_START};
use milvault_domain::ids::{ApiKeyId, ProjectId, UserId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{AuditFilter, AuditPage, AuditPosition, PortErrorKind};
use std::collections::BTreeMap;
use std::sync::Arc;

super::cases![
    entries_read_back_in_a_chain,
    racing_writers_make_one_chain,
    the_database_refuses_every_change,
    a_change_past_the_catalog_shows,
    entries_are_found_by_every_filter,
    pages_go_both_ways,
    a_project_is_found_by_the_target,
    texts_are_cut,
    the_server_writes_down_what_it_does_by_itself,
    a_sweep_of_the_timer_is_written_down_once,
];

const ALL: AuditPage = AuditPage { limit: AuditPage::LIMIT_MAX, after: None, newest_first: false };

impl World {
    fn record(&self, action: &str, seconds: i64) -> AuditRecord {
        let key = ApiKeyId::from_uuid(uuid());
        AuditRecord {
            actor: AuditActor::of_key(key, Some(UserId::from_uuid(uuid())), String::from("Ada")),
            inputs: BTreeMap::from([(String::from("name"), String::from("a \"name\"\n"))]),
            code: Some(String::from("CONFLICT")),
            remote_address: Some(String::from("192.0.2.7")),
            request_id: Some(String::from("abc-1")),
            ..AuditRecord::by_system(at(seconds), self.organization_id, action)
        }
    }

    async fn entries(&self, filter: &AuditFilter, page: AuditPage) -> Vec<AuditEntry> {
        self.catalog.audit_entries(filter, page).await.unwrap().items
    }

    async fn all(&self) -> Vec<AuditEntry> {
        self.entries(&AuditFilter::of(self.organization_id), ALL).await
    }
}

/// The sequence of the first entry that is not as it was written.
fn first_broken(entries: &[AuditEntry]) -> Option<u64> {
    let mut previous_hash = CHAIN_START;
    for (index, entry) in entries.iter().enumerate() {
        let expected = u64::try_from(index).unwrap() + 1;
        if entry.sequence != expected || !entry.follows(&previous_hash).unwrap() {
            return Some(entry.sequence);
        }
        previous_hash = entry.hash;
    }
    None
}

async fn entries_read_back_in_a_chain(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let intent = AuditRecord { result: None, code: None, ..world.record("removeCluster", 1) };
    assert_eq!(world.catalog.append_audit(&intent).await.unwrap(), 1);
    let outcome = AuditRecord {
        at: at(2),
        target: Some(AuditTarget { kind: String::from("cluster"), id: world.cluster.id.to_string() }),
        result: Some(AuditResult::Refused),
        intent: Some(1),
        count: 3,
        ..world.record("removeCluster", 2)
    };
    assert_eq!(world.catalog.append_audit(&outcome).await.unwrap(), 2);
    let entries = world.all().await;
    assert_eq!(entries[0].record, intent);
    assert_eq!(entries[1].record, AuditRecord { project_id: Some(world.project_id), ..outcome });
    assert_eq!(first_broken(&entries), None);
    // It goes on after a new start.
    let (organization_id, later) = (world.organization_id, world.record("removeCluster", 3));
    drop(world);
    let catalog = home.open(super::samples::sealer()).await.unwrap();
    assert_eq!(catalog.append_audit(&later).await.unwrap(), 3);
    let found = catalog.audit_entries(&AuditFilter::of(organization_id), ALL).await.unwrap();
    assert_eq!(first_broken(&found.items), None);
}

async fn racing_writers_make_one_chain(home: Arc<dyn Home>) {
    let world = Arc::new(World::open(&*home).await);
    let writers = (0..16).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for _ in 0..4 {
                world.catalog.append_audit(&world.record("cancelJob", 1)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let entries = world.all().await;
    assert_eq!((entries.len(), first_broken(&entries)), (64, None));
}

async fn the_database_refuses_every_change(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for seconds in 0..3 {
        world.catalog.append_audit(&world.record("cancelJob", seconds)).await.unwrap();
    }
    let before = world.all().await;
    for statement in [
        "UPDATE audit_log SET actor_name = 'nobody' WHERE sequence = 2",
        "DELETE FROM audit_log WHERE sequence = 3",
        "DELETE FROM audit_log",
        "INSERT INTO audit_log SELECT 9, at_us, organization_id, project_id, actor_kind, actor_id, actor_name, \
         api_key_id, action, target_kind, target_id, inputs, result, code, event_count, remote_address, request_id, \
         intent_sequence, previous_hash, hash FROM audit_log WHERE sequence = 1",
    ] {
        let words = home.run_statement(statement).await.unwrap_err();
        assert!(words.contains("the audit log"), "{statement}: {words}");
    }
    assert_eq!(world.all().await, before);
    world.catalog.append_audit(&world.record("cancelJob", 4)).await.unwrap();
}

async fn a_change_past_the_catalog_shows(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    for seconds in 0..4 {
        world.catalog.append_audit(&world.record("cancelJob", seconds)).await.unwrap();
    }
    assert_eq!(first_broken(&world.all().await), None);
    // Whoever may change the schema gets past the triggers, but not past the chain. One of these is of the other database.
    for statement in
        ["DROP TRIGGER audit_log_is_not_updated", "DROP TRIGGER audit_log_is_not_updated ON audit_log"]
    {
        let _ = home.run_statement(statement).await;
    }
    home.run_statement("UPDATE audit_log SET result = 'FAILED' WHERE sequence = 3").await.unwrap();
    assert_eq!(first_broken(&world.all().await), Some(3));
}

async fn entries_are_found_by_every_filter(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = AuditRecord {
        target: Some(AuditTarget { kind: String::from("cluster"), id: world.cluster.id.to_string() }),
        ..world.record("removeCluster", 1)
    };
    let second = AuditRecord { result: Some(AuditResult::Failed), ..world.record("cancelJob", 2) };
    let third = AuditRecord { result: None, code: None, ..world.record("cancelJob", 3) };
    for record in [&first, &second, &third] {
        world.catalog.append_audit(record).await.unwrap();
    }
    let all = || AuditFilter::of(world.organization_id);
    let other_project = ProjectId::from_uuid(uuid());
    let other_organization = milvault_domain::ids::OrganizationId::from_uuid(uuid());
    let projects = || Some(vec![world.project_id]);
    let two = |of: Option<&AuditRecord>, action: Option<&str>, result| AuditFilter {
        actor_id: of.and_then(|record| record.actor.id.clone()),
        action: action.map(str::to_owned),
        result,
        ..all()
    };
    let cases: Vec<(AuditFilter, Vec<u64>)> = vec![
        (all(), vec![1, 2, 3]),
        (AuditFilter::of(other_organization), vec![]),
        (AuditFilter { project_ids: Some(vec![world.project_id]), ..all() }, vec![1]),
        (AuditFilter { project_ids: Some(vec![other_project, world.project_id]), ..all() }, vec![1]),
        (AuditFilter { project_ids: Some(vec![other_project]), ..all() }, vec![]),
        (AuditFilter { project_ids: Some(vec![]), ..all() }, vec![]),
        (AuditFilter { actor_id: second.actor.id.clone(), ..all() }, vec![2]),
        (AuditFilter { action: Some(String::from("cancelJob")), ..all() }, vec![2, 3]),
        (AuditFilter { target_id: Some(world.cluster.id.to_string()), ..all() }, vec![1]),
        (AuditFilter { result: Some(AuditResult::Failed), ..all() }, vec![2]),
        // Two at once; one entry has no result, and none has been refused.
        (two(Some(&first), Some("removeCluster"), None), vec![1]),
        (two(Some(&first), Some("cancelJob"), None), vec![]),
        (two(Some(&third), Some("cancelJob"), None), vec![3]),
        (two(Some(&second), None, Some(AuditResult::Failed)), vec![2]),
        (two(Some(&third), None, Some(AuditResult::Failed)), vec![]),
        (two(None, Some("cancelJob"), Some(AuditResult::Failed)), vec![2]),
        (two(None, Some("cancelJob"), Some(AuditResult::Refused)), vec![]),
        (two(Some(&second), Some("cancelJob"), Some(AuditResult::Failed)), vec![2]),
        (AuditFilter { project_ids: projects(), ..two(Some(&first), Some("removeCluster"), None) }, vec![1]),
        (AuditFilter { project_ids: projects(), ..two(None, Some("cancelJob"), None) }, vec![]),
        (AuditFilter { from: Some(at(2)), ..two(None, Some("cancelJob"), None) }, vec![2, 3]),
        (AuditFilter { to: Some(at(3)), ..two(None, Some("cancelJob"), None) }, vec![2]),
        (AuditFilter { from: Some(at(2)), ..all() }, vec![2, 3]),
        (AuditFilter { to: Some(at(2)), ..all() }, vec![1]),
        (AuditFilter { from: Some(at(2)), to: Some(at(3)), ..all() }, vec![2]),
    ];
    for (filter, expected) in cases {
        let found: Vec<u64> = world.entries(&filter, ALL).await.iter().map(|entry| entry.sequence).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn pages_go_both_ways(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    // The clock stood still, and was set back once.
    for seconds in [5, 5, 5, 1, 6] {
        world.catalog.append_audit(&world.record("cancelJob", seconds)).await.unwrap();
    }
    for (newest_first, expected) in [(false, [4, 1, 2, 3, 5]), (true, [5, 3, 2, 1, 4])] {
        let mut found = Vec::new();
        let mut page = AuditPage { limit: 2, after: None, newest_first };
        loop {
            let filter = AuditFilter::of(world.organization_id);
            let answer = world.catalog.audit_entries(&filter, page).await.unwrap();
            let last = answer.items.last().unwrap();
            page.after = Some(AuditPosition { at: last.record.at, sequence: last.sequence });
            found.extend(answer.items.iter().map(|entry| entry.sequence));
            if !answer.has_more {
                break;
            }
        }
        assert_eq!(found, expected);
    }
    for limit in [0, AuditPage::LIMIT_MAX + 1] {
        let page = AuditPage { limit, ..ALL };
        let filter = AuditFilter::of(world.organization_id);
        let error = world.catalog.audit_entries(&filter, page).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput);
    }
}

async fn a_project_is_found_by_the_target(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = automatic_backup(&world.cluster);
    world.add(&new).await;
    let known = [
        ("project", world.project_id.to_string()),
        ("repository", world.repository.id.to_string()),
        ("cluster", world.cluster.id.to_string()),
        ("backup", new.backup.id.to_string()),
        ("job", new.job.id.to_string()),
    ];
    for (kind, id) in known {
        let target = Some(AuditTarget { kind: kind.to_owned(), id });
        world.catalog.append_audit(&AuditRecord { target, ..world.record("a", 1) }).await.unwrap();
    }
    let unknown = [
        ("backup", String::from("bkp_00000000000000000000000000000000")),
        ("hold", String::from("hld_00000000000000000000000000000000")),
        ("user", String::from("usr_00000000000000000000000000000000")),
    ];
    for (kind, id) in unknown {
        let target = Some(AuditTarget { kind: kind.to_owned(), id });
        world.catalog.append_audit(&AuditRecord { target, ..world.record("b", 1) }).await.unwrap();
    }
    for entry in world.all().await {
        let expected = (entry.record.action == "a").then_some(world.project_id);
        assert_eq!(entry.record.project_id, expected, "{:?}", entry.record.target);
    }
}

async fn texts_are_cut(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let long = "\u{e9}\0".repeat(10_000);
    let record = AuditRecord {
        actor: AuditActor::of_key(ApiKeyId::from_uuid(uuid()), None, long.clone()),
        action: long.clone(),
        inputs: BTreeMap::from([(long.clone(), long.clone())]),
        request_id: Some(long.clone()),
        ..world.record("a", 1)
    };
    world.catalog.append_audit(&record).await.unwrap();
    let entries = world.all().await;
    assert_eq!(first_broken(&entries), None);
    let kept = &entries[0].record;
    assert_eq!((kept.action.chars().count(), kept.actor.name.chars().count()), (128, 256));
    assert!(
        kept.inputs.iter().all(|(name, value)| name.chars().count() == 128 && value.chars().count() == 1_024)
    );
}

async fn the_server_writes_down_what_it_does_by_itself(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = automatic_backup(&world.cluster);
    new.backup.expires_at = Some(at(100));
    world.add_available(&new).await;
    assert_eq!(world.catalog.expire_backups(at(99), 10).await.unwrap(), []);
    assert_eq!(world.all().await, []);
    assert_eq!(world.catalog.expire_backups(at(100), 10).await.unwrap(), [new.backup.id]);
    let entries = world.all().await;
    let record = &entries[0].record;
    assert_eq!((entries.len(), record.action.as_str(), record.at), (1, "expireBackup", at(100)));
    assert_eq!((record.actor.clone(), record.result), (AuditActor::system(), Some(AuditResult::Ok)));
    assert_eq!(record.target.as_ref().unwrap().id, new.backup.id.to_string());
    assert_eq!(record.project_id, Some(world.project_id));
}

async fn a_sweep_of_the_timer_is_written_down_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = automatic_backup(&world.cluster);
    world.add_available(&new).await;
    let sweep = || Job {
        job_type: JobType::Sweep,
        backup_id: None,
        verify_level: None,
        ..verify_job(&world.cluster, new.backup.id)
    };
    let first = sweep();
    assert!(world.catalog.insert_due_sweep(&first, at(-100)).await.unwrap());
    assert!(!world.catalog.insert_due_sweep(&sweep(), at(-100)).await.unwrap());
    // One that a person asks for is in the log by the mutation.
    assert_eq!(world.catalog.insert_sweep(&sweep()).await.unwrap().unwrap().id, first.id);
    let entries = world.all().await;
    let record = &entries[0].record;
    assert_eq!((entries.len(), record.action.as_str(), record.at), (1, "startSweep", first.created_at));
    assert_eq!((record.actor.clone(), record.result), (AuditActor::system(), Some(AuditResult::Ok)));
    assert_eq!(record.target.as_ref().unwrap().id, world.cluster.id.to_string());
    assert_eq!(record.project_id, Some(world.project_id));
}
