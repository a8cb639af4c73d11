//! Copies: they keep what they are taken from, take no part in the rule of one manual backup, and those that policies ask
//! for are begun once.

use super::Home;
use super::samples::{World, at, automatic_backup, cut, facts, manual_backup, repository, uuid};
use chrono::TimeDelta;
use milvault_domain::backup::{BackupStatus, CopyOrigin};
use milvault_domain::ids::{BackupId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{
    DeleteOutcome, Idempotency, InsertCopyOutcome, InsertOutcome, NewBackup, NewCopy, PortErrorKind,
    SaveScheduleOutcome,
};
use milvault_domain::progress::Progress;
use milvault_domain::schedule::{ClusterSchedule, CopyPolicy, SchedulePolicy, TimeZone, Timing};
use std::sync::Arc;

super::cases![
    a_copy_reads_back_and_is_found_by_what_it_was_taken_from,
    a_copy_becomes_a_backup_like_any_other,
    a_copy_keeps_what_it_is_taken_from_until_it_ends,
    a_copy_takes_no_part_in_the_rule_of_one_manual_backup,
    copies_of_a_removed_clusters_backups_are_accepted,
    what_cannot_be_copied_is_refused,
    a_name_is_given_once_and_a_failed_backup_frees_it,
    a_repeated_request_gives_the_first_copy,
    racing_requests_with_one_key_make_one_copy,
    a_deletion_and_a_copy_never_both_win,
    an_automatic_backup_makes_the_copy_of_its_policy_due,
    a_due_copy_is_begun_once,
    keep_rules_pass_copies_over,
    removing_a_cluster_ends_automatic_copies_unless_kept_for_ever,
];

impl World {
    async fn second_repository(&self) -> RepositoryId {
        let repository = repository(self.project_id, "elsewhere");
        self.catalog.insert_repository(&repository).await.unwrap();
        repository.id
    }

    /// An available backup to be copied.
    async fn source(&self) -> NewBackup {
        let new = manual_backup(&self.cluster);
        self.add_available(&new).await;
        new
    }

    fn copy(&self, source: &NewBackup, repository_id: RepositoryId, name: &str) -> NewCopy {
        let mut new = manual_backup(&self.cluster);
        new.backup.repository_id = repository_id;
        name.clone_into(&mut new.backup.name);
        new.backup.creation_method = source.backup.creation_method;
        new.backup.copied_from =
            Some(CopyOrigin { backup_id: source.backup.id, repository_id: source.backup.repository_id });
        new.job.job_type = JobType::Copy;
        NewCopy { backup: new, is_due: false }
    }

    async fn accept(&self, copy: &NewCopy) {
        assert_eq!(self.catalog.insert_copy(copy).await.unwrap(), InsertCopyOutcome::Created);
    }

    async fn complete(&self, new: &NewBackup) {
        self.start(new.job.id).await;
        let done = Progress::default();
        self.catalog.complete_backup(new.job.id, new.backup.id, &facts(), &cut(), done, at(5)).await.unwrap();
    }

    async fn delete(&self, backup_id: BackupId) -> DeleteOutcome {
        let job = Job {
            id: JobId::from_uuid(uuid()),
            job_type: JobType::Delete,
            backup_id: Some(backup_id),
            ..manual_backup(&self.cluster).job
        };
        self.catalog.delete_backup(&job, at(9)).await.unwrap()
    }

    async fn keep_policy(&self, copy: Option<CopyPolicy>) {
        let timing = Timing::Cron(String::from("30 2 * * *"));
        let kept = self.catalog.schedule(self.cluster.id).await.unwrap();
        let schedule = ClusterSchedule {
            cluster_id: self.cluster.id,
            policy: SchedulePolicy { copy, ..SchedulePolicy::new(timing, TimeZone::UTC) },
            last_run: None,
            next_look: None,
            last_started: None,
            last_skipped: None,
            revision: kept.map_or(0, |kept| kept.revision),
        };
        let outcome = self.catalog.save_schedule(&schedule).await.unwrap();
        assert_eq!(outcome, SaveScheduleOutcome::Saved);
    }
}

async fn a_copy_reads_back_and_is_found_by_what_it_was_taken_from(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    assert_eq!(world.catalog.copies(source.backup.id).await.unwrap(), []);
    let (first, mut second) = (world.copy(&source, elsewhere, "one"), world.copy(&source, elsewhere, "two"));
    second.backup.backup.created_at = at(7);
    world.accept(&first).await;
    world.accept(&second).await;
    assert_eq!(world.backup(first.backup.backup.id).await, first.backup.backup);
    assert_eq!(world.job(first.backup.job.id).await, first.backup.job);
    let (one, two) = (first.backup.backup.clone(), second.backup.backup.clone());
    assert_eq!(world.catalog.copies(source.backup.id).await.unwrap(), [two, one.clone()]);

    let to = JobState::Canceled;
    world.catalog.transition_job(second.backup.job.id, to, None, at(8)).await.unwrap();
    assert!(matches!(world.delete(second.backup.backup.id).await, DeleteOutcome::Accepted));
    assert_eq!(world.catalog.copies(source.backup.id).await.unwrap(), [one], "deleted ones are left out");
}

async fn a_copy_becomes_a_backup_like_any_other(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    let copy = world.copy(&source, elsewhere, "copy");
    world.accept(&copy).await;
    world.complete(&copy.backup).await;
    let made = world.backup(copy.backup.backup.id).await;
    assert_eq!((made.status, made.copied_from), (BackupStatus::Available, copy.backup.backup.copied_from));
    assert_eq!(made.facts, Some(facts()));
    // It can be copied itself, also to where the first one came from.
    let mut back = world.copy(&copy.backup, source.backup.repository_id, "back");
    back.backup.backup.copied_from = Some(CopyOrigin { backup_id: made.id, repository_id: elsewhere });
    world.accept(&back).await;

    let failing = world.copy(&source, elsewhere, "failing");
    world.accept(&failing).await;
    world.start(failing.backup.job.id).await;
    let failed =
        world.catalog.transition_job(failing.backup.job.id, JobState::Failed, Some("no"), at(6)).await;
    assert_eq!(failed.unwrap().state, JobState::Failed);
    assert_eq!(world.backup(failing.backup.backup.id).await.status, BackupStatus::Failed);
}

async fn a_copy_keeps_what_it_is_taken_from_until_it_ends(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let mut source = manual_backup(&world.cluster);
    source.backup.expires_at = Some(at(10));
    world.add_available(&source).await;
    let copy = world.copy(&source, elsewhere, "copy");
    world.accept(&copy).await;
    let source_id = source.backup.id;
    for state in [None, Some(JobState::InProgress), Some(JobState::Canceling)] {
        if let Some(state) = state {
            world.catalog.transition_job(copy.backup.job.id, state, None, at(3)).await.unwrap();
        }
        assert_eq!(world.delete(source_id).await, DeleteOutcome::InUse(copy.backup.job.id), "{state:?}");
        assert_eq!(world.catalog.expire_backups(at(20), 10).await.unwrap(), []);
        assert_eq!(world.catalog.expire_chosen(&[source_id], at(20)).await.unwrap(), []);
    }
    world.catalog.transition_job(copy.backup.job.id, JobState::Canceled, None, at(4)).await.unwrap();
    assert_eq!(world.catalog.expire_backups(at(20), 10).await.unwrap(), [source_id]);
}

async fn a_copy_takes_no_part_in_the_rule_of_one_manual_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    for name in ["one", "two"] {
        world.accept(&world.copy(&source, elsewhere, name)).await;
    }
    let manual = manual_backup(&world.cluster);
    assert_eq!(world.catalog.insert_backup(&manual).await.unwrap(), InsertOutcome::Created);
    world.accept(&world.copy(&source, elsewhere, "three")).await;
}

async fn copies_of_a_removed_clusters_backups_are_accepted(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    world.catalog.remove_cluster(world.cluster.id, at(6)).await.unwrap();
    let copy = world.copy(&source, elsewhere, "copy");
    world.accept(&copy).await;
    world.complete(&copy.backup).await;
    assert_eq!(world.backup(copy.backup.backup.id).await.status, BackupStatus::Available);
}

async fn what_cannot_be_copied_is_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    let kind = async |copy: &NewCopy| world.catalog.insert_copy(copy).await.unwrap_err().kind();
    let same_place = world.copy(&source, source.backup.repository_id, "same");
    assert_eq!(kind(&same_place).await, PortErrorKind::InvalidInput);
    let mut original = world.copy(&source, elsewhere, "original");
    original.backup.backup.copied_from = None;
    assert_eq!(kind(&original).await, PortErrorKind::InvalidInput);
    let mut backup = world.copy(&source, elsewhere, "backup");
    backup.backup.job.job_type = JobType::Backup;
    assert_eq!(kind(&backup).await, PortErrorKind::InvalidInput);
    let mut unknown = world.copy(&source, elsewhere, "unknown");
    unknown.backup.backup.copied_from = Some(CopyOrigin {
        backup_id: BackupId::from_uuid(uuid()),
        repository_id: source.backup.repository_id,
    });
    assert_eq!(kind(&unknown).await, PortErrorKind::NotFound);
    let other_cluster = world.add_cluster("other").await;
    let of_other = automatic_backup(&other_cluster);
    world.add_available(&of_other).await;
    assert_eq!(kind(&world.copy(&of_other, elsewhere, "other")).await, PortErrorKind::InvalidInput);
    // A copy cannot come in by the way of backups.
    let by_backups = world.catalog.insert_backup(&world.copy(&source, elsewhere, "way").backup).await;
    assert_eq!(by_backups.unwrap_err().kind(), PortErrorKind::InvalidInput);

    let creating = automatic_backup(&world.cluster);
    world.add(&creating).await;
    for status in [BackupStatus::Creating, BackupStatus::Failed, BackupStatus::Deleted] {
        match status {
            BackupStatus::Failed => {
                let to = JobState::Failed;
                world.catalog.transition_job(creating.job.id, to, None, at(4)).await.map(drop).unwrap();
            }
            BackupStatus::Deleted => drop(world.delete(creating.backup.id).await),
            _ => {}
        }
        let outcome =
            world.catalog.insert_copy(&world.copy(&creating, elsewhere, "not there")).await.unwrap();
        assert_eq!(outcome, InsertCopyOutcome::SourceNotAvailable(status));
    }
}

async fn a_name_is_given_once_and_a_failed_backup_frees_it(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    let taken = world.copy(&source, elsewhere, &source.backup.name);
    assert_eq!(world.catalog.insert_copy(&taken).await.unwrap(), InsertCopyOutcome::NameTaken);
    let first = world.copy(&source, elsewhere, "copy");
    world.accept(&first).await;
    let again = world.copy(&source, elsewhere, "copy");
    assert_eq!(world.catalog.insert_copy(&again).await.unwrap(), InsertCopyOutcome::NameTaken);
    world.catalog.transition_job(first.backup.job.id, JobState::Canceled, None, at(3)).await.unwrap();
    world.accept(&again).await;
}

async fn a_repeated_request_gives_the_first_copy(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    let keyed = |name: &str, request_hash| {
        let mut copy = world.copy(&source, elsewhere, name);
        copy.backup.idempotency = Some(Idempotency { key: String::from("k"), request_hash });
        copy
    };
    let first = keyed("copy", [1; 32]);
    world.accept(&first).await;
    let InsertCopyOutcome::Duplicate(pair) =
        world.catalog.insert_copy(&keyed("copy", [1; 32])).await.unwrap()
    else {
        panic!("a repetition is recognized before its name is looked at")
    };
    assert_eq!((pair.backup.id, pair.job.id), (first.backup.backup.id, first.backup.job.id));
    let reused = world.catalog.insert_copy(&keyed("other", [2; 32])).await.unwrap();
    assert_eq!(reused, InsertCopyOutcome::KeyReused(first.backup.job.id));
}

async fn racing_requests_with_one_key_make_one_copy(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let source = world.source().await;
    let requests = (0..8).map(|_| {
        let mut copy = world.copy(&source, elsewhere, "copy");
        copy.backup.idempotency = Some(Idempotency { key: String::from("k"), request_hash: [1; 32] });
        let catalog = Arc::clone(&world.catalog);
        tokio::spawn(async move { catalog.insert_copy(&copy).await.unwrap() })
    });
    let mut created = 0;
    for request in requests.collect::<Vec<_>>() {
        match request.await.unwrap() {
            InsertCopyOutcome::Created => created += 1,
            InsertCopyOutcome::Duplicate(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(world.catalog.copies(source.backup.id).await.unwrap().len(), 1);
}

async fn a_deletion_and_a_copy_never_both_win(home: Arc<dyn Home>) {
    let world = Arc::new(World::open(&*home).await);
    let elsewhere = world.second_repository().await;
    for round in 0..6 {
        let source = automatic_backup(&world.cluster);
        world.add_available(&source).await;
        let copy = world.copy(&source, elsewhere, &format!("copy {round}"));
        let (copying, deleting) = (Arc::clone(&world), Arc::clone(&world));
        let source_id = source.backup.id;
        let copying = tokio::spawn(async move { copying.catalog.insert_copy(&copy).await.unwrap() });
        let deleting = tokio::spawn(async move { deleting.delete(source_id).await });
        let (copied, deleted) = (copying.await.unwrap(), deleting.await.unwrap());
        let one_won = matches!(
            (&copied, &deleted),
            (InsertCopyOutcome::Created, DeleteOutcome::InUse(_))
                | (InsertCopyOutcome::SourceNotAvailable(BackupStatus::Deleted), DeleteOutcome::Accepted)
        );
        assert!(one_won, "{copied:?} {deleted:?}");
    }
}

async fn an_automatic_backup_makes_the_copy_of_its_policy_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let without_policy = automatic_backup(&world.cluster);
    world.add_available(&without_policy).await;
    world.keep_policy(None).await;
    world.add_available(&automatic_backup(&world.cluster)).await;
    world.keep_policy(Some(CopyPolicy { repository_id: elsewhere, retention_days: 3 })).await;
    world.add_available(&manual_backup(&world.cluster)).await;
    assert_eq!(world.catalog.due_copies(10).await.unwrap(), []);

    let automatic = automatic_backup(&world.cluster);
    world.add_available(&automatic).await;
    let due = world.catalog.due_copies(10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].backup_id, due[0].cluster_id), (automatic.backup.id, world.cluster.id));
    assert_eq!((due[0].repository_id, due[0].retention_days, due[0].due_since), (elsewhere, 3, at(5)));
    // Telling again that the backup is complete changes nothing.
    let (job_id, backup_id) = (automatic.job.id, automatic.backup.id);
    let done = Progress::default();
    world.catalog.complete_backup(job_id, backup_id, &facts(), &cut(), done, at(8)).await.unwrap();
    assert_eq!(world.catalog.due_copies(10).await.unwrap(), due);

    world.catalog.forget_due_copy(backup_id).await.unwrap();
    world.catalog.forget_due_copy(backup_id).await.unwrap();
    assert_eq!(world.catalog.due_copies(10).await.unwrap(), []);
}

async fn a_due_copy_is_begun_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    world.keep_policy(Some(CopyPolicy { repository_id: elsewhere, retention_days: 3 })).await;
    let automatic = automatic_backup(&world.cluster);
    world.add_available(&automatic).await;
    let copies: Vec<_> = (0..4)
        .map(|number| NewCopy { is_due: true, ..world.copy(&automatic, elsewhere, &format!("c{number}")) })
        .collect();
    let racing = copies.into_iter().map(|copy| {
        let catalog = Arc::clone(&world.catalog);
        tokio::spawn(async move { catalog.insert_copy(&copy).await.unwrap() })
    });
    let mut created = 0;
    for outcome in racing.collect::<Vec<_>>() {
        match outcome.await.unwrap() {
            InsertCopyOutcome::Created => created += 1,
            InsertCopyOutcome::NotDue => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(world.catalog.copies(automatic.backup.id).await.unwrap().len(), 1);
    assert_eq!(world.catalog.due_copies(10).await.unwrap(), []);
}

async fn keep_rules_pass_copies_over(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    world.keep_policy(None).await;
    let mut automatic = automatic_backup(&world.cluster);
    automatic.backup.expires_at = Some(at(100));
    world.add_available(&automatic).await;
    let mut copy = world.copy(&automatic, elsewhere, "copy");
    copy.backup.backup.expires_at = Some(at(50));
    world.accept(&copy).await;
    world.complete(&copy.backup).await;

    let retained = world.catalog.retained(world.cluster.id, at(10)).await.unwrap().backups;
    let mut shown: Vec<_> = retained.iter().map(|backup| (backup.id, backup.is_copy)).collect();
    shown.sort_unstable();
    let mut expected = vec![(automatic.backup.id, false), (copy.backup.backup.id, true)];
    expected.sort_unstable();
    assert_eq!(shown, expected);
    // Rules decide about the automatic backup of a cluster with a schedule, age alone about its copy.
    assert_eq!(world.catalog.overdue_clusters(at(60)).await.unwrap(), []);
    assert_eq!(world.catalog.expire_backups(at(200), 10).await.unwrap(), [copy.backup.backup.id]);
    assert_eq!(world.catalog.overdue_clusters(at(200)).await.unwrap(), [world.cluster.id]);
}

async fn removing_a_cluster_ends_automatic_copies_unless_kept_for_ever(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let elsewhere = world.second_repository().await;
    let automatic = automatic_backup(&world.cluster);
    world.add_available(&automatic).await;
    let manual = manual_backup(&world.cluster);
    world.add_available(&manual).await;
    let mut kept = Vec::new();
    let mut ended = vec![automatic.backup.id];
    for (source, expires_at, stays) in [
        (&automatic, Some(at(0) + TimeDelta::days(3)), false),
        (&automatic, None, true),
        (&manual, Some(at(0) + TimeDelta::days(3)), true),
        (&manual, None, true),
    ] {
        let mut copy = world.copy(source, elsewhere, &format!("copy {}", kept.len() + ended.len()));
        copy.backup.backup.expires_at = expires_at;
        world.accept(&copy).await;
        world.complete(&copy.backup).await;
        if stays { kept.push(copy.backup.backup.id) } else { ended.push(copy.backup.backup.id) }
    }
    world.catalog.remove_cluster(world.cluster.id, at(9)).await.unwrap();
    let mut expired = world.catalog.expire_backups(at(10), 10).await.unwrap();
    expired.sort_unstable();
    ended.sort_unstable();
    assert_eq!(expired, ended);
    for id in kept {
        assert_eq!(world.backup(id).await.status, BackupStatus::Available);
    }
}
