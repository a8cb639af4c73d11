//! Registering, changing and removing clusters.

use super::{Service, not_found, unavailable};
use crate::error::ServiceError;
use crate::request::{ClusterPatch, NewCluster};
use chrono::{DateTime, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{ClusterId, ProjectId, RepositoryId};
use milvault_domain::ports::{ClusterRemoval, PortError, PortErrorKind};

/// How often a change is made anew because another server has changed the cluster meanwhile.
const EDITS_MAX: usize = 5;

impl Service {
    /// Registers a cluster. Nothing is contacted; [`Service::check_cluster`] does that.
    ///
    /// # Errors
    /// `InvalidInput`, also for a repository that is not in the project; `Conflict` when the name is taken.
    pub async fn register_cluster(&self, new: NewCluster) -> Result<Cluster, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        let cluster = Cluster {
            id: ClusterId::from_uuid(self.deps().ids.new_uuid()),
            project_id: new.project_id,
            name: new.name,
            endpoint: new.endpoint,
            storage: new.storage,
            repository_id: new.repository_id,
            cu_size: new.cu_size.unwrap_or(Cluster::CU_SIZE_DEFAULT),
            max_bytes_per_second: new.max_bytes_per_second,
            created_at: now,
            updated_at: now,
        };
        cluster.validate()?;
        self.check_repository(cluster.repository_id, cluster.project_id).await?;
        self.deps().catalog.insert_cluster(&cluster).await?;
        Ok(cluster)
    }

    /// Changes what the patch names. Jobs that run keep what they began with.
    ///
    /// # Errors
    /// As for registering; `NotFound` for the cluster.
    pub async fn update_cluster(
        &self,
        cluster_id: ClusterId,
        patch: ClusterPatch,
    ) -> Result<Cluster, ServiceError> {
        self.admit()?;
        let _one_at_a_time = self.inner.cluster_edits.lock().await;
        for _ in 0..EDITS_MAX {
            let current = self.cluster(cluster_id).await?;
            let changed = patched(current.clone(), patch.clone(), self.deps().clock.now());
            changed.validate()?;
            self.check_repository(changed.repository_id, changed.project_id).await?;
            if patch.repository_id.is_some() {
                self.check_copies_go_elsewhere(&changed).await?;
            }
            let replaced = self.deps().catalog.replace_cluster(&current, &changed).await;
            if replaced.map_err(|error| missing_or(error, cluster_id))? {
                if current.repository_id != changed.repository_id {
                    crate::records::write_policy_now(self.core(), cluster_id).await;
                }
                return Ok(changed);
            }
        }
        Err(unavailable("the cluster is being changed by somebody else; try again in a moment"))
    }

    /// Removes a cluster from service. Its manual backups stay.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the id of a job that has not ended.
    pub async fn remove_cluster(&self, cluster_id: ClusterId) -> Result<(), ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        let removal = self.deps().catalog.remove_cluster(cluster_id, now).await;
        match removal.map_err(|error| missing_or(error, cluster_id))? {
            ClusterRemoval::Removed => Ok(()),
            ClusterRemoval::HasOpenJobs(job_ids) => {
                let list: Vec<String> = job_ids.iter().take(3).map(ToString::to_string).collect();
                Err(ServiceError::Conflict {
                    message: format!(
                        "the cluster has {} that did not end ({}); cancel them or wait, then remove it",
                        if job_ids.len() == 1 {
                            "a job".to_owned()
                        } else {
                            format!("{} jobs", job_ids.len())
                        },
                        list.join(", ")
                    ),
                    job_id: job_ids.first().copied(),
                })
            }
        }
    }

    /// What a policy copies to a repository does not lie there already.
    async fn check_copies_go_elsewhere(&self, cluster: &Cluster) -> Result<(), ServiceError> {
        let schedule = self.deps().catalog.schedule(cluster.id).await?;
        let copy = schedule.and_then(|schedule| schedule.policy.copy);
        if copy.is_some_and(|copy| copy.repository_id == cluster.repository_id) {
            let message = String::from(
                "the cluster's backup policy copies to that repository; change `copy` of the policy first",
            );
            return Err(ServiceError::Conflict { message, job_id: None });
        }
        Ok(())
    }

    /// A cluster backs up into a repository of its own project. A repository of another project is said not to exist,
    /// so that nothing is learned about other projects.
    async fn check_repository(
        &self,
        repository_id: RepositoryId,
        project_id: ProjectId,
    ) -> Result<(), ServiceError> {
        match self.deps().catalog.repository(repository_id).await? {
            Some(repository) if repository.project_id == project_id => Ok(()),
            _ => Err(InvalidInput::new(
                "repositoryId",
                format!("must name a repository of the cluster's project; `{repository_id}` is none"),
            )
            .into()),
        }
    }
}

/// Refuses a cluster that is known from its backups alone.
///
/// # Errors
/// `Conflict`, with what to do.
pub(crate) fn check_registered(cluster: &Cluster) -> Result<(), ServiceError> {
    if !cluster.needs_registration() {
        return Ok(());
    }
    let message = format!(
        "cluster \"{}\" ({}) is known from its backups alone and needs registration; give its address and storage with updateCluster first",
        cluster.name, cluster.id
    );
    Err(ServiceError::Conflict { message, job_id: None })
}

fn patched(current: Cluster, patch: ClusterPatch, now: DateTime<Utc>) -> Cluster {
    Cluster {
        name: patch.name.unwrap_or(current.name),
        endpoint: patch.endpoint.unwrap_or(current.endpoint),
        storage: patch.storage.unwrap_or(current.storage),
        repository_id: patch.repository_id.unwrap_or(current.repository_id),
        cu_size: patch.cu_size.unwrap_or(current.cu_size),
        max_bytes_per_second: patch.max_bytes_per_second.unwrap_or(current.max_bytes_per_second),
        updated_at: now,
        ..current
    }
}

fn missing_or(error: PortError, cluster_id: ClusterId) -> ServiceError {
    if error.kind() == PortErrorKind::NotFound { not_found("cluster", &cluster_id) } else { error.into() }
}
