//! What every copy from one repository to another must do, wherever the two lie.

use super::*;
use milvault_domain::backup::CopyOrigin;
use milvault_domain::object::Location;
use milvault_domain::plan::{CopyRoute, plan_transfer};

/// A repository that backups are copied to.
pub(crate) struct Target {
    pub(crate) repository: Arc<dyn BackupRepository>,
    /// Kept while it is in use.
    pub(crate) directory: Option<tempfile::TempDir>,
}

/// One on the local disk.
pub(crate) async fn local_target() -> Target {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("second");
    let capabilities = stores().create_repository(repository_id(2), &local(&root)).await.unwrap();
    let repository = stores().open_repository(repository_id(2), &local(&root), capabilities).await.unwrap();
    Target { repository, directory: Some(directory) }
}

/// What a copy did.
pub(crate) struct Copied {
    pub(crate) route: CopyRoute,
    pub(crate) plan: CopyPlan,
    pub(crate) objects: Vec<StoredObject>,
    pub(crate) progress: Progress,
}

/// The header of a copy.
pub(crate) fn copy_header(id: BackupId, of: BackupId) -> ManifestHeader {
    let origin = CopyOrigin { backup_id: of, repository_id: repository_id(1) };
    ManifestHeader { copied_from: Some(origin), ..header(id) }
}

impl Lab {
    /// The way of a copy of a backup, and its plan.
    pub(crate) async fn plan_of_copy(
        &self,
        to: &Target,
        of: BackupId,
        known: &[BackupId],
    ) -> PortResult<(Arc<dyn Copier>, CopyPlan)> {
        let objects = self.repository.read_objects(of, None).await?;
        let (from, into) = (Arc::clone(&self.repository), Arc::clone(&to.repository));
        let copier = self.stores.open_backup_copier(from, &objects, into, None).await?;
        let index = to.repository.load_index(cluster_id(), known, &[], None).await?.index;
        let plan = plan_transfer(objects, &index, copier.route());
        Ok((copier, plan))
    }

    /// A whole copy of a backup, given earlier backups of the other repository.
    pub(crate) async fn copy_to(
        &self,
        to: &Target,
        id: BackupId,
        of: BackupId,
        known: &[BackupId],
    ) -> PortResult<Copied> {
        let (copier, plan) = self.plan_of_copy(to, of, known).await?;
        let header = copy_header(id, of);
        to.repository.save_unfinished(&header, &plan).await?;
        let progress = ProgressCounters::default();
        progress.start(plan.progress());
        let mut objects = plan.reused.clone();
        for unit in &plan.units {
            objects.extend(copier.copy(unit, &progress).await?);
        }
        to.repository.seal(&header, objects.clone()).await?;
        Ok(Copied { route: copier.route(), plan, objects, progress: progress.snapshot() })
    }
}

/// Runs everything that holds for any two repositories.
pub(crate) async fn run(make_lab: impl AsyncFn() -> Lab, make_target: impl AsyncFn() -> Target) {
    a_copy_has_every_byte_and_outlives_the_first(&make_lab().await, &make_target().await).await;
    what_is_there_is_not_copied_again(&make_lab().await, &make_target().await).await;
    a_copy_that_was_cut_off_goes_on(&make_lab().await, &make_target().await).await;
}

async fn a_copy_has_every_byte_and_outlives_the_first(lab: &Lab, to: &Target) {
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    let copied = lab.copy_to(to, backup_id(2), backup_id(1), &[]).await.unwrap();
    let progress = copied.progress;
    assert_eq!((progress.objects_done, progress.objects_reused, progress.percent()), (17, 0, 100));
    assert_eq!(progress.bytes_total, made.progress.bytes_total);
    let read = to.repository.read_header(backup_id(2)).await.unwrap();
    assert_eq!(read, copy_header(backup_id(2), backup_id(1)));
    assert_eq!(to.repository.load_unfinished(backup_id(2)).await.unwrap(), None);

    // Whole packs are the same packs, and what the store did not copy has its hash.
    for (original, copy) in sorted(made.objects).iter().zip(&sorted(copied.objects)) {
        assert_eq!((original.id, &original.source), (copy.id, &copy.source));
        if let Location::Pack { .. } = original.location {
            assert_eq!(original.location, copy.location);
        }
        if copied.route == CopyRoute::Packs {
            assert!(copy.hash.is_some());
            assert!(matches!(copy.location, Location::Pack { .. }));
        }
        assert!(original.hash.is_none() || original.hash == copy.hash);
    }
    let expected_through = if copied.route == CopyRoute::Packs { progress.bytes_total } else { 0 };
    assert_eq!(progress.bytes_through_server, expected_through);

    lab.repository.remove_backup(backup_id(1)).await.unwrap();
    for file in lab.repository.existing_files(&files_of(&made.plan)).await.unwrap() {
        lab.repository.remove_file(file.file).await.unwrap();
    }
    let report = to.repository.verify(backup_id(2), VerifyLevel::Content, Arc::default()).await.unwrap();
    assert_eq!((report.failures.as_slice(), report.objects_checked), ([].as_slice(), 17));
    let files = lab.source.files().await;
    for object in to.repository.read_objects(backup_id(2), None).await.unwrap() {
        let bytes = to.repository.read_object(&object).await.unwrap();
        assert_eq!(Some(&bytes), files.get(&object.source.key.to_string()), "{}", object.source.key);
    }
}

/// Files that a backup's plan makes.
fn files_of(plan: &CopyPlan) -> Vec<milvault_domain::sweep::DataFile> {
    let mut references = milvault_domain::sweep::References::default();
    references.add_plan(plan);
    references.iter().collect()
}

fn sorted(mut objects: Vec<StoredObject>) -> Vec<StoredObject> {
    objects.sort_unstable_by_key(|object| object.source.key);
    objects
}

async fn what_is_there_is_not_copied_again(lab: &Lab, to: &Target) {
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    lab.copy_to(to, backup_id(11), backup_id(1), &[]).await.unwrap();
    lab.source.put(&insert_key(SEGMENTS[1], 101, 99).to_string(), &content(99, 1000)).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let second = lab.copy_to(to, backup_id(12), backup_id(2), &[backup_id(11)]).await.unwrap();
    assert_eq!((second.plan.reused.len(), second.progress.objects_done), (17, 18));
    assert_eq!(second.progress.bytes_done - second.progress.bytes_reused, 1000);
    // Without an index everything is planned, and whole packs and objects are found by their names.
    let again = lab.copy_to(to, backup_id(13), backup_id(1), &[]).await.unwrap();
    assert_eq!((again.plan.reused.len(), again.progress.objects_reused), (0, 17));
    assert_eq!(again.progress.bytes_through_server, 0);
    for id in [11, 12, 13] {
        let report = to.repository.verify(backup_id(id), VerifyLevel::Content, Arc::default()).await.unwrap();
        assert_eq!(report.failures, [], "{id}");
    }
}

async fn a_copy_that_was_cut_off_goes_on(lab: &Lab, to: &Target) {
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    let (copier, plan) = lab.plan_of_copy(to, backup_id(1), &[]).await.unwrap();
    let plan = split(plan);
    assert!(1 < plan.units.len());
    to.repository.save_unfinished(&copy_header(backup_id(2), backup_id(1)), &plan).await.unwrap();
    copier.copy(&plan.units[0], &ProgressCounters::default()).await.unwrap();

    let saved = to.repository.load_unfinished(backup_id(2)).await.unwrap().unwrap();
    assert_eq!(saved.plan, plan);
    let (copier, _) = lab.plan_of_copy(to, backup_id(1), &[]).await.unwrap();
    let progress = ProgressCounters::default();
    progress.start(plan.progress());
    let mut objects = Vec::new();
    for unit in &saved.plan.units {
        objects.extend(copier.copy(unit, &progress).await.unwrap());
    }
    assert_eq!(progress.snapshot().objects_reused, plan.units[0].objects().len() as u64);
    to.repository.seal(&saved.header, objects).await.unwrap();
    let report = to.repository.verify(backup_id(2), VerifyLevel::Content, Arc::default()).await.unwrap();
    assert_eq!((report.failures.as_slice(), report.objects_checked), ([].as_slice(), 17));
}
