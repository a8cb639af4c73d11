//! Records of policies, below `clusters/`: what a lost catalog knew of the automatic backups of a cluster.

use crate::backups::records::VersionFile;
use crate::layout;
use crate::place::{Creation, Overwrite, Place};
use crate::repository::FileRepository;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{NaiveTime, Timelike, Weekday};
use futures::TryStreamExt;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::ClusterId;
use milvault_domain::keep::KeepRules;
use milvault_domain::manifest::FORMAT_VERSION;
use milvault_domain::ports::{FoundPolicy, RepositoryPolicies};
use milvault_domain::recovery::{NamedOrganization, NamedProject, PolicyRecord};
use milvault_domain::schedule::{CopyPolicy, SchedulePolicy, Timing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is longer is no record.
const POLICY_BYTES_MAX: u64 = 64 << 10;
/// How the beginning of a window is spelled.
const TIME_OF_DAY: &str = "%H:%M";

/// The content of `policy-<revision>.json`.
#[derive(Serialize, Deserialize)]
struct PolicyFile {
    /// What a person should know who finds the file.
    about: String,
    format_version: u32,
    cluster_id: String,
    cluster_name: String,
    revision: u64,
    organization: NamedFile,
    project: NamedFile,
    enabled: bool,
    /// Monday is 1.
    weekdays: Option<Vec<u8>>,
    start_time: Option<String>,
    cron: Option<String>,
    time_zone: String,
    retention_days: u32,
    keep: KeepFile,
    copy: Option<CopyFile>,
}

#[derive(Serialize, Deserialize)]
struct NamedFile {
    id: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct KeepFile {
    last: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
}

#[derive(Serialize, Deserialize)]
struct CopyFile {
    repository_id: String,
    retention_days: u32,
}

#[async_trait]
impl RepositoryPolicies for FileRepository {
    async fn write_policy(&self, record: &PolicyRecord) -> PortResult<()> {
        write(self.place.as_ref(), record).await
    }

    async fn read_policies(&self) -> PortResult<Vec<FoundPolicy>> {
        let place = self.place.as_ref();
        let mut latest: BTreeMap<ClusterId, u64> = BTreeMap::new();
        for (cluster_id, revision) in revisions(place, layout::CLUSTERS).await? {
            let known = latest.entry(cluster_id).or_insert(revision);
            *known = revision.max(*known);
        }
        let mut found = Vec::with_capacity(latest.len());
        for (cluster_id, revision) in latest {
            let record = match read(place, cluster_id, revision).await {
                Err(error) if !says_what_is_there(&error) => return Err(error),
                record => record,
            };
            found.push(FoundPolicy { cluster_id, revision, record });
        }
        Ok(found)
    }
}

/// Whether an error is about the record and not about the way to it.
fn says_what_is_there(error: &PortError) -> bool {
    matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported)
}

/// Writes a record unless there is one of that revision, then removes the ones before it.
async fn write(place: &dyn Place, record: &PolicyRecord) -> PortResult<()> {
    let json = serde_json::to_vec_pretty(&PolicyFile::of(record)).map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "a policy does not render", error)
    })?;
    let path = layout::policy(record.cluster_id, record.revision);
    let json = Bytes::from(json);
    let is_damaged =
        |read: PortResult<PolicyRecord>| read.is_err_and(|error| error.kind() == PortErrorKind::Corrupt);
    if place.create(&path, json.clone(), Overwrite::Never).await? == Creation::Existed
        && is_damaged(read(place, record.cluster_id, record.revision).await)
    {
        place.create(&path, json, Overwrite::Replace).await?;
    }
    for (cluster_id, revision) in revisions(place, &layout::cluster(record.cluster_id)).await? {
        if revision < record.revision {
            place.delete(&layout::policy(cluster_id, revision)).await?;
        }
    }
    Ok(())
}

async fn read(place: &dyn Place, cluster_id: ClusterId, revision: u64) -> PortResult<PolicyRecord> {
    let path = layout::policy(cluster_id, revision);
    let shown = place.display(&path);
    let corrupt = || PortError::new(PortErrorKind::Corrupt, format!("`{shown}` is no policy of its cluster"));
    // One that goes between the two looks was replaced by a later one; whoever asks again finds that.
    let replaced =
        || PortError::new(PortErrorKind::Changed, format!("`{shown}` was replaced while it was read"));
    let facts = place.facts(&path).await?.ok_or_else(replaced)?;
    if POLICY_BYTES_MAX < facts.size_bytes {
        return Err(corrupt());
    }
    let bytes = place.read(&path, 0..facts.size_bytes).await?;
    let VersionFile { format_version } = serde_json::from_slice(&bytes).map_err(|_| corrupt())?;
    if FORMAT_VERSION < format_version {
        let message = format!("`{shown}` has format version {format_version}, and {FORMAT_VERSION} is known");
        return Err(PortError::new(PortErrorKind::Unsupported, message));
    }
    let file: PolicyFile = serde_json::from_slice(&bytes).map_err(|_| corrupt())?;
    let record = file.into_record().ok_or_else(corrupt)?;
    if record.cluster_id == cluster_id && record.revision == revision { Ok(record) } else { Err(corrupt()) }
}

/// Cluster and revision of the records that are there.
async fn revisions(place: &dyn Place, directory: &str) -> PortResult<Vec<(ClusterId, u64)>> {
    let files: Vec<_> = place.list(directory).try_collect().await?;
    Ok(files.iter().filter_map(|file| layout::policy_revision(&file.path)).collect())
}

impl PolicyFile {
    fn of(record: &PolicyRecord) -> Self {
        let policy = &record.policy;
        let (weekdays, start_time, cron) = match &policy.timing {
            Timing::Cron(expression) => (None, None, Some(expression.clone())),
            Timing::Weekdays { days, window_start } => {
                let numbers = days.iter().filter_map(|day| u8::try_from(day.number_from_monday()).ok());
                (Some(numbers.collect()), Some(window_start.format(TIME_OF_DAY).to_string()), None)
            }
        };
        let KeepRules { last, daily, weekly, monthly } = policy.keep;
        Self {
            about: String::from(
                "When backups of this cluster are made by themselves, and how long they stay. The highest number counts.",
            ),
            format_version: FORMAT_VERSION,
            cluster_id: record.cluster_id.to_string(),
            cluster_name: record.cluster_name.clone(),
            revision: record.revision,
            organization: NamedFile {
                id: record.organization.id.to_string(),
                name: record.organization.name.clone(),
            },
            project: NamedFile { id: record.project.id.to_string(), name: record.project.name.clone() },
            enabled: policy.enabled,
            weekdays,
            start_time,
            cron,
            time_zone: policy.time_zone.to_string(),
            retention_days: policy.retention_days,
            keep: KeepFile { last, daily, weekly, monthly },
            copy: policy.copy.map(|copy| CopyFile {
                repository_id: copy.repository_id.to_string(),
                retention_days: copy.retention_days,
            }),
        }
    }

    /// `None` when it is no policy that anybody could have set.
    fn into_record(self) -> Option<PolicyRecord> {
        let timing = match (self.weekdays, self.start_time, self.cron) {
            (None, None, Some(expression)) => Timing::Cron(expression),
            (Some(numbers), Some(start), None) => Timing::Weekdays {
                days: numbers.into_iter().map(weekday).collect::<Option<_>>()?,
                window_start: NaiveTime::parse_from_str(&start, TIME_OF_DAY).ok()?.with_second(0)?,
            },
            _ => return None,
        };
        let copy = match self.copy {
            Some(copy) => Some(CopyPolicy {
                repository_id: copy.repository_id.parse().ok()?,
                retention_days: copy.retention_days,
            }),
            None => None,
        };
        let KeepFile { last, daily, weekly, monthly } = self.keep;
        let policy = SchedulePolicy {
            enabled: self.enabled,
            timing,
            time_zone: self.time_zone.parse().ok()?,
            retention_days: self.retention_days,
            keep: KeepRules { last, daily, weekly, monthly },
            copy,
        };
        policy.validate().ok()?;
        Some(PolicyRecord {
            cluster_id: self.cluster_id.parse().ok()?,
            revision: self.revision,
            organization: NamedOrganization {
                id: self.organization.id.parse().ok()?,
                name: self.organization.name,
            },
            project: NamedProject { id: self.project.id.parse().ok()?, name: self.project.name },
            cluster_name: self.cluster_name,
            policy,
        })
    }
}

fn weekday(number: u8) -> Option<Weekday> {
    Weekday::try_from(number.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests;
