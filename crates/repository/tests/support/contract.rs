//! What every repository must do, whatever it lies on, written against the prose of the port.

use super::*;
use milvault_domain::backup::BackupScope;
use milvault_domain::object::{ContentHash, Location, SourceObject};
use milvault_domain::ports::READ_BYTES_MAX;
use milvault_domain::sweep::DataFile;

/// Declares the scenarios and what runs all of them: none can be forgotten.
macro_rules! scenarios {
    ($($(#[$doc:meta])* async fn $name:ident($lab:ident) $body:block)*) => {
        $($(#[$doc])* async fn $name($lab: &Lab) $body)*

        /// Runs every scenario, each on a lab of its own.
        pub(crate) async fn run(make_lab: impl AsyncFn() -> Lab) {
            $(
                eprintln!("scenario: {}", stringify!($name));
                let lab = make_lab().await;
                lab.fill().await;
                $name(&lab).await;
            )*
        }
    };
}

scenarios! {
    async fn a_backup_goes_in_and_every_byte_is_right(lab) {
        let made = lab.back_up(backup_id(1), &[]).await;
        assert_eq!(made.objects.len(), 17);
        assert_eq!(made.progress.percent(), 100);
        assert_eq!(made.progress.objects_done, 17);
        for level in [VerifyLevel::Existence, VerifyLevel::Structure, VerifyLevel::Content] {
            let report = lab.verify(backup_id(1), level).await;
            assert_eq!(report.failures, [], "{level:?}");
            assert_eq!(report.objects_checked, 17);
            let read = if level == VerifyLevel::Content { made.progress.bytes_total } else { 0 };
            assert_eq!(report.bytes_read, read);
        }
    }

    async fn the_index_knows_how_large_packs_are(lab) {
        let made = lab.back_up(backup_id(1), &[]).await;
        let files: HashSet<DataFile> = made.objects.iter().map(StoredObject::file).collect();
        let listed = lab.repository.existing_files(&files.into_iter().collect::<Vec<_>>()).await.unwrap();
        let sizes: BTreeMap<PackId, u64> = listed
            .into_iter()
            .filter_map(|listed| match listed.file {
                DataFile::Pack(pack_id) => Some((pack_id, listed.size_bytes)),
                DataFile::Object(_) => None,
            })
            .collect();
        let held = lab.repository.load_index(cluster_id(), &[backup_id(1)], &[], None).await.unwrap();
        assert_eq!(held.pack_sizes.into_iter().collect::<BTreeMap<_, _>>(), sizes);
        assert_eq!(held.index.len(), made.objects.len());
    }

    async fn backups_of_a_narrower_scope_do_not_hide_an_older_one(lab) {
        let made = lab.back_up(backup_id(1), &[]).await;
        let of = |number: u128, scope: BackupScope| ManifestHeader { scope, ..header(backup_id(number)) };
        let database = || BackupScope::Databases(vec![String::from("default")]);
        let narrower: Vec<BackupId> = (2..7).map(backup_id).collect();
        for number in 2..7 {
            lab.repository.seal(&of(number, database()), Vec::new()).await.unwrap();
        }
        let newest_first = |ids: &[BackupId]| {
            let mut ids: Vec<_> = [&[backup_id(1)], ids].concat();
            ids.reverse();
            ids
        };
        // One that settles nothing, so that it is looked for more.
        let current = |scope| {
            let mut current = of(20, scope);
            for segment in &mut current.cut.databases[0].collections[0].segments {
                segment.segment_id += 1_000;
            }
            current
        };
        let found = async |ids: &[BackupId], scope| {
            let ids = newest_first(ids);
            let held = lab.repository.load_index(cluster_id(), &ids, &[], Some(&current(scope))).await.unwrap();
            held.index.len()
        };
        assert_eq!(found(&narrower, BackupScope::Cluster).await, made.objects.len());
        assert_eq!(found(&narrower, database()).await, 0, "three of the same scope are enough");
        let wider: Vec<BackupId> = (7..10).map(backup_id).collect();
        for number in 7..10 {
            lab.repository.seal(&of(number, BackupScope::Cluster), Vec::new()).await.unwrap();
        }
        assert_eq!(found(&wider, BackupScope::Cluster).await, 0, "three of the cluster are enough");
    }

    async fn objects_come_back_by_collection_and_each_with_its_bytes(lab) {
        let made = lab.back_up(backup_id(1), &[]).await;
        let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
        let mut expected = made.objects;
        expected.sort_by_key(|object| object.source.key);
        assert_eq!(objects, expected);
        let here = HashSet::from([COLLECTION, 5]);
        assert_eq!(lab.repository.read_objects(backup_id(1), Some(&here)).await.unwrap(), expected);
        let elsewhere = HashSet::from([5]);
        assert_eq!(lab.repository.read_objects(backup_id(1), Some(&elsewhere)).await.unwrap(), []);
        let missing = lab.repository.read_objects(backup_id(3), None).await.unwrap_err();
        assert_eq!(missing.kind(), PortErrorKind::NotFound);

        let files = lab.source.files().await;
        for object in &objects {
            let bytes = lab.repository.read_object(object).await.unwrap();
            assert_eq!(Some(&bytes), files.get(&object.source.key.to_string()), "{}", object.source.key);
        }
    }

    async fn a_read_object_is_checked(lab) {
        lab.back_up(backup_id(1), &[]).await;
        let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
        let good = objects.iter().find(|object| object.stored_bytes == 4096).unwrap();
        let key = good.source.key.to_string();
        let failure = async |object: StoredObject| lab.repository.read_object(&object).await.unwrap_err();

        let other = Some(ContentHash::from_bytes([7; 32]));
        let error = failure(StoredObject { hash: other, ..good.clone() }).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&key), "{error}");

        let lost = Location::Pack { pack_id: PackId::from_bytes([0xee; 16]), offset_bytes: 0 };
        let error = failure(StoredObject { location: lost, ..good.clone() }).await;
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(&key), "{error}");

        let longer = |bytes: u64| {
            let source = SourceObject { size_bytes: bytes, ..good.source.clone() };
            StoredObject { stored_bytes: bytes, source, ..good.clone() }
        };
        let error = failure(longer(READ_BYTES_MAX + 1)).await;
        assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
        let error = failure(longer(READ_BYTES_MAX)).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        let error = failure(StoredObject { stored_bytes: 4095, ..good.clone() }).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
    }

    async fn source_files_are_read_whole(lab) {
        let source = lab.stores.open_source(&lab.source.config(), &SourceLayout::Milvus).await.unwrap();
        for (key, content) in lab.source.files().await {
            let key = BinlogKey::parse(&key).unwrap();
            assert_eq!(source.read_binlog(&key).await.unwrap(), content);
        }
        let gone = insert_key(SEGMENTS[0], 100, 4711);
        let error = source.read_binlog(&gone).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains(&gone.to_string()), "{error}");
    }

    async fn what_milvus_backup_copied_is_backed_up_under_milvus_keys(lab) {
        foreign::copies_keep_their_keys(lab).await;
    }

    async fn headers_come_back_and_backups_are_listed(lab) {
        assert_eq!(lab.repository.list_backups().await.unwrap(), []);
        lab.back_up(backup_id(2), &[]).await;
        lab.back_up(backup_id(1), &[]).await;
        assert_eq!(lab.repository.list_backups().await.unwrap(), [backup_id(1), backup_id(2)]);
        assert_eq!(lab.repository.read_header(backup_id(2)).await.unwrap(), header(backup_id(2)));
        let missing = lab.repository.read_header(backup_id(3)).await.unwrap_err();
        assert_eq!(missing.kind(), PortErrorKind::NotFound);
        assert!(missing.to_string().contains(&backup_id(3).to_string()), "{missing}");
        let missing = lab.repository.verify(backup_id(3), VerifyLevel::Existence, Arc::default()).await;
        assert_eq!(missing.unwrap_err().kind(), PortErrorKind::NotFound);
    }

    async fn a_second_backup_copies_only_what_is_new(lab) {
        let first = lab.back_up(backup_id(1), &[]).await;
        let unchanged = lab.back_up(backup_id(2), &[backup_id(1)]).await;
        assert_eq!((unchanged.plan.units.len(), unchanged.plan.reused.len()), (0, 17));
        assert_eq!(unchanged.progress.bytes_through_server, 0);
        assert_eq!(unchanged.progress.bytes_reused, first.progress.bytes_total);

        lab.source.put(&insert_key(SEGMENTS[1], 101, 99).to_string(), &content(99, 5000)).await;
        let third = lab.back_up(backup_id(3), &[backup_id(2), backup_id(1)]).await;
        assert_eq!((copied(&third.plan.units), third.plan.reused.len()), (1, 17));
        assert_eq!(third.progress.bytes_done - third.progress.bytes_reused, 5000);
        assert_eq!(lab.verify(backup_id(3), VerifyLevel::Content).await.failures, []);
    }

    async fn an_interrupted_backup_continues_without_copying_twice(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        let header = header(backup_id(1));
        assert_eq!(lab.repository.load_unfinished(backup_id(1)).await.unwrap(), None);
        lab.repository.save_unfinished(&header, &plan).await.unwrap();
        lab.repository.save_unfinished(&header, &plan).await.unwrap();
        let copier = lab.copier().await;
        let half = plan.units.len() / 2;
        for unit in &plan.units[..half] {
            copier.copy(unit, &ProgressCounters::default()).await.unwrap();
        }

        let saved = lab.repository.load_unfinished(backup_id(1)).await.unwrap().unwrap();
        assert_eq!((&saved.header, &saved.plan), (&header, &plan));
        let progress = ProgressCounters::default();
        progress.start(saved.plan.progress());
        let mut objects = Vec::new();
        for unit in &saved.plan.units {
            objects.extend(lab.copier().await.copy(unit, &progress).await.unwrap());
        }
        let progress = progress.snapshot();
        assert_eq!(progress.objects_reused, copied(&plan.units[..half]));
        assert_eq!((progress.percent(), progress.objects_done), (100, 17));
        lab.repository.seal(&header, objects).await.unwrap();
        assert_eq!(lab.repository.load_unfinished(backup_id(1)).await.unwrap(), None);
        assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);

        lab.repository.save_unfinished(&header, &plan).await.unwrap();
        for _ in 0..2 {
            lab.repository.remove_unfinished(backup_id(1)).await.unwrap();
            assert_eq!(lab.repository.load_unfinished(backup_id(1)).await.unwrap(), None);
        }
    }

    async fn what_a_failed_backup_copied_is_reused(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        lab.repository.save_unfinished(&header(backup_id(1)), &plan).await.unwrap();
        lab.copier().await.copy(&plan.units[0], &ProgressCounters::default()).await.unwrap();
        let index = lab.index(&[], &[backup_id(1)]).await;
        assert_eq!(index.len(), plan.units[0].objects().len());
        let next = lab.plan(&index).await;
        assert_eq!(next.reused.len(), index.len());
        let index = lab.index(&[], &[backup_id(1), backup_id(9)]).await;
        assert_eq!(index.len(), next.reused.len(), "a backup that never was is passed over");
    }

    async fn sealing_again_is_harmless_and_with_other_objects_refused(lab) {
        let mut objects = lab.back_up(backup_id(1), &[]).await.objects;
        objects.reverse();
        let again = lab.repository.seal(&header(backup_id(1)), objects.clone()).await.unwrap();
        assert!(0 < again.manifest_bytes);
        objects.pop();
        let other = lab.repository.seal(&header(backup_id(1)), objects).await.unwrap_err();
        assert_eq!(other.kind(), PortErrorKind::Conflict, "{other}");
        assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.objects_checked, 17);
    }

    async fn a_backup_whose_bytes_are_not_there_is_not_sealed(lab) {
        let mut objects = lab.back_up(backup_id(1), &[]).await.objects;
        let lost = PackId::from_bytes([0xee; 16]);
        objects[3].location = Location::Pack { pack_id: lost, offset_bytes: 0 };
        let error = lab.repository.seal(&header(backup_id(2)), objects).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert!(error.to_string().contains(&lost.to_string()), "{error}");
        assert!(error.to_string().contains("verify the backups that use it"), "{error}");
        assert_eq!(lab.repository.list_backups().await.unwrap(), [backup_id(1)]);
    }

    async fn a_source_file_that_is_gone_is_named(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        let key = insert_key(SEGMENTS[0], 100, 6).to_string();
        lab.source.remove(&key).await;
        let error = copy_all(lab, &plan).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains(&key), "{error}");
    }

    async fn a_source_file_that_changed_is_named(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        let key = insert_key(SEGMENTS[0], 100, 6).to_string();
        for size in [4_999_999, 5_000_001] {
            lab.source.put(&key, &content(6, size)).await;
            let error = copy_all(lab, &plan).await.unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::Changed, "{error}");
            assert!(error.to_string().contains(&key), "{error}");
        }
    }

    async fn failed_copies_take_back_what_they_counted(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        lab.source.remove(&delta_key(SEGMENTS[0], 50).to_string()).await;
        let last = plan.units.last().unwrap();
        let progress = ProgressCounters::default();
        lab.copier().await.copy(last, &progress).await.unwrap_err();
        assert_eq!((progress.snapshot().bytes_done, progress.snapshot().objects_done), (0, 0));
    }

    async fn hashes_of_objects_that_nobody_read_are_recorded_once(lab) {
        let plan = lab.plan(&ObjectIndex::new()).await;
        let progress = ProgressCounters::default();
        let copier = lab.copier().await;
        let mut objects = Vec::new();
        for unit in plan.units {
            let unit = CopyUnit::ServerSide { objects: unit.objects().to_vec() };
            objects.extend(copier.copy(&unit, &progress).await.unwrap());
        }
        assert_eq!(progress.snapshot().objects_done, 17);
        // As if the store had copied them, also where it cannot.
        for object in &mut objects {
            object.hash = None;
        }
        lab.repository.seal(&header(backup_id(1)), objects).await.unwrap();

        let first = lab.verify(backup_id(1), VerifyLevel::Content).await;
        assert_eq!((first.hashes_recorded, first.failures.as_slice()), (17, [].as_slice()));
        let second = lab.verify(backup_id(1), VerifyLevel::Content).await;
        assert_eq!((second.hashes_recorded, second.failures.as_slice()), (0, [].as_slice()));
        let next = lab.back_up(backup_id(2), &[backup_id(1)]).await;
        assert!(next.objects.iter().all(|object| object.hash.is_some()), "the next backup knows the hashes");
    }

    async fn two_backups_at_once_do_not_disturb_each_other(lab) {
        let (first, second) = tokio::join!(lab.back_up(backup_id(1), &[]), lab.back_up(backup_id(2), &[]));
        assert_eq!((first.objects.len(), second.objects.len()), (17, 17));
        for id in [backup_id(1), backup_id(2)] {
            assert_eq!(lab.verify(id, VerifyLevel::Content).await.failures, []);
        }
    }

    async fn another_clusters_objects_are_not_reused(lab) {
        lab.back_up(backup_id(1), &[]).await;
        let other = ClusterId::from_uuid(Uuid::from_u128(0xc2));
        let held = lab.repository.load_index(other, &[backup_id(1)], &[], None).await.unwrap();
        assert!(held.index.is_empty());
    }

    async fn a_check_finds_a_healthy_place_healthy(lab) {
        let findings = lab.repository.check().await;
        assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
        let source = lab.stores.open_source(&lab.source.config(), &SourceLayout::Milvus).await.unwrap();
        let findings = source.check().await;
        assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
    }

    async fn a_buried_backup_is_listed_no_more_and_goes_for_good(lab) {
        lifecycle::a_buried_backup_goes(lab).await;
    }

    async fn a_plan_that_is_left_says_what_it_refers_to(lab) {
        lifecycle::a_plan_is_left(lab).await;
    }

    async fn listings_hold_wanted_segments_only(lab) {
        for key in ["stats_log/1/2/3/100/4", "insert_log/x/y", "index_files/1/1/1/1/HNSW"] {
            lab.source.put(key, b"not a binlog").await;
        }
        let source = lab.stores.open_source(&lab.source.config(), &SourceLayout::Milvus).await.unwrap();
        let one = source.list_binlogs(COLLECTION, &HashSet::from([SEGMENTS[1]])).await.unwrap();
        assert_eq!(one.len(), 8);
        assert!(one.iter().all(|object| object.key.segment_id == SEGMENTS[1]));
        let both = source.list_binlogs(COLLECTION, &SEGMENTS.into_iter().collect()).await.unwrap();
        assert_eq!(both.len(), 17);
        let none = source.list_binlogs(12_345, &SEGMENTS.into_iter().collect()).await.unwrap();
        assert!(none.is_empty());
    }
}

async fn copy_all(lab: &Lab, plan: &CopyPlan) -> PortResult<()> {
    let copier = lab.copier().await;
    for unit in &plan.units {
        copier.copy(unit, &ProgressCounters::default()).await?;
    }
    Ok(())
}
