//! A backup with real rows, and the row of a restore that is said to have brought them into another Milvus.

use super::fakes::server::{FakeServer, Row, fields, name, row};
use super::{Server, World};
use futures::FutureExt;
use futures::future::BoxFuture;
use milvault_domain::backup::CollectionName;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{Catalog, Clock, IdSource, InsertJobOutcome, NewJob};
use milvault_domain::progress::Progress;
use milvault_domain::restore::{
    CollectionRestore, CompareDepth, ConflictPolicy, IndexChoice, LoadChoice, RestoreAction, RestorePlan,
    RestoreRequest, RestoreSelection, RestoreStep, RestoredCollection, TargetNames,
};
use std::sync::Arc;

/// A source that was backed up, and a target.
pub struct Restored {
    pub server: Server,
    pub source: Arc<FakeServer>,
    pub target: Arc<FakeServer>,
    pub source_cluster: Cluster,
    pub target_cluster: Cluster,
    pub backup_id: BackupId,
}

/// `cities` of the source, and of the target unless a test says otherwise.
pub fn cities() -> CollectionName {
    name("default", "cities")
}

/// The partitions of [`cities`].
pub const PARTITIONS: [&str; 3] = ["_default", "north", "south"];

/// The rows of a partition at the backup's cut.
pub fn rows_at_cut(partition: &str) -> Vec<Row> {
    let wide = |keys: std::ops::Range<i32>| {
        keys.map(|key| {
            row(&[
                &key.to_string(),
                &format!("city {key}"),
                &format!("[{key}.5]"),
                &format!("{{\"k\":{key}}}"),
            ])
        })
        .collect()
    };
    match partition {
        "north" => wide(10..27),
        "south" => wide(40..45),
        _ => vec![],
    }
}

pub fn city_fields() -> Vec<milvault_domain::milvus::FieldDescription> {
    fields(&["id", "name", "vector", "$meta"])
}

impl Restored {
    /// A source whose rows are spread over segments, with deletes in delta logs of both kinds before the cut, and
    /// rows and deletes after the cut that are in the copied files all the same.
    pub fn backed_up(world: &World) -> BoxFuture<'_, Self> {
        Self::back_up(world).boxed()
    }

    async fn back_up(world: &World) -> Self {
        let (source, target) = (world.add_milvus("source", 1), world.add_milvus("target", 2));
        source.create(&cities(), &city_fields(), &PARTITIONS);
        let (north, south) = (rows_at_cut("north"), rows_at_cut("south"));
        source.insert(&cities(), "north", &north[..8]);
        let dead = [row(&["90", "a", "b", "c"]), row(&["91", "a", "b", "c"]), row(&["92", "a", "b", "c"])];
        source.insert(&cities(), "north", &[&dead[..2], &north[8..10]].concat());
        source.insert(&cities(), "south", &[&dead[2..], &south[..4]].concat());
        source.delete(&cities(), &["90", "14"]);
        // Upserted: the delete of the old row does not concern the new one.
        source.insert(&cities(), "north", &[row(&["10", "late", "[0]", "{}"])]);
        source.delete(&cities(), &["10"]);
        let again = |key: &str, rows: &[Row]| rows.iter().find(|row| row[0] == key).unwrap().clone();
        source.insert(&cities(), "north", &[again("10", &north), again("14", &north)]);
        source.delete_in_l0(&cities(), &["91", "92"]);
        source.insert(&cities(), "north", &north[10..]);
        source.insert(&cities(), "south", &south[4..]);

        let server = world.start().await;
        let repository = server.register_repository().await;
        let source_cluster = server.register_milvus("source", repository.id).await;
        let target_cluster = server.register_milvus("target", repository.id).await;
        let hold = world.gates.hold_once("list");
        let backup = server.back_up(source_cluster.id).await;
        world.gates.reached("list", 1).await;
        source.delete(&cities(), &["11", "41"]);
        hold.add_permits(1);
        let job = server.ended(backup.job.id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        Self { server, source, target, source_cluster, target_cluster, backup_id: backup.backup.id }
    }

    /// Fills the target with exactly the rows of the cut, arranged in other segments.
    pub fn fill_target(&self) {
        self.target.create(&cities(), &city_fields(), &PARTITIONS);
        for partition in PARTITIONS {
            for rows in rows_at_cut(partition).rchunks(11) {
                self.target.insert(&cities(), partition, rows);
            }
        }
    }

    pub fn compare<'a>(&'a self, world: &'a World, depth: CompareDepth) -> BoxFuture<'a, Job> {
        let compared = async move {
            let restore = self.restore_row(world, &cities()).await;
            let service = &self.server.service;
            let job = service.request_compare(restore, depth, "tester".to_owned()).await.unwrap();
            self.server.ended(job.id).await
        };
        compared.boxed()
    }

    /// Writes the row of an ended restore that has made the target's collection of this name.
    pub fn restore_row<'a>(&'a self, world: &'a World, target: &'a CollectionName) -> BoxFuture<'a, JobId> {
        self.write_restore(world, target).boxed()
    }

    async fn write_restore(&self, world: &World, target: &CollectionName) -> JobId {
        let cut = world.stores.repository.sealed.lock().unwrap()[&self.backup_id].0.cut.clone();
        let source_id = cut.collections().find(|(_, found)| found.name == "cities").unwrap().1.collection_id;
        let target_id = self.target.state().find(target).map_or(77, |found| found.collection_id);
        let job = self.restore_job(world);
        let request = JobRequest::Restore(self.request());
        let new = NewJob { job: job.clone(), request, idempotency: None };
        assert_eq!(world.catalog.insert_requested_job(&new).await.unwrap(), InsertJobOutcome::Created);
        let plan = RestorePlan {
            cut_at_ms: cut.cut_at_ms,
            databases: vec![],
            collections: vec![planned(source_id, target)],
            access_control: None,
            conflicts: vec![],
            warnings: vec![],
        };
        let done = RestoredCollection {
            step: RestoreStep::Done,
            target_collection_id: Some(target_id),
            ..RestoredCollection::default()
        };
        world.catalog.save_restore_plan(job.id, &plan, &[done]).await.unwrap();
        job.id
    }

    fn request(&self) -> RestoreRequest {
        RestoreRequest {
            backup_id: self.backup_id,
            target_cluster_id: self.target_cluster.id,
            selection: RestoreSelection::Everything,
            names: TargetNames::default(),
            conflict: ConflictPolicy::Fail,
            shard_count: None,
            load: LoadChoice::AsInBackup,
            indexes: IndexChoice::Build,
            access_control: None,
            compare: CompareDepth::Keys,
            continues: None,
        }
    }

    fn restore_job(&self, world: &World) -> Job {
        Job {
            id: JobId::from_uuid(world.ids.new_uuid()),
            project_id: self.target_cluster.project_id,
            cluster_id: self.target_cluster.id,
            job_type: JobType::Restore,
            // From the beginning: a job that waits or is under way would be taken up by the server.
            state: JobState::Successful,
            phase: None,
            description: "Restore".to_owned(),
            created_by: "tester".to_owned(),
            created_at: world.clock.now(),
            started_at: Some(world.clock.now()),
            ended_at: Some(world.clock.now()),
            failure: None,
            backup_id: Some(self.backup_id),
            verify_level: None,
            attempt: 1,
            parks: 0,
            progress: Progress::default(),
        }
    }
}

fn planned(source_collection_id: i64, target: &CollectionName) -> CollectionRestore {
    CollectionRestore {
        source: cities(),
        source_collection_id,
        target: target.clone(),
        working_name: "working".to_owned(),
        action: RestoreAction::Create,
        partitions: PARTITIONS.iter().map(|name| (*name).to_owned()).collect(),
        shard_count: 1,
        build_indexes: true,
        replica_count: 1,
        aliases: vec![],
        object_count: 1,
        bytes: 1,
        stored_row_count: 1,
    }
}
