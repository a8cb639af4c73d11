//! Policies of automatic backups that repositories have to know, and policies that come back from there.

use crate::catalog::SqlCatalog;
use crate::clusters;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::model::{count, figure, from_json, id};
use crate::schedules;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, ProjectId, RepositoryId};
use milvault_domain::ports::{
    DuePolicy, PolicyOutcome, PolicyRecordCatalog, PortError, PortErrorKind, PortResult, ProposedPolicy,
};
use milvault_domain::recovery::{NamedOrganization, NamedProject, PolicyRecord};
use milvault_domain::schedule::ClusterSchedule;

#[async_trait]
impl PolicyRecordCatalog for SqlCatalog {
    async fn due_policies(&self, after: Option<ClusterId>, limit: u32) -> PortResult<Vec<DuePolicy>> {
        let mut rows = self.database.read(select_due(after, limit)).await?;
        rows.iter_mut().map(read_due).collect()
    }

    async fn due_policy(&self, cluster_id: ClusterId) -> PortResult<Option<DuePolicy>> {
        self.find(select_due_of(cluster_id), read_due).await
    }

    async fn note_policy(&self, cluster_id: ClusterId, revision: u64) -> PortResult<()> {
        let revision = figure("revision", revision)?;
        let statement = Statement::update("policy_records", [("written", revision.into())])
            .push("cluster_id = ")
            .bind(cluster_id.to_string())
            .push(" AND written < ")
            .bind(revision);
        self.write(statement).await?;
        Ok(())
    }

    async fn take_policy(&self, proposed: &ProposedPolicy, now: DateTime<Utc>) -> PortResult<PolicyOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = self.take(&mut *transaction, proposed, now).await?;
        transaction.commit().await?;
        Ok(outcome)
    }
}

impl SqlCatalog {
    async fn take(
        &self,
        transaction: &mut dyn Transaction,
        proposed: &ProposedPolicy,
        now: DateTime<Utc>,
    ) -> PortResult<PolicyOutcome> {
        let cluster_id = proposed.cluster_id;
        let lock = select_cluster(cluster_id).push(self.database.dialect().lock_rows);
        let mut rows = transaction.query(lock).await?;
        let Some(row) = rows.first_mut() else { return Ok(PolicyOutcome::NoCluster) };
        let in_service = row.optional_integer("removed_at_us")?.is_none();
        let cluster = clusters::read(&self.sealer, row)?;
        // The condition on the count decides, so a record is taken once.
        if transaction.execute(insert_taken(cluster_id, proposed.revision)?).await? == 0 {
            return Ok(PolicyOutcome::Kept);
        }
        let mut policy = proposed.policy.clone();
        let switched_off = policy.enabled && (!in_service || cluster.needs_registration());
        policy.enabled &= !switched_off;
        let mut copy_left_out = false;
        if let Some(copy) = policy.copy {
            let is_there = select_repository_of(copy.repository_id, cluster.project_id);
            copy_left_out =
                copy.repository_id == cluster.repository_id || transaction.query(is_there).await?.is_empty();
            policy.copy = policy.copy.filter(|_| !copy_left_out);
        }
        let former = transaction.query(schedules::select(cluster_id)).await?;
        let former = former.into_iter().next().map(|mut row| schedules::read(&mut row)).transpose()?;
        let schedule = ClusterSchedule::changed(former, cluster_id, policy, now).map_err(|error| {
            PortError::with_source(PortErrorKind::InvalidInput, "a policy breaks a rule", error)
        })?;
        schedules::write(transaction, &schedule).await?;
        Ok(PolicyOutcome::Taken { switched_off, copy_left_out })
    }
}

fn read_due(row: &mut Record) -> PortResult<DuePolicy> {
    Ok(DuePolicy {
        repository_id: id(&row.text("repository_id")?)?,
        record: PolicyRecord {
            cluster_id: id(&row.text("cluster_id")?)?,
            revision: count(row.integer("revision")?)?,
            organization: NamedOrganization {
                id: id(&row.text("organization_id")?)?,
                name: row.text("organization_name")?,
            },
            project: NamedProject { id: id(&row.text("project_id")?)?, name: row.text("project_name")? },
            cluster_name: row.text("cluster_name")?,
            policy: from_json(&row.text("policy")?)?,
        },
    })
}

const SELECT: &str = "SELECT policy_records.cluster_id, policy_records.revision, schedules.policy, \
                      clusters.name AS cluster_name, clusters.repository_id, clusters.project_id, \
                      projects.name AS project_name, organizations.id AS organization_id, \
                      organizations.name AS organization_name FROM policy_records \
                      JOIN schedules ON schedules.cluster_id = policy_records.cluster_id \
                      JOIN clusters ON clusters.id = policy_records.cluster_id \
                      JOIN projects ON projects.id = clusters.project_id \
                      JOIN organizations ON organizations.id = projects.organization_id \
                      WHERE policy_records.written < policy_records.revision";

pub(crate) fn select_due(after: Option<ClusterId>, limit: u32) -> Statement {
    let statement = Statement::new(SELECT);
    let statement = match after {
        Some(after) => statement.push(" AND policy_records.cluster_id > ").bind(after.to_string()),
        None => statement,
    };
    statement.push(" ORDER BY policy_records.cluster_id LIMIT ").bind(i64::from(limit))
}

pub(crate) fn select_due_of(cluster_id: ClusterId) -> Statement {
    Statement::new(SELECT).push(" AND policy_records.cluster_id = ").bind(cluster_id.to_string())
}

/// Says that the policy of a cluster changed. In the transaction of the change.
pub(crate) fn changed(dialect: Dialect, cluster_id: ClusterId) -> Statement {
    Statement::new("INSERT INTO policy_records (cluster_id, revision, written) VALUES (")
        .bind(cluster_id.to_string())
        .push(", ")
        .push(dialect.now_us)
        .push(", 0) ON CONFLICT (cluster_id) DO UPDATE SET revision = CASE WHEN policy_records.revision < excluded.revision THEN excluded.revision ELSE policy_records.revision + 1 END")
}

/// Says that the policy of a cluster, when it has one, is to be written anew: its repository is another one.
pub(crate) fn moved(cluster_id: ClusterId) -> Statement {
    Statement::new("UPDATE policy_records SET revision = revision + 1 WHERE cluster_id = ")
        .bind(cluster_id.to_string())
}

/// Says that policies which nothing is known of are to be written.
pub(crate) fn insert_missing() -> Statement {
    Statement::new(
        "INSERT INTO policy_records (cluster_id, revision, written) SELECT cluster_id, 1, 0 FROM schedules WHERE cluster_id NOT IN (SELECT cluster_id FROM policy_records)",
    )
}

/// Notes that the policy of a record is taken. Changes nothing when the catalog counts as many changes.
fn insert_taken(cluster_id: ClusterId, revision: u64) -> PortResult<Statement> {
    let revision = figure("revision", revision)?;
    let columns = [
        ("cluster_id", cluster_id.to_string().into()),
        ("revision", revision.into()),
        ("written", revision.into()),
    ];
    Ok(Statement::insert("policy_records", columns).push(" ON CONFLICT (cluster_id) DO UPDATE SET revision = excluded.revision, written = excluded.written WHERE policy_records.revision < excluded.revision"))
}

/// A cluster, in service or removed.
pub(crate) fn select_cluster(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM clusters WHERE id = ").bind(cluster_id.to_string())
}

pub(crate) fn select_repository_of(repository_id: RepositoryId, project_id: ProjectId) -> Statement {
    Statement::new("SELECT id FROM repositories WHERE id = ")
        .bind(repository_id.to_string())
        .push(" AND project_id = ")
        .bind(project_id.to_string())
}
