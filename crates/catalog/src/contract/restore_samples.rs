//! Records of restores that the cases use.

use super::samples::{World, manual_backup, uuid, verify_job};
use milvault_domain::backup::{Backup, CollectionName};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::job_request::{AdoptRequest, JobRequest};
use milvault_domain::ports::{InsertJobOutcome, NewBackup, NewJob};
use milvault_domain::restore::{
    AccessRestore, CollectionRename, CollectionRestore, CompareDepth, ConflictPolicy, IndexChoice,
    LoadChoice, PartitionRows, RestoreAction, RestorePlan, RestoreRequest, RestoreSelection, RestoreStep,
    RestoredCollection, TargetNames, UserPassword,
};
use milvault_domain::secret::{Secret, SecretValue};

impl World {
    /// An available backup.
    pub(super) async fn add_restorable(&self) -> Backup {
        let new = manual_backup(&self.cluster);
        self.add_available(&new).await;
        self.backup(new.backup.id).await
    }

    /// Adds a job that must be accepted.
    pub(super) async fn request(&self, new: &NewJob) -> JobId {
        let outcome = self.catalog.insert_requested_job(new).await.unwrap();
        assert_eq!(outcome, InsertJobOutcome::Created);
        new.job.id
    }

    /// Adds and starts a restore with a plan of so many collections, all waiting.
    pub(super) async fn start_restore(&self, collections: usize) -> JobId {
        let backup = self.add_restorable().await;
        let job_id = self.request(&new_restore(&self.cluster, &backup)).await;
        self.start(job_id).await;
        self.catalog.save_restore_plan(job_id, &plan(collections), &waiting(collections)).await.unwrap();
        job_id
    }

    /// Adds a restore that has failed without having done anything.
    pub(super) async fn add_ended_restore(&self) -> JobId {
        let backup = self.add_restorable().await;
        let job_id = self.request(&new_restore(&self.cluster, &backup)).await;
        let why = Some("the target was down");
        self.catalog.transition_job(job_id, JobState::Failed, why, super::samples::at(2)).await.unwrap();
        job_id
    }

    /// Records the step of a collection, with a failure where it has failed.
    pub(super) async fn set_step(&self, job_id: JobId, position: u32, step: RestoreStep) {
        let collection = at_step(step);
        self.catalog.save_restored_collection(job_id, position, &collection).await.unwrap();
    }
}

pub(super) fn restore_request(target: &Cluster, backup: &Backup) -> RestoreRequest {
    let books = |collection: &str| CollectionName {
        database: String::from("default"),
        collection: collection.to_owned(),
    };
    RestoreRequest {
        backup_id: backup.id,
        target_cluster_id: target.id,
        selection: RestoreSelection::Everything,
        names: TargetNames {
            collections: vec![CollectionRename { from: books("books"), to: books("bücher \0 'quoted'") }],
            ..TargetNames::default()
        },
        conflict: ConflictPolicy::Replace,
        shard_count: Some(2),
        load: LoadChoice::All,
        indexes: IndexChoice::Build,
        access_control: Some(AccessRestore {
            passwords: vec![UserPassword {
                user: String::from("reader"),
                password: Secret::Value(SecretValue::new(String::from("restore-password-plaintext"))),
            }],
        }),
        compare: CompareDepth::Rows,
        continues: None,
    }
}

pub(super) fn new_restore(target: &Cluster, backup: &Backup) -> NewJob {
    let job = Job { job_type: JobType::Restore, verify_level: None, ..verify_job(target, backup.id) };
    NewJob { job, request: JobRequest::Restore(restore_request(target, backup)), idempotency: None }
}

pub(super) fn new_drill(target: &Cluster, backup: &Backup) -> NewJob {
    let mut new = new_restore(target, backup);
    new.job.job_type = JobType::Drill;
    new.request = JobRequest::Drill(restore_request(target, backup));
    new
}

pub(super) fn new_undo(target: &Cluster, restore_job_id: JobId) -> NewJob {
    let request = JobRequest::Undo { restore_job_id };
    NewJob { job: later_job(target, JobType::Undo), request, idempotency: None }
}

pub(super) fn new_compare(target: &Cluster, restore_job_id: JobId) -> NewJob {
    let request = JobRequest::Compare { restore_job_id, depth: CompareDepth::Keys };
    NewJob { job: later_job(target, JobType::Compare), request, idempotency: None }
}

fn later_job(target: &Cluster, job_type: JobType) -> Job {
    let any_backup = milvault_domain::ids::BackupId::from_uuid(uuid());
    Job { job_type, backup_id: None, verify_level: None, ..verify_job(target, any_backup) }
}

/// A backup that is taken over from milvus-backup.
pub(super) fn adoption(cluster: &Cluster) -> NewBackup {
    let mut new = manual_backup(cluster);
    new.job.job_type = JobType::Adopt;
    new.request = Some(JobRequest::Adopt(AdoptRequest {
        storage: super::samples::s3_storage("adopted-secret-plaintext"),
        directory: String::from("nightly"),
    }));
    new
}

/// A plan of so many collections: `default.target_0` and so on.
pub(super) fn plan(collections: usize) -> RestorePlan {
    let name = |kind: &str, number: usize| CollectionName {
        database: String::from("default"),
        collection: format!("{kind}_{number}"),
    };
    let collection = |number| CollectionRestore {
        source: name("source", number),
        source_collection_id: 446,
        target: name("target", number),
        working_name: format!("milvault_{number}"),
        action: RestoreAction::Create,
        partitions: vec![String::from("_default")],
        shard_count: 2,
        build_indexes: true,
        replica_count: 1,
        aliases: vec![String::from("alias \0")],
        object_count: 70,
        bytes: 5_000_000_000,
        stored_row_count: 300_000,
    };
    RestorePlan {
        cut_at_ms: 1_760_000_000_123,
        databases: vec![],
        collections: (0..collections).map(collection).collect(),
        access_control: None,
        conflicts: vec![],
        warnings: vec![String::from("users keep their passwords to themselves")],
    }
}

pub(super) fn waiting(collections: usize) -> Vec<RestoredCollection> {
    vec![RestoredCollection::default(); collections]
}

pub(super) fn at_step(step: RestoreStep) -> RestoredCollection {
    RestoredCollection {
        step,
        target_collection_id: Some(500),
        replaced: None,
        partitions: vec![PartitionRows { partition: String::from("_default"), expected: 10, found: 10 }],
        failure: (step == RestoreStep::Failed).then(|| String::from("9 of 10 rows were found")),
        warnings: vec![],
    }
}
