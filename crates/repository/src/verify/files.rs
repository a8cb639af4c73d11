//! Checking files that several backups share: each is read once.

use super::report::Findings;
use super::{
    Check, Concurrency, Failure, FileFindings, check_file, file_order, files, hashes,
    says_something_about_the_file, totals,
};
use crate::backups::open_manifest;
use crate::backups::survey::Survey;
use crate::copy::ByteLimit;
use crate::layout;
use crate::place::Place;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::checks::{BackupChecked, Damage, DamageKey, Damaged, FINDINGS_MAX, Share};
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::job::VerifyLevel;
use milvault_domain::manifest::Item;
use milvault_domain::object::{ContentHash, Location, ObjectId, PackId, StoredObject};
use milvault_domain::ports::{CheckOrder, CheckReport, VerifyFailure};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::sweep::DataFile;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What an order is about, put together from the manifests.
#[derive(Default)]
struct Wanted {
    objects: Vec<StoredObject>,
    positions: HashMap<(ObjectId, DataFile), usize>,
    pack_sizes: HashMap<PackId, u64>,
    backups: BTreeMap<BackupId, BackupChecked>,
    /// Backups whose manifests, or the hashes beside them, cannot be read, with the file and the reason.
    unreadable: BTreeMap<BackupId, VerifyFailure>,
}

/// Carries an order out. What is wrong goes into the report.
///
/// # Errors
/// Errors of the store that say nothing about the files.
pub(crate) async fn check(
    place: Arc<dyn Place>,
    order: &CheckOrder,
    progress: Arc<ProgressCounters>,
    Concurrency(at_once): Concurrency,
) -> PortResult<CheckReport> {
    let mut wanted = Wanted::default();
    for backup_id in &order.backups {
        wanted.add(place.as_ref(), *backup_id, order.share).await?;
    }
    let Wanted { mut objects, positions, pack_sizes, backups, unreadable } = wanted;
    let looked_at: HashSet<(ObjectId, DataFile)> = positions.into_keys().collect();
    objects.sort_unstable_by_key(file_order);
    progress.start(totals(&objects));
    let survey = Survey::of(place.as_ref(), &objects).await?;
    let ranges = files(&objects);
    let limit = order.max_bytes_per_second.map(ByteLimit::new);
    let check = Arc::new(Check {
        place: Arc::clone(&place),
        level: order.level,
        objects,
        pack_sizes,
        survey,
        progress,
        limit,
    });
    let mut checked = stream::iter(ranges)
        .map(|file| {
            let check = Arc::clone(&check);
            async move {
                let data_file = check.objects.get(file.start).map(StoredObject::file);
                Ok((data_file, check_file(&check, file).await?))
            }
        })
        .buffer_unordered(at_once);
    let mut findings = Findings::default();
    let mut found = Found { level: order.level, damage: Vec::new() };
    let mut recorded = HashMap::new();
    while let Some((file, file_findings)) = checked.try_next().await? {
        if let Some(file) = file {
            found.add(file, &file_findings);
        }
        recorded.extend(findings.add(file_findings));
    }
    drop(checked);
    for failure in unreadable.values() {
        findings.fail(&failure.file, None, failure.reason.clone());
    }
    let found = found.damage;
    let sound = sound(order, &found, &looked_at);
    let known = still_known(order, &found, &sound);
    let backups = conclude(place.as_ref(), backups, unreadable, &known, &recorded).await?;
    Ok(CheckReport { report: findings.into_report(), found, sound, backups })
}

impl Wanted {
    async fn add(&mut self, place: &dyn Place, backup_id: BackupId, share: Share) -> PortResult<()> {
        let mut unhashed = Vec::new();
        let checked = match self.add_manifest(place, backup_id, share, &mut unhashed).await {
            Ok(checked) => checked,
            Err(error) if says_something_about_the_file(&error) => {
                self.cannot_read(backup_id, layout::manifest(backup_id), error.to_string());
                return Ok(());
            }
            Err(error) if error.kind() == PortErrorKind::Unsupported => {
                self.cannot_read(backup_id, layout::manifest(backup_id), error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.backups.insert(backup_id, checked);
        if unhashed.is_empty() {
            return Ok(());
        }
        match hashes::load(place, backup_id).await {
            Ok(recorded) => {
                for position in unhashed {
                    if let Some(object) = self.objects.get_mut(position)
                        && object.hash.is_none()
                    {
                        object.hash = recorded.get(&object.id).copied();
                    }
                }
                Ok(())
            }
            Err(error) if says_something_about_the_file(&error) => {
                let file = layout::backup_file(backup_id, layout::HASHES_PREFIX);
                self.cannot_read(backup_id, file, error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn cannot_read(&mut self, backup_id: BackupId, file: String, reason: String) {
        self.backups.entry(backup_id).or_default();
        self.unreadable.insert(backup_id, VerifyFailure { file, key: None, reason });
    }

    async fn add_manifest(
        &mut self,
        place: &dyn Place,
        backup_id: BackupId,
        share: Share,
        unhashed: &mut Vec<usize>,
    ) -> PortResult<BackupChecked> {
        let (_, mut reader) = open_manifest(place, backup_id).await?;
        let mut checked = BackupChecked { whole: true, ..BackupChecked::default() };
        while let Some(item) = reader.next().await? {
            match item {
                Item::Objects(objects) => {
                    for object in objects {
                        if share.contains(object.file()) {
                            checked.objects += 1;
                            self.add_object(object, unhashed);
                        } else {
                            checked.whole = false;
                        }
                    }
                }
                Item::Packs(packs) => {
                    let packs = packs.into_iter().filter(|pack| share.contains(DataFile::Pack(pack.pack_id)));
                    self.pack_sizes.extend(packs.map(|pack| (pack.pack_id, pack.size_bytes)));
                }
                Item::End(_) => {}
                other => return Err(reader.refuse(&other)),
            }
        }
        Ok(checked)
    }

    fn add_object(&mut self, object: StoredObject, unhashed: &mut Vec<usize>) {
        let next = self.objects.len();
        let mut position = *self.positions.entry((object.id, object.file())).or_insert(next);
        // What two manifests do not agree about is held against the file twice: one of them is wrong.
        if self.objects.get(position).is_some_and(|known| !agree(known, &object)) {
            position = next;
        }
        if object.hash.is_none() {
            unhashed.push(position);
        }
        match self.objects.get_mut(position) {
            Some(known) => known.hash = known.hash.or(object.hash),
            None => self.objects.push(object),
        }
    }
}

/// Whether two manifests state the same about an object's copy. A hash or a tag that only one of them has is no
/// contradiction.
fn agree(known: &StoredObject, other: &StoredObject) -> bool {
    let same_hash = known.hash.is_none() || other.hash.is_none() || known.hash == other.hash;
    let same_tag =
        known.store_tag.is_none() || other.store_tag.is_none() || known.store_tag == other.store_tag;
    let place = |object: &StoredObject| (object.location, object.stored_bytes, object.source.size_bytes);
    same_hash && same_tag && place(known) == place(other)
}

/// Damage in the making.
struct Found {
    level: VerifyLevel,
    damage: Vec<Damage>,
}

impl Found {
    fn add(&mut self, file: DataFile, findings: &FileFindings) {
        let is_object = matches!(file, DataFile::Object(_));
        let whole = findings.failures.iter().find(|failure| is_object || failure.object.is_none());
        if let Some(failure) = whole {
            self.push(file, None, failure, failure.reason.clone());
            return;
        }
        // One object may be named for more than one reason.
        let mut by_object: BTreeMap<ObjectId, &Failure> = BTreeMap::new();
        for failure in &findings.failures {
            if let Some(object) = failure.object {
                by_object.entry(object).or_insert(failure);
            }
        }
        let room = CheckReport::DAMAGE_MAX.saturating_sub(self.damage.len());
        if let Some(first) = by_object.values().next().filter(|_| room < by_object.len()) {
            let reason =
                format!("{} objects in it are damaged; the first: {}", by_object.len(), first.reason);
            self.push(file, None, first, reason);
            return;
        }
        for (object, failure) in by_object {
            self.push(file, Some(object), failure, failure.reason.clone());
        }
    }

    fn push(&mut self, file: DataFile, object: Option<ObjectId>, failure: &Failure, reason: String) {
        let key = DamageKey { file, object };
        let source_key = failure.source_key.clone();
        self.damage.push(Damage { key, source_key, reason, level: self.level });
    }
}

/// Known damage that was looked for as thoroughly as it was found, and not found again.
fn sound(order: &CheckOrder, found: &[Damage], looked_at: &HashSet<(ObjectId, DataFile)>) -> Vec<DamageKey> {
    let found: HashSet<DamageKey> = found.iter().map(|damage| damage.key).collect();
    let found_whole = |file| found.contains(&DamageKey { file, object: None });
    let files: HashSet<DataFile> = looked_at.iter().map(|(_, file)| *file).collect();
    let is_sound = |damage: &&Damage| {
        let DamageKey { file, object } = damage.key;
        let looked = match object {
            Some(object) => looked_at.contains(&(object, file)),
            None => files.contains(&file),
        };
        let unneeded = order.all_backups && !looked && order.share.contains(file);
        let again = found.contains(&damage.key) || found_whole(file);
        unneeded || (looked && !again && damage.level <= order.level)
    };
    order.known.iter().filter(is_sound).map(|damage| damage.key).collect()
}

/// What is damaged after the check.
fn still_known(order: &CheckOrder, found: &[Damage], sound: &[DamageKey]) -> Damaged {
    let sound: HashSet<&DamageKey> = sound.iter().collect();
    order.known.iter().filter(|damage| !sound.contains(&damage.key)).chain(found).collect()
}

/// Looks which backups the damage is about, and records new hashes beside their manifests. Reads the manifests once
/// more, but only when there is something to look for: their objects together would not fit into memory.
async fn conclude(
    place: &dyn Place,
    mut backups: BTreeMap<BackupId, BackupChecked>,
    mut unreadable: BTreeMap<BackupId, VerifyFailure>,
    damaged: &Damaged,
    recorded: &HashMap<ObjectId, ContentHash>,
) -> PortResult<Vec<(BackupId, BackupChecked)>> {
    for (backup_id, checked) in &mut backups {
        if let Some(failure) = unreadable.remove(backup_id) {
            checked.damaged_count += 1;
            checked.findings.push(failure);
        } else if !damaged.is_empty() || !recorded.is_empty() {
            let new_hashes = look_through(place, *backup_id, damaged, recorded, checked).await?;
            record(place, *backup_id, new_hashes).await?;
        }
    }
    Ok(backups.into_iter().collect())
}

async fn look_through(
    place: &dyn Place,
    backup_id: BackupId,
    damaged: &Damaged,
    recorded: &HashMap<ObjectId, ContentHash>,
    checked: &mut BackupChecked,
) -> PortResult<Vec<(ObjectId, ContentHash)>> {
    let mut new_hashes = Vec::new();
    let (_, mut reader) = match open_manifest(place, backup_id).await {
        // Deleted and swept meanwhile.
        Err(error) if error.kind() == PortErrorKind::NotFound => return Ok(new_hashes),
        opened => opened?,
    };
    while let Some(item) = reader.next().await? {
        let Item::Objects(objects) = item else { continue };
        for object in objects {
            if let Some(reason) = damaged.reason(object.id, object.location) {
                checked.damaged_count += 1;
                if checked.findings.len() < FINDINGS_MAX {
                    checked.findings.push(VerifyFailure {
                        file: layout::file_of(&object),
                        key: Some(object.source.key.to_string()),
                        reason: reason.to_owned(),
                    });
                }
            }
            if object.hash.is_none() && matches!(object.location, Location::Object) {
                new_hashes.extend(recorded.get(&object.id).map(|hash| (object.id, *hash)));
            }
        }
    }
    Ok(new_hashes)
}

/// Records hashes that are not recorded there yet.
async fn record(
    place: &dyn Place,
    backup_id: BackupId,
    mut new_hashes: Vec<(ObjectId, ContentHash)>,
) -> PortResult<()> {
    if new_hashes.is_empty() {
        return Ok(());
    }
    let known = hashes::load(place, backup_id).await?;
    new_hashes.retain(|(id, _)| !known.contains_key(id));
    hashes::record(place, backup_id, new_hashes).await
}
