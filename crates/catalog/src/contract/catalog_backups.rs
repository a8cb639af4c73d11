//! Backups of the catalog itself: everything goes out and comes back on whatever database, and of a day there is one.

use super::Home;
use super::restore_samples::new_restore;
use super::samples::{FIRST_PAGE, World, at, automatic_backup, manual_backup, sealer};
use crate::scale::ScaleCatalog;
use crate::{SealedCatalog, Sealer, open};
use async_trait::async_trait;
use milvault_domain::job::JobState;
use milvault_domain::ports::{
    BackupFilter, ByteSink, ByteSource, Catalog, CatalogBackupClaim, JobFilter, PortErrorKind, PortResult,
};
use milvault_domain::recovery::BackupRecord;
use std::sync::Arc;

super::cases![
    everything_goes_into_another_database,
    everything_comes_from_another_database,
    what_is_not_whole_changes_nothing,
    a_day_is_claimed_once,
    what_somebody_asks_for_belongs_to_no_day,
    a_record_is_taken_when_it_tells_of_more,
];

/// A database that is gone when the case is over.
struct Memory;

#[async_trait]
impl Home for Memory {
    async fn open(&self, sealer: Sealer) -> PortResult<Arc<dyn Catalog>> {
        open("sqlite::memory:", sealer).await
    }

    async fn open_sealed(&self, _: Sealer) -> PortResult<SealedCatalog> {
        unreachable!("it is there once")
    }

    async fn scale(&self) -> PortResult<ScaleCatalog> {
        unreachable!("it is there once")
    }

    async fn raw_contents(&self) -> Vec<u8> {
        Vec::new()
    }

    async fn run_statement(&self, _: &'static str) -> Result<(), String> {
        Ok(())
    }

    async fn remove(&self) {}
}

#[derive(Default)]
struct Bytes(Vec<u8>);

#[async_trait]
impl ByteSink for Bytes {
    async fn write(&mut self, bytes: Vec<u8>) -> PortResult<()> {
        self.0.extend(bytes);
        Ok(())
    }
}

#[async_trait]
impl ByteSource for Bytes {
    async fn read(&mut self) -> PortResult<Option<Vec<u8>>> {
        let rest = self.0.split_off(self.0.len().min(700));
        let first = std::mem::replace(&mut self.0, rest);
        Ok((!first.is_empty()).then_some(first))
    }
}

/// A catalog with something in every corner, and what somebody sees of it.
async fn filled(home: &dyn Home) -> World {
    let world = World::open(home).await;
    // More rows than one page of an export holds.
    for _ in 0..70 {
        world.add_available(&manual_backup(&world.cluster)).await;
    }
    let (open, held) = (manual_backup(&world.cluster), automatic_backup(&world.add_cluster("other").await));
    world.add(&open).await;
    world.start(open.job.id).await;
    world.add_available(&held).await;
    world.request(&new_restore(&world.cluster, &held.backup)).await;
    world
}

async fn carried(from: &dyn Catalog, to: &dyn Catalog) {
    let mut file = Bytes::default();
    let size = from.export(at(50), &mut file).await.unwrap();
    assert_eq!(size, file.0.len() as u64);
    assert!(70 < to.import(&mut file, at(60)).await.unwrap());
    let all = BackupFilter::default();
    let backups = from.backups(&all, FIRST_PAGE).await.unwrap().items;
    assert_eq!(to.backups(&all, FIRST_PAGE).await.unwrap().items, backups);
    // What the database derives is derived there, too.
    for name in ["production", "upgrade", "other"] {
        let project_ids = Some(vec![backups[0].project_id]);
        let named = JobFilter { project_ids, name: Some(name.to_owned()), ..JobFilter::default() };
        let ids = async |catalog: &dyn Catalog| -> Vec<_> {
            catalog.jobs(&named, FIRST_PAGE).await.unwrap().items.into_iter().map(|job| job.id).collect()
        };
        let found = ids(from).await;
        assert!(!found.is_empty(), "{name}");
        assert_eq!(ids(to).await, found, "{name}");
    }
    for backup in backups.iter().take(3) {
        let contents = from.backup_contents(backup.id).await.unwrap();
        assert_eq!(to.backup_contents(backup.id).await.unwrap(), contents);
        assert_eq!(
            to.cluster(backup.cluster_id).await.unwrap(),
            from.cluster(backup.cluster_id).await.unwrap()
        );
        let repository = from.repository(backup.repository_id).await.unwrap();
        assert_eq!(
            to.repository(backup.repository_id).await.unwrap(),
            repository,
            "its secrets are read, too"
        );
    }
    // Backups go on as after a crash; whatever else was open has failed.
    let before = from.open_jobs().await.unwrap();
    assert_eq!(before.len(), 2);
    for job in before {
        let now = to.job(job.id).await.unwrap().unwrap();
        if job.job_type.makes_backup() {
            assert_eq!(now, job);
        } else {
            assert_eq!((now.state, now.ended_at), (JobState::Failed, Some(at(60))));
            assert!(now.failure.unwrap().contains("restored from its backup"));
        }
    }
}

async fn everything_goes_into_another_database(home: Arc<dyn Home>) {
    let world = filled(&*home).await;
    let other = open("sqlite::memory:", sealer()).await.unwrap();
    carried(world.catalog.as_ref(), other.as_ref()).await;
}

async fn everything_comes_from_another_database(home: Arc<dyn Home>) {
    let world = filled(&Memory).await;
    let here = home.open(sealer()).await.unwrap();
    carried(world.catalog.as_ref(), here.as_ref()).await;
    let mut file = Bytes::default();
    world.catalog.export(at(50), &mut file).await.unwrap();
    let error = here.import(&mut file, at(60)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "it is not empty any more");
}

async fn what_is_not_whole_changes_nothing(home: Arc<dyn Home>) {
    let world = filled(&Memory).await;
    let mut file = Bytes::default();
    world.catalog.export(at(50), &mut file).await.unwrap();
    let here = home.open(sealer()).await.unwrap();
    let mut changed = file.0.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for wrong in [changed, file.0[..last].to_vec(), Vec::new()] {
        let error = here.import(&mut Bytes(wrong), at(60)).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert_eq!(here.organization().await.unwrap(), None);
    }
    here.import(&mut file, at(60)).await.unwrap();
}

async fn a_day_is_claimed_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let claim = |name: &str, day, seconds| CatalogBackupClaim {
        name: name.to_owned(),
        repository_id: world.repository.id,
        day: Some(day),
        now: at(seconds),
        stale_before: at(seconds - 100),
    };
    let catalog = &world.catalog;
    assert!(catalog.claim_catalog_backup(&claim("a", 1, 0)).await.unwrap());
    assert!(!catalog.claim_catalog_backup(&claim("b", 1, 10)).await.unwrap(), "somebody is at work");
    catalog.end_catalog_backup("a", Err(String::from("away")), at(20)).await.unwrap();
    assert!(!catalog.claim_catalog_backup(&claim("b", 1, 30)).await.unwrap(), "not at once");
    assert!(catalog.claim_catalog_backup(&claim("b", 1, 200)).await.unwrap());
    // Whoever was slow tells of a claim that is not his any more.
    catalog.end_catalog_backup("a", Ok(5), at(205)).await.unwrap();
    catalog.end_catalog_backup("b", Ok(7), at(210)).await.unwrap();
    assert!(!catalog.claim_catalog_backup(&claim("c", 1, 900)).await.unwrap(), "it is made");
    assert!(catalog.claim_catalog_backup(&claim("d", 2, 901)).await.unwrap());
    let made = catalog.catalog_backups(10).await.unwrap();
    let seen: Vec<_> = made.iter().map(|made| (made.name.as_str(), made.size_bytes, made.ended_at)).collect();
    assert_eq!(seen, [("d", None, None), ("b", Some(7), Some(at(210)))]);
    assert_eq!(catalog.catalog_backups(1).await.unwrap().len(), 1);
    let claims: Vec<_> = (0..6)
        .map(|number| {
            let (catalog, claim) = (Arc::clone(catalog), claim(&format!("r{number}"), 3, 1_000));
            tokio::spawn(async move { catalog.claim_catalog_backup(&claim).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for claim in claims {
        won += u32::from(claim.await.unwrap());
    }
    assert_eq!(won, 1);
}

async fn what_somebody_asks_for_belongs_to_no_day(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let claim = |name: &str, day, seconds| CatalogBackupClaim {
        name: name.to_owned(),
        repository_id: world.repository.id,
        day,
        now: at(seconds),
        stale_before: at(seconds - 100),
    };
    assert_eq!(catalog.catalog_backed_up_at().await.unwrap(), None);
    assert!(catalog.claim_catalog_backup(&claim("a", None, 0)).await.unwrap());
    assert_eq!(catalog.catalog_backed_up_at().await.unwrap(), Some(at(0)), "the first attempt");
    assert!(!catalog.claim_catalog_backup(&claim("b", None, 10)).await.unwrap(), "one is at work");
    assert!(catalog.claim_catalog_backup(&claim("b", None, 101)).await.unwrap(), "it gave no sign");
    catalog.end_catalog_backup("b", Err(String::from("away")), at(102)).await.unwrap();
    assert!(catalog.claim_catalog_backup(&claim("c", None, 103)).await.unwrap());
    catalog.end_catalog_backup("c", Ok(7), at(104)).await.unwrap();
    assert!(catalog.claim_catalog_backup(&claim("d", Some(1), 105)).await.unwrap(), "days are as before");
    catalog.end_catalog_backup("d", Err(String::from("away")), at(106)).await.unwrap();
    assert_eq!(catalog.catalog_backed_up_at().await.unwrap(), Some(at(103)));
    let seen = catalog.catalog_backups(10).await.unwrap();
    let seen: Vec<_> = seen.iter().map(|made| (made.name.as_str(), made.day, made.size_bytes)).collect();
    let expected = [("d", Some(1), None), ("c", None, Some(7)), ("b", None, None), ("a", None, None)];
    assert_eq!(seen, expected);
}

async fn a_record_is_taken_when_it_tells_of_more(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let known = world.catalog.due_record(new.backup.id).await.unwrap().unwrap().record.unwrap();
    assert!(!world.catalog.take_record(&known).await.unwrap());
    let later = BackupRecord {
        revision: 5,
        name: String::from("renamed since"),
        expires_at: Some(at(77)),
        ..known.clone()
    };
    assert!(world.catalog.take_record(&later).await.unwrap());
    assert!(!world.catalog.take_record(&later).await.unwrap(), "once");
    assert!(!world.catalog.take_record(&known).await.unwrap(), "never back");
    let backup = world.backup(new.backup.id).await;
    assert_eq!((backup.name.as_str(), backup.expires_at), ("renamed since", Some(at(77))));
    assert_eq!(world.catalog.due_record(new.backup.id).await.unwrap(), None);
}
