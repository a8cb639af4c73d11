//! Checks of files that several backups share, and backups that do not reuse what is damaged.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::checks::{Damage, Damaged, Share};
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::{ContentHash, Location, StoredObject};
use milvault_domain::ports::{CheckOrder, CheckReport};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::sweep::DataFile;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use support::{Lab, backup_id, header, local_lab};

fn order(backups: &[u128], known: Vec<Damage>) -> CheckOrder {
    CheckOrder {
        backups: backups.iter().map(|number| backup_id(*number)).collect(),
        share: Share::ALL,
        all_backups: true,
        level: VerifyLevel::Content,
        known,
        max_bytes_per_second: None,
    }
}

async fn check(lab: &Lab, order: &CheckOrder) -> CheckReport {
    lab.repository.check_files(order, Arc::new(ProgressCounters::default())).await.unwrap()
}

/// Where an object lies: its pack and the offset in it.
fn place(lab: &Lab, object: &StoredObject) -> (PathBuf, u64) {
    let Location::Pack { pack_id, offset_bytes } = object.location else { panic!("{object:?}") };
    let name = pack_id.to_string();
    (lab.root().join("packs").join(&name[..2]).join(name), offset_bytes)
}

fn flip(lab: &Lab, object: &StoredObject) {
    let (pack, offset) = place(lab, object);
    let file = fs::OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_backups_share_is_read_once_and_shares_of_a_turn_read_it_all() {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let stored: u64 = made.objects.iter().map(|object| object.stored_bytes).sum();
    let whole = check(&lab, &order(&[1, 2], vec![])).await;
    assert_eq!((whole.report.bytes_read, whole.report.failure_count), (stored, 0));
    assert_eq!(whole.report.objects_checked, made.objects.len() as u64);
    for (_, checked) in &whole.backups {
        assert!(checked.whole);
        assert_eq!((checked.objects, checked.damaged_count), (made.objects.len() as u64, 0));
    }
    let mut from = 77;
    let (mut bytes, mut objects) = (0, 0);
    for _ in 0..7 {
        let share = Share::parts(from, 1, 7);
        let part = check(&lab, &CheckOrder { share, ..order(&[1, 2], vec![]) }).await;
        bytes += part.report.bytes_read;
        objects += part.backups[0].1.objects;
        from = share.end();
    }
    assert!(stored <= bytes && made.objects.len() as u64 <= objects);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_of_every_backup_and_the_next_one_copies_that_object_again() {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let victim = made.objects.iter().find(|object| object.stored_bytes > 0).unwrap();
    flip(&lab, victim);
    let found = check(&lab, &order(&[1, 2], vec![])).await;
    assert_eq!((found.report.failure_count, found.found.len()), (1, 1));
    assert_eq!(found.found[0].key.object, Some(victim.id));
    assert_eq!(found.found[0].key.file, victim.file());
    for (_, checked) in &found.backups {
        assert_eq!((checked.damaged_count, checked.findings.len()), (1, 1));
        assert_eq!(checked.findings[0].key, Some(victim.source.key.to_string()));
    }

    let mut index = lab.index(&[backup_id(2), backup_id(1)], &[]).await;
    index.exclude(Damaged::from_iter(&found.found));
    let plan = lab.plan(&index).await;
    assert_eq!(plan.reused.len(), made.objects.len() - 1);
    let copier = lab.copier().await;
    let mut objects = plan.reused;
    for unit in &plan.units {
        assert_eq!(unit.objects().len(), 1);
        objects.extend(copier.copy(unit, &ProgressCounters::default()).await.unwrap());
    }
    lab.repository.seal(&header(backup_id(3)), objects).await.unwrap();

    let after = check(&lab, &order(&[1, 2, 3], found.found.clone())).await;
    let counts: Vec<u64> = after.backups.iter().map(|(_, checked)| checked.damaged_count).collect();
    assert_eq!((counts, after.found), (vec![1, 1, 0], found.found.clone()));
    assert_eq!(lab.verify(backup_id(3), VerifyLevel::Content).await.failure_count, 0);
    // The newest manifest wins, so a later backup reuses the sound copy.
    let mut index = lab.index(&[backup_id(3), backup_id(1)], &[]).await;
    index.exclude(Damaged::from_iter(&found.found));
    assert!(lab.plan(&index).await.units.is_empty());

    // A check that looks less closely clears nothing; the same look at what was put right does.
    flip(&lab, victim);
    let known = || order(&[1, 2, 3], found.found.clone());
    let quick = check(&lab, &CheckOrder { level: VerifyLevel::Structure, ..known() }).await;
    assert_eq!(quick.sound, []);
    let sound = check(&lab, &known()).await;
    assert_eq!(sound.sound, [found.found[0].key]);
    assert!(sound.backups.iter().all(|(_, checked)| checked.damaged_count == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pack_and_an_unreadable_manifest_are_findings() {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let victim = made.objects.iter().find(|object| object.stored_bytes > 0).unwrap();
    let (pack, _) = place(&lab, victim);
    let content = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    let lost = check(&lab, &order(&[1, 2], vec![])).await;
    let there = made.objects.iter().filter(|object| object.file() == victim.file()).count() as u64;
    assert_eq!((lost.found[0].key.file, lost.found[0].key.object), (victim.file(), None));
    assert!(lost.backups.iter().all(|(_, checked)| checked.damaged_count == there));
    fs::write(&pack, content).unwrap();

    let manifest = lab.root().join(format!("backups/{}/manifest", backup_id(1)));
    fs::write(&manifest, b"nothing").unwrap();
    let unreadable = check(&lab, &order(&[1, 2], lost.found.clone())).await;
    assert_eq!(unreadable.report.failure_count, 1);
    let counts: Vec<u64> = unreadable.backups.iter().map(|(_, checked)| checked.damaged_count).collect();
    assert_eq!((counts, unreadable.found), (vec![1, 0], vec![]));
    assert_eq!(unreadable.sound, [lost.found[0].key]);

    // Damage to a file that no backup needs any more is forgotten.
    let unneeded = Damage {
        key: milvault_domain::checks::DamageKey {
            file: DataFile::Pack(milvault_domain::object::PackId::from_bytes([7; 16])),
            object: None,
        },
        ..lost.found[0].clone()
    };
    let forgotten = check(&lab, &order(&[2], vec![unneeded.clone()])).await;
    assert_eq!(forgotten.sound, [unneeded.key]);
    let partial = CheckOrder { all_backups: false, ..order(&[2], vec![unneeded]) };
    assert_eq!(check(&lab, &partial).await.sound, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_manifests_do_not_agree_about_is_found() {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    let mut objects = made.objects;
    let key = objects[3].source.key.to_string();
    objects[3].hash = Some(ContentHash::from_bytes([7; 32]));
    lab.repository.seal(&header(backup_id(2)), objects).await.unwrap();
    for backups in [[1, 2], [2, 1]] {
        for level in [VerifyLevel::Structure, VerifyLevel::Content] {
            let found = check(&lab, &CheckOrder { level, ..order(&backups, vec![]) }).await;
            assert!(0 < found.report.failure_count, "{backups:?} {level:?}");
            assert!(found.report.failures.iter().all(|failure| failure.key.as_ref() == Some(&key)));
        }
    }
}
