//! Making a lost catalog again from the repositories alone. Needs no actors: no server runs meanwhile.
//!
//! Repositories are only read. What is in the catalog already stays as it is, so repeating it adds what is missing and
//! changes nothing else.

use crate::core::{Deps, Settings};
use crate::error::ServiceError;
use crate::found::{HEADERS_AT_ONCE, Head, bounded, read_backup, read_head};
use crate::retry::Retry;
use chrono::TimeDelta;
use futures::StreamExt;
use milvault_domain::access::ApiKey;
use milvault_domain::backup::BackupStatus;
use milvault_domain::cluster::Cluster;
use milvault_domain::error::{NAME_CHARS_MAX, check_name};
use milvault_domain::identity::Project;
use milvault_domain::ids::{BackupId, ClusterId, HoldId, OrganizationId, ProjectId, RepositoryId};
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::ports::{
    AttachedRepository, BackupRemains, BackupRepository, FoundBackup, PortError, PortErrorKind, PortResult,
    Tenancy,
};
use milvault_domain::recovery::{BackupRecord, NamedOrganization, doubt_hold, grace_hold};
use milvault_domain::repository::Repository;
use milvault_domain::storage::StorageConfig;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

mod policies;

pub use policies::{PolicyReturn, RebuiltPolicy};

/// Newest backups of a repository in which the name of the organization is looked for.
const ORIGINS_MAX: usize = 20;
/// Backups that are ended by one transaction.
const ENDED_AT_ONCE: usize = 200;
/// Name of an organization and a project that no repository names.
const DEFAULT_NAME: &str = "default";

/// From what to make a catalog.
#[derive(Debug)]
pub struct RebuildRequest {
    /// Where repositories lie, each with the name that it gets.
    pub repositories: Vec<(String, StorageConfig)>,
    /// How long nothing expires whose time is over, or would be by then.
    pub grace: TimeDelta,
    /// Whether the catalog may have things in it.
    pub merge: bool,
    /// The first key of a new organization, which it is given here; of no use when there is an organization.
    pub owner_key: ApiKey,
}

/// What was made.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// The organization; `None` when nothing was written.
    pub organization: Option<NamedOrganization>,
    /// Whether the organization was made here, with its key.
    pub made_organization: bool,
    /// The repositories, in the order in which they were given.
    pub repositories: Vec<RebuiltRepository>,
    /// The clusters of all backups that could be read.
    pub clusters: BTreeMap<ClusterId, RebuiltCluster>,
    /// The policies of automatic backups that the repositories know.
    pub policies: BTreeMap<ClusterId, RebuiltPolicy>,
}

/// What was found in a repository.
#[derive(Debug)]
pub struct RebuiltRepository {
    /// Identity.
    pub id: RepositoryId,
    /// Name.
    pub name: String,
    /// Backups that can be read.
    pub readable: u64,
    /// Those of them that the catalog did not know.
    pub added: u64,
    /// Those of the added ones that are held for a time of grace.
    pub held: u64,
    /// Backups that are deleted and stay so.
    pub deleted: u64,
    /// Backups that were being made when the server went.
    pub unfinished: Vec<String>,
    /// Backups that cannot be read, each with the reason; past the first hundred only their number.
    pub unreadable: Vec<String>,
    /// Backups that are as their manifests say because their records cannot be read, each with the reason; bounded in the
    /// same way. The added ones of them are held without an end.
    pub without_record: Vec<String>,
}

/// A cluster as its backups know it.
#[derive(Debug)]
pub struct RebuiltCluster {
    /// Name in its newest backup.
    pub name: String,
    /// Its backups.
    pub backups: u64,
    /// Whether it is new in the catalog and waits for its address.
    pub added: bool,
}

/// A repository that is to be read.
struct Opened {
    name: String,
    storage: StorageConfig,
    attached: AttachedRepository,
    repository: Arc<dyn BackupRepository>,
    remains: Vec<BackupRemains>,
}

/// Makes the catalog again. Without `deps.catalog` being asked anything when `dry_run` is set: what is there is read and
/// told, and nothing is written.
///
/// # Errors
/// `InvalidInput` for a bad name or a place that holds no repository; `Conflict` when the catalog has things in it and
/// `merge` is not set, or two names lead to one repository; `Unavailable` when a repository cannot be reached. Backups
/// that cannot be read are no error.
pub async fn rebuild_catalog(
    deps: &Deps,
    request: RebuildRequest,
    dry_run: bool,
) -> Result<Rebuilt, ServiceError> {
    let retry = Retry::of(&Settings::default());
    let mut writer = None;
    if !dry_run {
        let organization = deps.catalog.organization().await?;
        if let Some(organization) = organization.as_ref().filter(|_| !request.merge) {
            let message = format!(
                "the catalog is not empty: it has the organization \"{}\"; to add what is missing in it, say --merge",
                organization.name
            );
            return Err(ServiceError::Conflict { message, job_id: None });
        }
        writer = Some(Writer::new(deps, &request, organization));
    }
    let opened = open_all(deps, &request.repositories, retry).await?;
    if let Some(writer) = writer.as_mut().filter(|writer| writer.organization.is_none()) {
        writer.origin = origin(&opened).await;
    }
    let mut rebuilt = Rebuilt::default();
    let mut policies = policies::Found::default();
    for opened in &opened {
        policies.read(&opened.name, opened.repository.as_ref(), retry).await?;
    }
    for opened in opened {
        let repository = read(opened, retry, writer.as_mut(), &mut rebuilt.clusters).await?;
        rebuilt.repositories.push(repository);
    }
    if let Some(mut writer) = writer {
        // A repository without backups belongs to somebody, too.
        rebuilt.organization = Some(writer.ensure_organization(None).await?.clone());
        rebuilt.made_organization = writer.made_organization;
        // Last, so that clusters and second repositories are there. Until then the holds of the grace keep everything.
        rebuilt.policies = policies.take(deps, retry).await?;
    } else {
        rebuilt.policies = policies.show(&rebuilt.clusters);
    }
    Ok(rebuilt)
}

/// Opens everything before anything is written: a place that does not answer ends the attempt without a trace.
async fn open_all(
    deps: &Deps,
    places: &[(String, StorageConfig)],
    retry: Retry,
) -> Result<Vec<Opened>, ServiceError> {
    let mut all: Vec<Opened> = Vec::new();
    for (name, storage) in places {
        check_name("name", name)?;
        let of_place = |error: PortError| ServiceError::from(error.context(format!("repository \"{name}\"")));
        let attached = deps.stores.attach_repository(storage).await.map_err(of_place)?;
        let id = attached.repository_id;
        if let Some(other) =
            all.iter().find(|other| other.attached.repository_id == id || other.name == *name)
        {
            let message = format!("\"{}\" and \"{name}\" are one repository, or one name", other.name);
            return Err(ServiceError::Conflict { message, job_id: None });
        }
        let repository =
            deps.stores.open_repository(id, storage, attached.capabilities).await.map_err(of_place)?;
        let remains =
            retry.run("list the backups", || repository.backup_remains()).await.map_err(of_place)?;
        let (name, storage) = (name.clone(), storage.clone());
        all.push(Opened { name, storage, attached, repository, remains });
    }
    Ok(all)
}

impl Opened {
    /// Sealed backups that are not deleted, newest first: ids begin with the time.
    fn sealed(&self) -> Vec<BackupId> {
        let sealed = self.remains.iter().filter(|remains| remains.manifest && !remains.tombstone);
        let mut ids: Vec<_> = sealed.map(|remains| remains.backup_id).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }
}

/// The organization that the newest records speak of.
async fn origin(all: &[Opened]) -> Option<NamedOrganization> {
    for opened in all {
        for backup_id in opened.sealed().into_iter().take(ORIGINS_MAX) {
            if let Ok(Some(record)) = opened.repository.read_record(backup_id).await {
                return Some(record.organization);
            }
        }
    }
    None
}

/// Reads one backup after the other, so that memory is bounded by the largest of them.
async fn read(
    opened: Opened,
    retry: Retry,
    mut writer: Option<&mut Writer<'_>>,
    clusters: &mut BTreeMap<ClusterId, RebuiltCluster>,
) -> Result<RebuiltRepository, ServiceError> {
    let unfinished = opened.remains.iter().filter(|remains| !remains.manifest && !remains.tombstone);
    let mut report = RebuiltRepository {
        id: opened.attached.repository_id,
        name: opened.name.clone(),
        readable: 0,
        added: 0,
        held: 0,
        deleted: opened.remains.iter().filter(|remains| remains.tombstone).count() as u64,
        unfinished: bounded(unfinished.map(|remains| remains.backup_id.to_string()).collect()),
        unreadable: Vec::new(),
        without_record: Vec::new(),
    };
    let repository = opened.repository.as_ref();
    let mut heads = futures::stream::iter(opened.sealed())
        .map(|backup_id| async move { (backup_id, read_head(repository, retry, backup_id).await) })
        .buffered(HEADERS_AT_ONCE)
        .boxed();
    let mut row = None;
    while let Some((backup_id, head)) = heads.next().await {
        let (mut record, mut record_failure) = (None, None);
        let backup = match head {
            Ok(head) => {
                if let (None, Some(writer)) = (&row, writer.as_mut()) {
                    row = Some(writer.ensure_repository(&opened, Some(&head)).await?);
                }
                record.clone_from(&head.record);
                record_failure.clone_from(&head.record_failure);
                let project_id = row.as_ref().map_or_else(|| head.project_id(), |row| row.project_id);
                read_backup(repository, retry, head, project_id, report.id).await
            }
            Err(error) => Err(error),
        };
        let written = match (backup, writer.as_mut()) {
            (Ok(found), Some(writer)) => {
                match writer.write(found.clone(), record.as_ref(), record_failure.is_some(), retry).await {
                    Ok(written) => Ok((found, written)),
                    // Its cluster is that of another project of this catalog: as good as not readable here.
                    Err(error) if error.kind() == PortErrorKind::Conflict => Err(error),
                    Err(error) => return Err(error.into()),
                }
            }
            (Ok(found), None) => Ok((found, Written { cluster: true, backup: true, held: false })),
            (Err(error), _) => Err(error),
        };
        match written {
            Ok((found, written)) => {
                report.readable += 1;
                report.added += u64::from(written.backup);
                report.held += u64::from(written.held);
                report.without_record.extend(record_failure.map(|failure| format!("{backup_id}: {failure}")));
                let name = found.backup.cluster_name;
                let fresh = RebuiltCluster { name, backups: 0, added: written.cluster };
                clusters.entry(found.backup.cluster_id).or_insert(fresh).backups += 1;
            }
            Err(error) => report.unreadable.push(format!("{backup_id}: {error}")),
        }
    }
    drop(heads);
    if let Some(writer) = writer {
        if row.is_none() {
            writer.ensure_repository(&opened, None).await?;
        }
        report.unreadable.extend(writer.compare(&opened).await?);
    }
    report.unreadable = bounded(report.unreadable);
    report.without_record = bounded(report.without_record);
    Ok(report)
}

/// The hold that a backup needs when it comes into a catalog from its repository.
pub(crate) fn hold_of_found(
    deps: &Deps,
    found: &FoundBackup,
    record_is_lost: bool,
    grace: TimeDelta,
) -> Option<BackupHold> {
    let (id, now) = (HoldId::from_uuid(deps.ids.new_uuid()), deps.clock.now());
    if record_is_lost {
        doubt_hold(&found.backup, id, now)
    } else {
        grace_hold(&found.backup, &found.holds, id, now, grace)
    }
}

/// What one backup added.
struct Written {
    cluster: bool,
    backup: bool,
    held: bool,
}

/// Adds to the catalog what is not there.
struct Writer<'a> {
    deps: &'a Deps,
    grace: TimeDelta,
    owner_key: ApiKey,
    /// What the records call the organization.
    origin: Option<NamedOrganization>,
    organization: Option<NamedOrganization>,
    made_organization: bool,
    projects: HashSet<ProjectId>,
    clusters: HashSet<ClusterId>,
}

impl<'a> Writer<'a> {
    fn new(deps: &'a Deps, request: &RebuildRequest, organization: Option<NamedOrganization>) -> Self {
        Self {
            deps,
            grace: request.grace,
            owner_key: request.owner_key.clone(),
            origin: None,
            organization,
            made_organization: false,
            projects: HashSet::new(),
            clusters: HashSet::new(),
        }
    }

    /// The organization; made here, with a first project and the owner's key, when the catalog is new.
    async fn ensure_organization(
        &mut self,
        first: Option<(ProjectId, &str)>,
    ) -> PortResult<NamedOrganization> {
        if let Some(organization) = &self.organization {
            return Ok(organization.clone());
        }
        let new_project = || ProjectId::from_uuid(self.deps.ids.new_uuid());
        let (project_id, project_name) =
            first.map_or_else(|| (new_project(), DEFAULT_NAME), |(id, name)| (id, name));
        let organization = self.origin.clone().unwrap_or_else(|| NamedOrganization {
            id: OrganizationId::from_uuid(self.deps.ids.new_uuid()),
            name: DEFAULT_NAME.to_owned(),
        });
        let proposed = Tenancy {
            organization_id: organization.id,
            organization_name: organization.name,
            project_id,
            project_name: project_name.to_owned(),
        };
        self.owner_key.organization_id = organization.id;
        let (tenancy, made) = self.deps.catalog.ensure_tenancy(&proposed, &self.owner_key).await?;
        self.made_organization = made;
        let organization = NamedOrganization { id: tenancy.organization_id, name: tenancy.organization_name };
        self.organization = Some(organization.clone());
        Ok(organization)
    }

    /// Makes the project that a backup belongs to, unless it is there.
    async fn ensure_project(&mut self, head: &Head) -> PortResult<ProjectId> {
        let id = head.project_id();
        if !self.projects.insert(id) {
            return Ok(id);
        }
        let named = head.record.as_ref().map(|record| record.project.name.as_str());
        let organization = self.ensure_organization(Some((id, named.unwrap_or(DEFAULT_NAME)))).await?;
        let there = self.deps.catalog.projects(organization.id).await?;
        if there.iter().any(|project| project.id == id) {
            return Ok(id);
        }
        let taken = |name: &str| there.iter().any(|project| project.name == name);
        let name = match named {
            Some(name) if !taken(name) => name.to_owned(),
            _ => format!("recovered {}", &id.to_string()[..NAME_CHARS_MAX.min(16)]),
        };
        let name = if taken(&name) { format!("recovered {id}") } else { name };
        let created_at = self.deps.clock.now();
        self.deps
            .catalog
            .insert_project(&Project { id, organization_id: organization.id, name, created_at })
            .await?;
        Ok(id)
    }

    /// The row of a repository. It belongs to the project of its newest backup.
    async fn ensure_repository(&mut self, opened: &Opened, newest: Option<&Head>) -> PortResult<Repository> {
        let id = opened.attached.repository_id;
        if let Some(known) = self.deps.catalog.repository(id).await? {
            return Ok(known);
        }
        let project_id = if let Some(head) = newest {
            self.ensure_project(head).await?
        } else {
            let organization = self.ensure_organization(None).await?;
            let projects = self.deps.catalog.projects(organization.id).await?;
            let first = projects.iter().min_by_key(|project| (project.created_at, project.id));
            let lacks = || PortError::new(PortErrorKind::Internal, "the organization has no project");
            first.ok_or_else(lacks)?.id
        };
        let repository = Repository {
            id,
            project_id,
            name: opened.name.clone(),
            storage: opened.storage.clone(),
            capabilities: opened.attached.capabilities,
            created_at: self.deps.clock.now(),
        };
        self.deps.catalog.insert_repository(&repository).await?;
        Ok(repository)
    }

    /// Ends what the repository says is deleted and the catalog says is there: the catalog is the older one. Names what
    /// is missing without a word; nothing is decided about that.
    async fn compare(&self, opened: &Opened) -> PortResult<Vec<String>> {
        let standings = self.deps.catalog.standings(opened.attached.repository_id).await?;
        let remains: HashMap<_, _> = opened.remains.iter().map(|known| (known.backup_id, known)).collect();
        let (mut buried, mut missing) = (Vec::new(), Vec::new());
        for standing in standings.into_iter().filter(|known| known.status == BackupStatus::Available) {
            match remains.get(&standing.backup_id) {
                Some(remains) if remains.tombstone => buried.push(standing.backup_id),
                Some(remains) if remains.manifest => {}
                _ => missing.push(format!("{}: its manifest is not in the repository", standing.backup_id)),
            }
        }
        for batch in buried.chunks(ENDED_AT_ONCE) {
            self.deps.catalog.take_deletions(batch, self.deps.clock.now()).await?;
        }
        Ok(missing)
    }

    async fn write(
        &mut self,
        mut found: FoundBackup,
        record: Option<&BackupRecord>,
        record_is_lost: bool,
        retry: Retry,
    ) -> PortResult<Written> {
        let catalog = &self.deps.catalog;
        let cluster = self.clusters.insert(found.backup.cluster_id)
            && catalog.insert_unregistered_cluster(&Cluster::unregistered(&found.backup)).await?;
        let hold = hold_of_found(self.deps, &found, record_is_lost, self.grace);
        let is_held = hold.is_some();
        found.holds.extend(hold);
        let insert = || catalog.insert_found_backups(std::slice::from_ref(&found));
        let backup = retry.run("add a backup that was found", insert).await? == 1;
        if let Some(record) = record.filter(|_| !backup) {
            retry.run("take a record", || catalog.take_record(record)).await?;
        }
        Ok(Written { cluster, backup, held: is_held && backup })
    }
}
