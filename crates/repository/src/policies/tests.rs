#![allow(clippy::unwrap_used)]

use super::*;
use crate::place::LocalPlace;
use milvault_domain::ids::{OrganizationId, ProjectId, RepositoryId};
use milvault_domain::recovery::cautious_policy;
use tempfile::TempDir;
use uuid::Uuid;

fn weekly() -> SchedulePolicy {
    let window_start = NaiveTime::from_hms_opt(2, 30, 0).unwrap();
    let days = vec![Weekday::Mon, Weekday::Sun];
    SchedulePolicy {
        keep: KeepRules { last: 1, daily: 2, weekly: 3, monthly: 4 },
        copy: Some(CopyPolicy {
            repository_id: RepositoryId::from_uuid(Uuid::from_u128(8)),
            retention_days: 9,
        }),
        ..SchedulePolicy::new(Timing::Weekdays { days, window_start }, "Europe/Berlin".parse().unwrap())
    }
}

fn record(number: u128, revision: u64, policy: SchedulePolicy) -> PolicyRecord {
    PolicyRecord {
        cluster_id: ClusterId::from_uuid(Uuid::from_u128(number)),
        revision,
        organization: NamedOrganization {
            id: OrganizationId::from_uuid(Uuid::from_u128(1)),
            name: String::from("Acme"),
        },
        project: NamedProject { id: ProjectId::from_uuid(Uuid::from_u128(2)), name: String::from("Default") },
        cluster_name: String::from("prod"),
        policy,
    }
}

fn path(directory: &TempDir, record: &PolicyRecord) -> std::path::PathBuf {
    directory.path().join(layout::policy(record.cluster_id, record.revision))
}

#[tokio::test]
async fn every_policy_reads_back_and_the_latest_counts() {
    let directory = TempDir::new().unwrap();
    let place = LocalPlace::new(directory.path());
    let cron = SchedulePolicy {
        enabled: false,
        ..SchedulePolicy::new(Timing::Cron(String::from("0 3 * * *")), "UTC".parse().unwrap())
    };
    for policy in [weekly(), cron, cautious_policy()] {
        for revision in [1, 1_764_000_000_000_000] {
            let record = record(5, revision, policy.clone());
            write(&place, &record).await.unwrap();
            assert_eq!(read(&place, record.cluster_id, revision).await.unwrap(), record);
            let there = revisions(&place, layout::CLUSTERS).await.unwrap();
            assert_eq!(there, [(record.cluster_id, revision)], "the one before is gone");
        }
        std::fs::remove_dir_all(directory.path().join(layout::CLUSTERS)).unwrap();
    }
}

#[tokio::test]
async fn what_is_written_late_replaces_nothing() {
    let directory = TempDir::new().unwrap();
    let place = LocalPlace::new(directory.path());
    let late = record(5, 6, cautious_policy());
    let latest = record(5, 7, weekly());
    write(&place, &latest).await.unwrap();
    write(&place, &late).await.unwrap();
    write(&place, &PolicyRecord { policy: cautious_policy(), ..latest.clone() }).await.unwrap();
    let revisions = revisions(&place, layout::CLUSTERS).await.unwrap();
    assert_eq!(revisions.into_iter().max(), Some((latest.cluster_id, 7)));
    assert_eq!(read(&place, latest.cluster_id, 7).await.unwrap(), latest);
}

#[tokio::test]
async fn what_is_no_policy_is_told() {
    let directory = TempDir::new().unwrap();
    let place = LocalPlace::new(directory.path());
    let good = record(5, 7, weekly());
    write(&place, &good).await.unwrap();
    let text = std::fs::read_to_string(path(&directory, &good)).unwrap();
    for (from, to, expected) in [
        ("\"format_version\": 1", "\"format_version\": 2", PortErrorKind::Unsupported),
        ("\"format_version\": 1", "\"format_version\": \"x\"", PortErrorKind::Corrupt),
        ("\"retention_days\": 7", "\"retention_days\": 700", PortErrorKind::Corrupt),
        ("\"cron\": null", "\"cron\": \"0 3 * * *\"", PortErrorKind::Corrupt),
        ("\"start_time\": \"02:30\"", "\"start_time\": \"late\"", PortErrorKind::Corrupt),
        ("Europe/Berlin", "Europe/Nowhere", PortErrorKind::Corrupt),
        ("\"revision\": 7", "\"revision\": 8", PortErrorKind::Corrupt),
        ("{", "", PortErrorKind::Corrupt),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        std::fs::write(path(&directory, &good), changed).unwrap();
        let error = read(&place, good.cluster_id, 7).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{to}: {error}");
        // A damaged one is written again; one that a later version wrote stays.
        write(&place, &good).await.unwrap();
        let read = read(&place, good.cluster_id, 7).await;
        assert_eq!(read.is_ok(), expected == PortErrorKind::Corrupt, "{to}");
        std::fs::write(path(&directory, &good), &text).unwrap();
    }
    let more = text.replacen('{', "{ \"later\": true,", 1);
    std::fs::write(path(&directory, &good), more).unwrap();
    assert_eq!(read(&place, good.cluster_id, 7).await.unwrap(), good);
}
