//! Which of the files that a backup needs are there, and how long they are.

use crate::layout;
use crate::place::{FileFacts, Place};
use futures::TryStreamExt;
use milvault_domain::error::PortResult;
use milvault_domain::object::{Location, ObjectId, PackId, StoredObject};
use milvault_domain::sweep::DataFile;
use std::collections::HashMap;
use std::hash::Hash;

/// From so many files on, one listing (a thousand names per request) is cheaper than a request for each.
const LISTING_PAYS_FROM: usize = 1000;

/// Size and tag of the files that exist.
#[derive(Default)]
pub(crate) struct Survey {
    /// Packs.
    pub(crate) packs: HashMap<PackId, u64>,
    /// Objects with a file of their own: size and entity tag.
    pub(crate) objects: HashMap<ObjectId, (u64, Option<Box<str>>)>,
}

impl Survey {
    /// Looks for the files that these objects lie in.
    pub(crate) async fn of(place: &dyn Place, objects: &[StoredObject]) -> PortResult<Self> {
        let mut wanted = Wanted::default();
        let mut last_pack = None;
        for object in objects {
            match object.location {
                // Neighbours mostly lie in one pack.
                Location::Pack { pack_id, .. } if last_pack == Some(pack_id) => {}
                Location::Pack { pack_id, .. } => {
                    wanted.packs.insert(pack_id, None);
                    last_pack = Some(pack_id);
                }
                Location::Object => {
                    wanted.objects.insert(object.id, None);
                }
            }
        }
        wanted.survey(place).await
    }

    /// Looks for files by their names.
    pub(crate) async fn of_files(place: &dyn Place, files: &[DataFile]) -> PortResult<Self> {
        let mut wanted = Wanted::default();
        for file in files {
            match file {
                DataFile::Pack(id) => wanted.packs.insert(*id, None),
                DataFile::Object(id) => wanted.objects.insert(*id, None),
            };
        }
        wanted.survey(place).await
    }

    /// Looks for objects with a file of their own.
    pub(crate) async fn of_objects(
        place: &dyn Place,
        ids: impl IntoIterator<Item = ObjectId>,
    ) -> PortResult<Self> {
        let objects = ids.into_iter().map(|id| (id, None)).collect();
        Wanted { objects, ..Wanted::default() }.survey(place).await
    }
}

/// Sizes of packs for objects that are asked about in their order: neighbours mostly lie in one pack.
pub(crate) struct PackSizesInOrder<'a> {
    survey: &'a Survey,
    last: Option<(PackId, Option<u64>)>,
}

impl<'a> PackSizesInOrder<'a> {
    /// Of the packs that exist.
    pub(crate) const fn of(survey: &'a Survey) -> Self {
        Self { survey, last: None }
    }

    /// Size of a pack, if it exists.
    pub(crate) fn size(&mut self, pack_id: PackId) -> Option<u64> {
        match self.last {
            Some((last, size)) if last == pack_id => size,
            _ => {
                let size = self.survey.packs.get(&pack_id).copied();
                self.last = Some((pack_id, size));
                size
            }
        }
    }
}

#[derive(Default)]
struct Wanted {
    packs: HashMap<PackId, Option<FileFacts>>,
    objects: HashMap<ObjectId, Option<FileFacts>>,
}

impl Wanted {
    async fn survey(mut self, place: &dyn Place) -> PortResult<Survey> {
        look(place, &mut self.packs, layout::PACKS, layout::pack, PackId::from_hex).await?;
        look(place, &mut self.objects, layout::OBJECTS, layout::object, ObjectId::from_hex).await?;
        let packs = self.packs.into_iter().filter_map(|(id, facts)| Some((id, facts?.size_bytes)));
        let objects = self.objects.into_iter().filter_map(|(id, facts)| {
            let facts = facts?;
            Some((id, (facts.size_bytes, facts.tag)))
        });
        Ok(Survey { packs: packs.collect(), objects: objects.collect() })
    }
}

async fn look<Id: Copy + Eq + Hash>(
    place: &dyn Place,
    wanted: &mut HashMap<Id, Option<FileFacts>>,
    directory: &str,
    path_of: fn(Id) -> String,
    id_of: fn(&str) -> Option<Id>,
) -> PortResult<()> {
    if LISTING_PAYS_FROM <= wanted.len() {
        let mut files = place.list(directory);
        while let Some(file) = files.try_next().await? {
            // A file of that name elsewhere is not the one that the manifest means.
            let id = file.path.rsplit('/').next().and_then(id_of).filter(|id| path_of(*id) == file.path);
            if let Some(slot) = id.and_then(|id| wanted.get_mut(&id)) {
                *slot = Some(file.facts);
            }
        }
        return Ok(());
    }
    let ids: Vec<Id> = wanted.keys().copied().collect();
    let found = place.facts_of(ids.iter().map(|id| path_of(*id)).collect()).await?;
    wanted.extend(ids.into_iter().zip(found));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::place::{LocalPlace, Overwrite};
    use bytes::Bytes;

    #[tokio::test]
    async fn a_file_of_the_right_name_in_the_wrong_directory_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let place = LocalPlace::new(root.path());
        let files: Vec<DataFile> = (0..u32::try_from(LISTING_PAYS_FROM).unwrap())
            .map(|number| {
                let mut bytes = [0xab; 16];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                DataFile::Pack(PackId::from_bytes(bytes))
            })
            .collect();
        let [DataFile::Pack(right), DataFile::Pack(wrong), ..] = files[..] else { unreachable!() };
        place.create(&layout::pack(right), Bytes::from_static(b"x"), Overwrite::Never).await.unwrap();
        for elsewhere in
            [format!("packs/ff/{wrong}"), format!("packs/{wrong}"), format!("packs/00/old/{wrong}")]
        {
            place.create(&elsewhere, Bytes::from_static(b"x"), Overwrite::Never).await.unwrap();
        }
        let survey = Survey::of_files(&place, &files).await.unwrap();
        assert_eq!(survey.packs, HashMap::from([(right, 1)]));
    }
}
