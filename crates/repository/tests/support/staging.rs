//! What every way from a repository to a cluster's storage must do, written against the prose of the port.

use super::*;
use milvault_domain::ids::JobId;
use milvault_domain::object::{ContentHash, Location};
use milvault_domain::ports::Stager;
use milvault_domain::restore::staging_directory;

/// A part of a restore's own directory.
pub(crate) fn directory() -> String {
    format!("{}/0/12", staging_directory(JobId::from_uuid(Uuid::from_u128(0x70b))))
}

/// Runs every scenario, each on a lab and a target of its own.
pub(crate) async fn run(make_lab: impl AsyncFn() -> Lab, make_target: impl AsyncFn() -> Box<dyn TestSource>) {
    macro_rules! scenarios {
        ($($name:ident)*) => {
            $(
                eprintln!("scenario: {}", stringify!($name));
                let lab = make_lab().await;
                lab.fill().await;
                lab.back_up(backup_id(1), &[]).await;
                $name(&lab, make_target().await.as_ref()).await;
            )*
        };
    }
    scenarios! {
        what_is_staged_is_what_was_backed_up
        staging_again_and_removing_again_are_harmless
        a_part_is_staged_and_removed_alone
        damage_is_named_and_never_gets_a_name
        lost_files_are_damage
        other_directories_are_refused
        recorded_hashes_are_used
    }
}

async fn stager(lab: &Lab, target: &dyn TestSource) -> Arc<dyn Stager> {
    lab.stores.open_stager(Arc::clone(&lab.repository), &target.config(), None).await.unwrap()
}

async fn objects(lab: &Lab) -> Vec<StoredObject> {
    lab.repository.read_objects(backup_id(1), None).await.unwrap()
}

/// What a target must hold when everything is staged below a directory.
async fn expected(lab: &Lab, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let files = lab.source.files().await.into_iter();
    files.map(|(key, content)| (format!("{directory}/{key}"), content)).collect()
}

async fn what_is_staged_is_what_was_backed_up(lab: &Lab, target: &dyn TestSource) {
    let objects = objects(lab).await;
    let progress = ProgressCounters::default();
    stager(lab, target).await.stage(&objects, &directory(), &progress).await.unwrap();
    assert!(target.files().await == expected(lab, &directory()).await, "other files or other bytes");
    let bytes: u64 = objects.iter().map(|object| object.stored_bytes).sum();
    let progress = progress.snapshot();
    assert_eq!((progress.objects_done, progress.bytes_done), (17, bytes));
}

async fn staging_again_and_removing_again_are_harmless(lab: &Lab, target: &dyn TestSource) {
    let mine = insert_key(9, 100, 9).to_string();
    target.put(&mine, b"Milvus's own").await;
    let stager = stager(lab, target).await;
    let objects = objects(lab).await;
    for _ in 0..2 {
        stager.stage(&objects, &directory(), &ProgressCounters::default()).await.unwrap();
    }
    let mut all = expected(lab, &directory()).await;
    all.insert(mine.clone(), b"Milvus's own".to_vec());
    assert!(target.files().await == all);
    let whole = directory().rsplitn(3, '/').last().unwrap().to_owned();
    assert_eq!(stager.remove(&whole).await.unwrap(), 17);
    assert_eq!(stager.remove(&whole).await.unwrap(), 0);
    assert_eq!(target.files().await.into_keys().collect::<Vec<_>>(), [mine]);
}

async fn a_part_is_staged_and_removed_alone(lab: &Lab, target: &dyn TestSource) {
    let stager = stager(lab, target).await;
    let objects = objects(lab).await;
    let (first, second) = objects.split_at(5);
    let other = directory().replace("/0/12", "/0/1");
    stager.stage(first, &directory(), &ProgressCounters::default()).await.unwrap();
    stager.stage(second, &other, &ProgressCounters::default()).await.unwrap();
    stager.stage(&[], &other, &ProgressCounters::default()).await.unwrap();
    // `0/1` must not take `0/12` along.
    assert_eq!(stager.remove(&other).await.unwrap(), 12);
    assert_eq!(target.files().await.len(), 5);
    assert_eq!(stager.remove(&directory()).await.unwrap(), 5);
}

/// As if the bytes had changed since the backup.
fn damaged(object: &StoredObject) -> StoredObject {
    let store_tag = object.store_tag.as_ref().map(|_| Box::from("another"));
    StoredObject { hash: Some(ContentHash::from_bytes([7; 32])), store_tag, ..object.clone() }
}

async fn damage_is_named_and_never_gets_a_name(lab: &Lab, target: &dyn TestSource) {
    let stager = stager(lab, target).await;
    for object in
        objects(lab).await.iter().filter(|object| [1, 4096, 5_000_000].contains(&object.stored_bytes))
    {
        let progress = ProgressCounters::default();
        let error = stager.stage(&[damaged(object)], &directory(), &progress).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&object.source.key.to_string()), "{error}");
        assert_eq!((progress.snapshot().objects_done, progress.snapshot().bytes_done), (0, 0));
    }
    assert_eq!(target.files().await.keys().filter(|name| name.contains("_log/")).count(), 0);
    stager.remove(&directory()).await.unwrap();
    assert!(target.files().await.is_empty());
}

async fn lost_files_are_damage(lab: &Lab, target: &dyn TestSource) {
    let stager = stager(lab, target).await;
    let object = objects(lab).await.pop().unwrap();
    let gone = Location::Pack { pack_id: PackId::from_bytes([0xee; 16]), offset_bytes: 10 };
    let beyond = Location::Pack { pack_id: PackId::from_bytes([0xee; 16]), offset_bytes: u64::MAX - 1 };
    for location in [gone, beyond] {
        let lost = StoredObject { location, ..object.clone() };
        let error = stager.stage(&[lost], &directory(), &ProgressCounters::default()).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&object.source.key.to_string()), "{error}");
    }
}

async fn other_directories_are_refused(lab: &Lab, target: &dyn TestSource) {
    let mine = insert_key(9, 100, 9).to_string();
    target.put(&mine, b"Milvus's own").await;
    let stager = stager(lab, target).await;
    for other in ["insert_log", "", "milvault_restore", "milvault_restore/../insert_log", "/"] {
        let refused = stager.stage(&[], other, &ProgressCounters::default()).await;
        assert_eq!(refused.unwrap_err().kind(), PortErrorKind::InvalidInput, "{other}");
        let removed = stager.remove(other).await;
        assert_eq!(removed.unwrap_err().kind(), PortErrorKind::InvalidInput, "{other}");
    }
    assert_eq!(target.files().await.len(), 1);
}

async fn recorded_hashes_are_used(lab: &Lab, _: &dyn TestSource) {
    lab.verify(backup_id(1), VerifyLevel::Content).await;
    assert!(objects(lab).await.iter().all(|object| object.hash.is_some()));
}
