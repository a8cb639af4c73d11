//! The second half of the story: a collection is lost and comes back, then the whole cluster comes back in another
//! Milvus, and every row is compared.

use super::api::Api;
use super::data::DemoCollection;
use super::job_bar::JobBar;
use super::{Stage, step};
use crate::milvus_client::{MilvusClient, RowDifferences, Rows};
use crate::servers::{Milvus, MilvusOptions, Tools};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The collection that is lost.
const LOST: DemoCollection = DemoCollection::Documents;

/// What the restores gave back.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Into the cluster that lost a collection, then into an empty one.
    pub restores: Vec<RestoreOutcome>,
}

/// What one restore gave back.
#[derive(Debug)]
pub struct RestoreOutcome {
    /// In words.
    pub what: &'static str,
    /// `SUCCESSFUL`, `FAILED`, ...
    pub state: String,
    /// From the request until the job had ended.
    pub duration: Duration,
    /// Rows that were there before, all of which were compared in every field.
    pub rows: u64,
    /// Rows that are missing, too many or different.
    pub differences: u64,
}

impl Stage {
    /// Makes a backup of the quiet cluster, loses a collection, restores it, and restores everything into a second
    /// Milvus.
    pub(super) async fn restore(
        &self,
        api: &Api,
        milvus: &MilvusClient,
        repository_id: &str,
        cluster_id: &str,
    ) -> anyhow::Result<RestoreReport> {
        let ended = super::back_up(api, cluster_id, "third").await?;
        let expected = step("read every row of the cluster", read_all(milvus)).await?;
        let mut report = RestoreReport::default();

        let database = milvus.in_database(LOST.database());
        step(&format!("drop collection {}", LOST.name()), database.drop_collection(LOST.name())).await?;
        let items = json!([{ "database": LOST.database(), "collection": LOST.name() }]);
        let input = json!({ "backupId": ended.view.id, "targetClusterId": cluster_id, "items": items });
        let restored = restore(api, input, "restore one").await?;
        let lost: Vec<_> = expected.iter().filter(|(collection, _)| *collection == LOST).collect();
        let compared = step("compare its rows", compare(milvus, &lost)).await?;
        report.restores.push(restored.outcome("the lost collection", compared));

        let options = MilvusOptions::local(self.directory.join("milvus-2"));
        let second =
            step("start a second Milvus", async { Milvus::start(&Tools::install().await?, options).await })
                .await?;
        let storage = second.storage_dir().context("the second Milvus has no local storage")?;
        let target = api.register_cluster("second", &second.uri(), &storage, repository_id).await?;
        let input = json!({ "backupId": ended.view.id, "targetClusterId": target, "newCluster": true });
        let restored = restore(api, input, "restore all").await?;
        let all: Vec<_> = expected.iter().collect();
        let second_client = MilvusClient::connect(&second.uri()).await?;
        let compared = step("compare all rows", compare(&second_client, &all)).await?;
        report.restores.push(restored.outcome("the cluster, elsewhere", compared));
        Ok(report)
    }
}

/// A restore whose job has ended.
struct Restored {
    state: String,
    duration: Duration,
}

impl Restored {
    fn outcome(self, what: &'static str, (rows, differences): (u64, u64)) -> RestoreOutcome {
        RestoreOutcome { what, state: self.state, duration: self.duration, rows, differences }
    }
}

async fn restore(api: &Api, input: Value, title: &str) -> anyhow::Result<Restored> {
    let mut bar = JobBar::new(title)?;
    let began = Instant::now();
    let job_id = api.restore_backup(input).await?;
    let job = api.follow_job(&job_id, |job| bar.show(job)).await?;
    let duration = began.elapsed();
    let _events = bar.finish();
    if job.state != "SUCCESSFUL" {
        bail!("{title} {}: {}", job.state, job.failure.unwrap_or_default());
    }
    Ok(Restored { state: job.state, duration })
}

async fn read_all(milvus: &MilvusClient) -> anyhow::Result<Vec<(DemoCollection, Rows)>> {
    let mut all = Vec::new();
    for collection in DemoCollection::ALL {
        let rows = milvus.in_database(collection.database()).rows(collection.name()).await?;
        all.push((collection, rows));
    }
    Ok(all)
}

/// Number of the expected rows, and of those that differ.
async fn compare(milvus: &MilvusClient, expected: &[&(DemoCollection, Rows)]) -> anyhow::Result<(u64, u64)> {
    let (mut rows, mut differences) = (0, 0);
    for (collection, expected) in expected {
        let found = milvus.in_database(collection.database()).rows(collection.name()).await?;
        rows += expected.len() as u64;
        differences += RowDifferences::between(expected, &found).count() as u64;
    }
    Ok((rows, differences))
}
