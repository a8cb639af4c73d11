//! What is damaged, how, and that a verify finds and names it.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::error::PortErrorKind;
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::{Location, PackId};
use milvault_domain::plan::{CopyUnit, ObjectIndex};
use milvault_domain::ports::VerifyReport;
use milvault_domain::progress::ProgressCounters;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{Lab, Made, backup_id, files_below, header, local_lab};

const FLIPS: usize = 400;

struct Damaged {
    lab: Lab,
    made: Made,
    root: PathBuf,
}

async fn damaged() -> Damaged {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    let root = lab.root();
    Damaged { lab, made, root }
}

impl Damaged {
    fn packs(&self) -> Vec<PathBuf> {
        files_below(&self.root.join("packs"))
    }

    fn manifest(&self) -> PathBuf {
        self.root.join(format!("backups/{}/manifest", backup_id(1)))
    }

    async fn verify(&self, level: VerifyLevel) -> VerifyReport {
        self.lab.verify(backup_id(1), level).await
    }

    /// Key of the object that a byte of a pack belongs to; `None` for its index and trailer.
    fn key_at(&self, pack: &Path, offset: u64) -> Option<String> {
        let name = pack.file_name().unwrap().to_str().unwrap();
        let pack = PackId::from_hex(name).unwrap();
        let found = self.made.objects.iter().find(|object| match object.location {
            Location::Pack { pack_id, offset_bytes } => {
                pack_id == pack && (offset_bytes..offset_bytes + object.stored_bytes).contains(&offset)
            }
            Location::Object => false,
        });
        found.map(|object| object.source.key.to_string())
    }

    fn names(&self, report: &VerifyReport, file: &Path) -> bool {
        let relative = file.strip_prefix(&self.root).unwrap().to_str().unwrap();
        report.failures.iter().any(|failure| failure.file == relative)
    }
}

fn flip(file: &Path, offset: u64, bit: u32) {
    let handle = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    handle.read_exact_at(&mut byte, offset).unwrap();
    handle.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_is_found_and_named() {
    let damaged = damaged().await;
    let mut targets = damaged.packs();
    targets.push(damaged.manifest());
    assert!(3 < targets.len());
    let mut random = blake3::Hasher::new().update(b"flips").finalize_xof();
    let mut number = |below: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    };
    for round in 0..FLIPS {
        let file = &targets[usize::try_from(number(targets.len() as u64)).unwrap()];
        let size = fs::metadata(file).unwrap().len();
        // Every third flip goes into the tail, which is a small part of a pack.
        let offset = if round % 3 == 0 { size - 1 - number(size.min(600)) } else { number(size) };
        let bit = u32::try_from(number(8)).unwrap();
        flip(file, offset, bit);
        let report = damaged.verify(VerifyLevel::Content).await;
        assert!(damaged.names(&report, file), "{} at {offset}.{bit}: {report:?}", file.display());
        let key =
            if file.starts_with(damaged.root.join("packs")) { damaged.key_at(file, offset) } else { None };
        if let Some(key) = key {
            assert_eq!(report.failure_count, 1, "{report:?}");
            assert_eq!(report.failures[0].key.as_ref(), Some(&key));
        }
        flip(file, offset, bit);
    }
    assert_eq!(damaged.verify(VerifyLevel::Content).await.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_an_index_or_trailer_is_found_without_reading_the_content() {
    let damaged = damaged().await;
    for pack in damaged.packs() {
        let size = fs::metadata(&pack).unwrap().len();
        for back in [1, 10, 20, 40, 64, 65, 100] {
            flip(&pack, size - back, 3);
            let report = damaged.verify(VerifyLevel::Structure).await;
            assert!(damaged.names(&report, &pack), "{back}");
            assert_eq!(report.bytes_read, 0);
            flip(&pack, size - back, 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_length_is_found_by_looking() {
    let damaged = damaged().await;
    for pack in damaged.packs() {
        let content = fs::read(&pack).unwrap();
        let longer = [content.as_slice(), &[0]].concat();
        for other in [&content[..content.len() - 1], &content[..content.len() / 2], &[], &longer] {
            fs::write(&pack, other).unwrap();
            for level in [VerifyLevel::Existence, VerifyLevel::Structure, VerifyLevel::Content] {
                let report = damaged.verify(level).await;
                assert!(damaged.names(&report, &pack), "{level:?}, {} bytes", other.len());
            }
        }
        fs::write(&pack, content).unwrap();
    }
    let manifest = fs::read(damaged.manifest()).unwrap();
    for length in [0, 10, 16, 100, manifest.len() - 1] {
        fs::write(damaged.manifest(), &manifest[..length]).unwrap();
        let report = damaged.verify(VerifyLevel::Existence).await;
        assert!(damaged.names(&report, &damaged.manifest()), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pack_is_named_with_a_key() {
    let damaged = damaged().await;
    let pack = damaged.packs().remove(0);
    fs::remove_file(&pack).unwrap();
    for level in [VerifyLevel::Existence, VerifyLevel::Content] {
        let report = damaged.verify(level).await;
        assert_eq!(report.failure_count, 1);
        assert!(damaged.names(&report, &pack));
        assert!(report.failures[0].key.is_some() && report.failures[0].reason.contains("missing"));
        assert_eq!(report.objects_checked, 17);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_changed_places_are_found() {
    let damaged = damaged().await;
    let packs = damaged.packs();
    let (first, second) = (fs::read(&packs[0]).unwrap(), fs::read(&packs[1]).unwrap());
    fs::write(&packs[0], second).unwrap();
    fs::write(&packs[1], first).unwrap();
    let report = damaged.verify(VerifyLevel::Structure).await;
    assert!(damaged.names(&report, &packs[0]) && damaged.names(&report, &packs[1]), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_under_another_name_is_refused() {
    let damaged = damaged().await;
    let other = damaged.root.join(format!("backups/{}", backup_id(2)));
    fs::create_dir(&other).unwrap();
    fs::copy(damaged.manifest(), other.join("manifest")).unwrap();
    let report = damaged.lab.verify(backup_id(2), VerifyLevel::Existence).await;
    assert!(report.failures[0].reason.contains(&backup_id(1).to_string()), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_of_the_stores_own_copying_is_found_by_its_recorded_hash() {
    let lab = local_lab().await;
    lab.fill().await;
    let plan = lab.plan(&ObjectIndex::new()).await;
    let mut objects = Vec::new();
    for unit in &plan.units {
        let unit = CopyUnit::ServerSide { objects: unit.objects().to_vec() };
        objects.extend(lab.copier().await.copy(&unit, &ProgressCounters::default()).await.unwrap());
    }
    for object in &mut objects {
        object.hash = None;
    }
    lab.repository.seal(&header(backup_id(1)), objects).await.unwrap();
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.hashes_recorded, 17);

    let file = files_below(&lab.root().join("objects"))
        .into_iter()
        .find(|file| fs::metadata(file).unwrap().len() == 4096);
    flip(&file.unwrap(), 1000, 1);
    let report = lab.verify(backup_id(1), VerifyLevel::Content).await;
    assert_eq!((report.failure_count, report.hashes_recorded), (1, 0));
    assert!(report.failures[0].key.is_some());

    let recorded = files_below(&lab.root().join(format!("backups/{}", backup_id(1))))
        .into_iter()
        .find(|file| file.file_name().unwrap().to_str().unwrap().starts_with("hashes-"))
        .unwrap();
    flip(&recorded, 60, 1);
    let report = lab.verify(backup_id(1), VerifyLevel::Content).await;
    assert!(report.failures.iter().any(|failure| failure.file.contains("hashes-")), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_earlier_backups_does_not_stop_the_next() {
    let damaged = damaged().await;
    flip(&damaged.manifest(), 40, 1);
    let index = damaged.lab.index(&[backup_id(1)], &[]).await;
    assert!(index.is_empty());
    // The packs are found by their names, the one whose tail is damaged is written again.
    let pack = damaged.packs().remove(0);
    let size = fs::metadata(&pack).unwrap().len();
    flip(&pack, size - 70, 1);
    damaged.lab.back_up(backup_id(2), &[]).await;
    assert_eq!(damaged.lab.verify(backup_id(2), VerifyLevel::Content).await.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_as_long_as_its_source_is_found() {
    let Damaged { lab, made, .. } = damaged().await;
    let mut objects = made.objects;
    objects[0].source.size_bytes += 1;
    let key = objects[0].source.key.to_string();
    lab.repository.seal(&header(backup_id(2)), objects).await.unwrap();
    let report = lab.verify(backup_id(2), VerifyLevel::Existence).await;
    assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
    assert_eq!(report.failures[0].key.as_deref(), Some(key.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_pack_that_is_not_what_it_was_is_not_sealed() {
    let damaged = damaged().await;
    let pack = damaged.packs().remove(0);
    let size = fs::metadata(&pack).unwrap().len();
    fs::File::options().append(true).open(&pack).unwrap().set_len(size + 1).unwrap();
    let index = damaged.lab.index(&[backup_id(1)], &[]).await;
    let plan = damaged.lab.plan(&index).await;
    assert_eq!(plan.units, []);
    let error = damaged.lab.repository.seal(&header(backup_id(2)), plan.reused.clone()).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(pack.file_name().unwrap().to_str().unwrap()), "{error}");

    fs::File::options().write(true).open(&pack).unwrap().set_len(10).unwrap();
    let error = damaged.lab.repository.seal(&header(backup_id(2)), plan.reused).await.unwrap_err();
    for words in ["too short", "verify the backups that use it"] {
        assert!(error.to_string().contains(words), "{error}");
    }
}
