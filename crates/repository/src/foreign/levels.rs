//! The level files of milvus-backup, put together to one description.
//!
//! Versions before July 2023 wrote nothing else; later ones write them beside `full_meta.json`. Up to Milvus 2.3 they say
//! the same as that. From 2.4 on they leave out what was new then: segments of deletes of all partitions, and users.

use super::meta::{BackupMeta, CollectionMeta, PartitionMeta, SegmentMeta};
use std::collections::HashMap;

/// All that a backup has of each kind, without what it consists of.
pub(super) struct Levels {
    pub(super) backup: BackupMeta,
    pub(super) collections: Vec<CollectionMeta>,
    pub(super) partitions: Vec<PartitionMeta>,
    pub(super) segments: Vec<SegmentMeta>,
}

impl Levels {
    /// The description as `full_meta.json` has it.
    ///
    /// # Errors
    /// What belongs to nothing, in words.
    pub(super) fn join(self) -> Result<BackupMeta, String> {
        let Self { mut backup, mut collections, partitions, segments } = self;
        let mut by_partition: HashMap<(i64, i64), Vec<SegmentMeta>> = HashMap::new();
        for segment in segments {
            by_partition.entry((segment.collection_id, segment.partition_id)).or_default().push(segment);
        }
        let mut by_collection: HashMap<i64, Vec<PartitionMeta>> = HashMap::new();
        for mut partition in partitions {
            let key = (partition.collection_id, partition.partition_id);
            partition.segment_backups = by_partition.remove(&key).unwrap_or_default();
            by_collection.entry(partition.collection_id).or_default().push(partition);
        }
        for collection in &mut collections {
            // Some versions repeat partitions there; their own reader takes those of the partitions' file as well.
            collection.partition_backups =
                by_collection.remove(&collection.collection_id).unwrap_or_default();
        }
        if let Some((collection_id, partition_id)) = by_partition.keys().min() {
            return Err(format!(
                "`segment_meta.json` has segments of partition {partition_id} of collection {collection_id}, which is \
                 not in `partition_meta.json`"
            ));
        }
        if let Some(collection_id) = by_collection.keys().min() {
            return Err(format!(
                "`partition_meta.json` has partitions of collection {collection_id}, which is not in \
                 `collection_meta.json`"
            ));
        }
        backup.collection_backups = collections;
        Ok(backup)
    }
}
