//! Servers that share the catalog, and their leases on clusters. The rules are those of `milvault_domain::lease`; here
//! they are conditions of statements, so that they hold between servers too. The only clock is the database's.

use crate::catalog::SqlCatalog;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::model::{bounded, count, figure, id, time};
use crate::{audit, clusters, jobs, lifecycle, policy_records};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, ServerId};
use milvault_domain::job::Job;
use milvault_domain::lease::{Claim, Fence, HeldLease, NewServer, SERVER_NAME_CHARS_MAX, Server};
use milvault_domain::ports::{Catalog, LeaseCatalog, PortError, PortErrorKind, PortResult};
use std::sync::Arc;
use std::time::Duration;

/// How long a silent server is remembered.
const SILENCE_MAX: Duration = Duration::from_hours(24);
/// How often a claim is tried when the lease changes hands between two looks at it.
const LOOKS_MAX: usize = 4;

#[async_trait]
impl LeaseCatalog for SqlCatalog {
    fn is_shared(&self) -> bool {
        self.database.dialect().is_shared
    }

    async fn register_server(&self, server: &NewServer, length: Duration) -> PortResult<()> {
        let dialect = self.database.dialect();
        let mut transaction = self.begin().await?;
        if !dialect.is_shared {
            transaction.execute(Statement::new("DELETE FROM servers")).await?;
            let give_back = "UPDATE cluster_leases SET server_id = NULL WHERE server_id IS NOT NULL";
            transaction.execute(Statement::new(give_back)).await?;
        }
        transaction.execute(delete_silent(dialect)?).await?;
        transaction.execute(upsert_server(dialect, server, length)?).await?;
        transaction.commit().await
    }

    async fn renew_leases(
        &self,
        server: &NewServer,
        fences: &[Fence],
        length: Duration,
    ) -> PortResult<Vec<Fence>> {
        let dialect = self.database.dialect();
        let mut transaction = self.begin().await?;
        transaction.execute(upsert_server(dialect, server, length)?).await?;
        let mut held = Vec::new();
        for fence in fences {
            if transaction.execute(renew(dialect, fence, length)?).await? == 1 {
                held.push(*fence);
            }
        }
        transaction.commit().await?;
        Ok(held)
    }

    async fn claim_lease(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
        length: Duration,
    ) -> PortResult<Claim> {
        let dialect = self.database.dialect();
        for _ in 0..LOOKS_MAX {
            let mut transaction = self.begin().await?;
            let granted = transaction.query(claim(dialect, cluster_id, server_id, length)?).await?;
            transaction.commit().await?;
            if let Some(mut row) = granted.into_iter().next() {
                let generation = count(row.integer("generation")?)?;
                return Ok(Claim::Granted(Fence { cluster_id, server_id, generation }));
            }
            if let Some(held) = self.held_lease(cluster_id).await? {
                return Ok(Claim::HeldBy(held.fence.server_id));
            }
        }
        let message = format!("the lease on cluster {cluster_id} changes hands all the time; try again");
        Err(PortError::new(PortErrorKind::Unavailable, message))
    }

    async fn give_back_leases(&self, fences: &[Fence]) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        for fence in fences {
            let give_back = Statement::new("UPDATE cluster_leases SET server_id = NULL WHERE ");
            transaction.execute(fence_condition(give_back, fence)?).await?;
        }
        transaction.commit().await
    }

    async fn remove_server(&self, server_id: ServerId) -> PortResult<()> {
        self.write(Statement::new("DELETE FROM servers WHERE id = ").bind(server_id.to_string())).await?;
        Ok(())
    }

    async fn bury_server(&self, server_id: ServerId) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        for statement in [
            "DELETE FROM servers WHERE id = ",
            "UPDATE cluster_leases SET server_id = NULL WHERE server_id = ",
        ] {
            transaction.execute(Statement::new(statement).bind(server_id.to_string())).await?;
        }
        transaction.commit().await
    }

    async fn servers(&self) -> PortResult<Vec<Server>> {
        let mut rows = self.database.read(select_servers(self.database.dialect())).await?;
        rows.iter_mut().map(read_server).collect()
    }

    async fn held_leases(&self) -> PortResult<Vec<HeldLease>> {
        let mut rows = self.database.read(select_held(self.database.dialect())).await?;
        rows.iter_mut().map(read_held).collect()
    }

    async fn held_lease(&self, cluster_id: ClusterId) -> PortResult<Option<HeldLease>> {
        self.find(select_held_on(self.database.dialect(), cluster_id), read_held).await
    }

    async fn jobs_ended_since(&self, since: DateTime<Utc>, limit: u32) -> PortResult<Vec<Job>> {
        let mut rows = self.database.read(select_ended_since(since, limit)).await?;
        rows.iter_mut().map(jobs::read).collect()
    }

    async fn replace_cluster(&self, former: &Cluster, changed: &Cluster) -> PortResult<bool> {
        let unchanged = clusters::update(&self.sealer, changed)?
            .push(" AND updated_at_us = ")
            .bind(former.updated_at.timestamp_micros());
        let mut transaction = self.begin().await?;
        let rows = transaction.execute(unchanged).await;
        let rows = rows.map_err(|error| clusters::name_taken("cluster", &changed.name, error))?;
        if rows == 1 && former.repository_id != changed.repository_id {
            transaction.execute(policy_records::moved(changed.id)).await?;
        }
        transaction.commit().await?;
        if rows == 0 && self.cluster(changed.id).await?.is_none() {
            return Err(clusters::not_found(changed.id));
        }
        Ok(rows == 1)
    }

    async fn insert_due_sweep(&self, job: &Job, not_since: DateTime<Utc>) -> PortResult<bool> {
        let mut transaction = self.begin().await?;
        clusters::lock_known(&mut *transaction, self.database.dialect(), job.cluster_id).await?;
        if !transaction.query(select_sweep_since(job.cluster_id, not_since, job.created_at)).await?.is_empty()
        {
            return Ok(false);
        }
        let dialect = self.database.dialect();
        let open = lifecycle::insert_sweep(&mut *transaction, dialect, job).await?;
        if open.is_none() {
            let target = AuditTarget { kind: String::from("cluster"), id: job.cluster_id.to_string() };
            let now = job.created_at;
            audit::append_by_system(&mut *transaction, dialect, "startSweep", target, 1, now).await?;
        }
        transaction.commit().await?;
        Ok(open.is_none())
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Catalog> {
        Arc::new(self.with_fence(fence))
    }
}

/// Refuses a transaction whose fence is not that of the current lease, and keeps the lease from passing to another
/// server before the transaction has ended.
///
/// # Errors
/// `Canceled` as said.
pub(crate) async fn check(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    fence: &Fence,
) -> PortResult<()> {
    if !transaction.query(select_fence(dialect, fence)?).await?.is_empty() {
        return Ok(());
    }
    let Fence { cluster_id, server_id, generation } = fence;
    let message = format!(
        "server {server_id} has lost its lease on cluster {cluster_id} (generation {generation}): another server \
         works on its jobs"
    );
    Err(PortError::new(PortErrorKind::Canceled, message))
}

pub(crate) fn select_fence(dialect: Dialect, fence: &Fence) -> PortResult<Statement> {
    let select = Statement::new("SELECT generation FROM cluster_leases WHERE ");
    Ok(fence_condition(select, fence)?.push(dialect.share_rows))
}

fn fence_condition(statement: Statement, fence: &Fence) -> PortResult<Statement> {
    Ok(statement
        .push("cluster_id = ")
        .bind(fence.cluster_id.to_string())
        .push(" AND server_id = ")
        .bind(fence.server_id.to_string())
        .push(" AND generation = ")
        .bind(figure("generation", fence.generation)?))
}

/// Grants the lease in one statement, if it is free: of two claims at once the second meets what the first has written.
fn claim(
    dialect: Dialect,
    cluster_id: ClusterId,
    server_id: ServerId,
    length: Duration,
) -> PortResult<Statement> {
    Ok(Statement::new(
        "INSERT INTO cluster_leases (cluster_id, server_id, generation, expires_at_us) VALUES (",
    )
    .bind(cluster_id.to_string())
    .push(", ")
    .bind(server_id.to_string())
    .push(", 1, ")
    .push(dialect.now_us)
    .push(" + ")
    .bind(microseconds(length)?)
    .push(
        ") ON CONFLICT (cluster_id) DO UPDATE SET server_id = excluded.server_id, \
         generation = cluster_leases.generation + 1, expires_at_us = excluded.expires_at_us \
         WHERE cluster_leases.server_id IS NULL OR cluster_leases.server_id = excluded.server_id \
         OR cluster_leases.expires_at_us <= ",
    )
    .push(dialect.now_us)
    .push(" RETURNING generation"))
}

fn renew(dialect: Dialect, fence: &Fence, length: Duration) -> PortResult<Statement> {
    let statement = Statement::new("UPDATE cluster_leases SET expires_at_us = ")
        .push(dialect.now_us)
        .push(" + ")
        .bind(microseconds(length)?)
        .push(" WHERE expires_at_us > ")
        .push(dialect.now_us)
        .push(" AND ");
    fence_condition(statement, fence)
}

fn upsert_server(dialect: Dialect, server: &NewServer, length: Duration) -> PortResult<Statement> {
    Ok(Statement::new(
        "INSERT INTO servers (id, name, version, started_at_us, heartbeat_at_us, expires_at_us) VALUES (",
    )
    .bind(server.id.to_string())
    .push(", ")
    .bind(bounded(&server.name, SERVER_NAME_CHARS_MAX))
    .push(", ")
    .bind(bounded(&server.version, SERVER_NAME_CHARS_MAX))
    .push(", ")
    .push(dialect.now_us)
    .push(", ")
    .push(dialect.now_us)
    .push(", ")
    .push(dialect.now_us)
    .push(" + ")
    .bind(microseconds(length)?)
    .push(
        ") ON CONFLICT (id) DO UPDATE SET heartbeat_at_us = excluded.heartbeat_at_us, \
         expires_at_us = excluded.expires_at_us",
    ))
}

fn delete_silent(dialect: Dialect) -> PortResult<Statement> {
    Ok(Statement::new("DELETE FROM servers WHERE expires_at_us < ")
        .push(dialect.now_us)
        .push(" - ")
        .bind(microseconds(SILENCE_MAX)?))
}

fn select_servers(dialect: Dialect) -> Statement {
    Statement::new("SELECT servers.*, CASE WHEN expires_at_us > ")
        .push(dialect.now_us)
        .push(" THEN 'YES' ELSE 'NO' END AS alive FROM servers ORDER BY started_at_us, id")
}

/// Every lease that somebody holds.
pub(crate) fn select_held(dialect: Dialect) -> Statement {
    Statement::new("SELECT * FROM cluster_leases WHERE server_id IS NOT NULL AND expires_at_us > ")
        .push(dialect.now_us)
        .push(" ORDER BY cluster_id")
}

/// The lease on one cluster, if somebody holds it.
pub(crate) fn select_held_on(dialect: Dialect, cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM cluster_leases WHERE server_id IS NOT NULL AND cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND expires_at_us > ")
        .push(dialect.now_us)
}

/// Jobs by their end, latest first.
pub(crate) fn select_ended_since(since: DateTime<Utc>, limit: u32) -> Statement {
    Statement::new("SELECT * FROM jobs WHERE ended_at_us IS NOT NULL AND ended_at_us >= ")
        .bind(since.timestamp_micros())
        .push(" ORDER BY ended_at_us DESC, id DESC LIMIT ")
        .bind(i64::from(limit))
}

/// A sweep of a cluster that was asked for after a time and up to now.
pub(crate) fn select_sweep_since(
    cluster_id: ClusterId,
    not_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND created_at_us > ")
        .bind(not_since.timestamp_micros())
        .push(" AND created_at_us <= ")
        .bind(now.timestamp_micros())
        .push(" AND job_type = 'SWEEP' LIMIT 1")
}

fn read_server(row: &mut Record) -> PortResult<Server> {
    Ok(Server {
        id: id(&row.text("id")?)?,
        name: row.text("name")?,
        version: row.text("version")?,
        started_at: time(row.integer("started_at_us")?)?,
        heartbeat_at: time(row.integer("heartbeat_at_us")?)?,
        alive: row.text("alive")? == "YES",
    })
}

fn read_held(row: &mut Record) -> PortResult<HeldLease> {
    let fence = Fence {
        cluster_id: id(&row.text("cluster_id")?)?,
        server_id: id(&row.text("server_id")?)?,
        generation: count(row.integer("generation")?)?,
    };
    Ok(HeldLease { fence, expires_at: time(row.integer("expires_at_us")?)? })
}

fn microseconds(length: Duration) -> PortResult<i64> {
    i64::try_from(length.as_micros()).map_err(|_| {
        PortError::new(PortErrorKind::InvalidInput, format!("a lease of {length:?} is too long"))
    })
}
