#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::backup::{BackupScope, CollectionName, CopyOrigin, CreationMethod, ManifestHeader};
use crate::binlog::{BinlogKey, BinlogKind};
use crate::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use crate::milvus::*;
use crate::object::{
    ContentHash, Encoding, Fingerprint, Location, ObjectId, PackId, SourceObject, StoredObject,
};
use crate::plan::{CopyUnit, PlannedObject};
use proptest::prelude::*;
use uuid::Uuid;

const MANIFEST_V1: &[u8] = include_bytes!("../../tests/fixtures/v1/manifest");
const PLAN_V1: &[u8] = include_bytes!("../../tests/fixtures/v1/unfinished");
const HASHES_V1: &[u8] = include_bytes!("../../tests/fixtures/v1/hashes");
const PACK_TAIL_V1: &[u8] = include_bytes!("../../tests/fixtures/v1/pack-tail");
/// BLAKE3 of each: whoever replaces one has to say so here too.
const FIXTURES_V1: [(&[u8], &str); 4] = [
    (MANIFEST_V1, "d9c6582e77ade689724d7345028bd88c435ff8dec2a4f24b168bb1f5741a774b"),
    (PLAN_V1, "e98c81135e0c8d0f0d454c35c59372dec78b16c8fb7d909a4f3063347586c92e"),
    (HASHES_V1, "7e502e849ee574434c66e2313e02806937b0092144adb977d3d8b34883906c43"),
    (PACK_TAIL_V1, "f913871a6cf00cc2cc21e9607d647d8c361919c013d3de20336708c36ac0dff6"),
];
const FROZEN: &str = "version 1 of the format is frozen: add a version 2 and convert upward";

fn text(text: &str) -> String {
    text.to_owned()
}

fn property(key: &str, value: &str) -> Property {
    Property { key: text(key), value: text(value) }
}

/// A header in which no field has the value that an absent field would have.
fn header() -> ManifestHeader {
    ManifestHeader {
        backup_id: BackupId::from_uuid(Uuid::from_u128(1)),
        cluster_id: ClusterId::from_uuid(Uuid::from_u128(2)),
        cluster_name: text("production"),
        project_id: ProjectId::from_uuid(Uuid::from_u128(3)),
        name: text("before the upgrade"),
        description: text("by hand"),
        scope: BackupScope::Collections(vec![CollectionName {
            database: text("default"),
            collection: text("articles"),
        }]),
        creation_method: CreationMethod::Auto,
        created_by: text("owner"),
        created_at_ms: 1_700_000_000_123,
        expires_at_ms: Some(1_700_600_000_123),
        source_url: text("file:///var/lib/milvus"),
        copied_from: Some(CopyOrigin {
            backup_id: BackupId::from_uuid(Uuid::from_u128(4)),
            repository_id: RepositoryId::from_uuid(Uuid::from_u128(5)),
        }),
        cut: cut(),
    }
}

fn cut() -> Cut {
    Cut {
        cut_at_ms: 1_700_000_000_456,
        server: ServerInfo {
            version: text("v2.3.5"),
            capabilities: Capabilities {
                verified: true,
                databases: true,
                gc_pause: false,
                l0_segments: false,
                import_end_timestamp: TimestampUnit::Hybrid,
            },
        },
        databases: vec![
            DatabaseCut { name: text("default"), properties: vec![], collections: vec![collection()] },
            DatabaseCut { name: text("empty"), properties: vec![property("a", "b")], collections: vec![] },
        ],
        access_control: Some(AccessControl {
            users: vec![text("root")],
            roles: vec![RoleDescription { name: text("admin"), users: vec![text("root")] }],
            grants: vec![Grant {
                role: text("reader"),
                object_type: text("Collection"),
                object_name: text("*"),
                database: text("default"),
                privilege: text("Search"),
                grantor: text("root"),
            }],
        }),
    }
}

fn collection() -> CollectionCut {
    CollectionCut {
        collection_id: 449_000_000_000_000_001,
        name: text("articles"),
        description: text("what was written"),
        shard_count: 2,
        consistency_level: 2,
        schema_proto: vec![10, 3, 65, 66, 67],
        fields: vec![FieldDescription {
            field_id: 100,
            name: text("id"),
            description: text("key"),
            data_type: text("Int64"),
            element_type: text("None"),
            type_params: vec![property("dim", "128")],
            flags: FieldFlags {
                primary_key: true,
                auto_id: false,
                partition_key: true,
                dynamic: false,
                nullable: true,
            },
        }],
        dynamic_field: true,
        properties: vec![property("collection.ttl.seconds", "60")],
        partitions: vec![PartitionDescription { partition_id: 7, name: text("_default") }],
        indexes: vec![IndexDescription {
            name: text("vectors"),
            field_name: text("embedding"),
            params: vec![property("index_type", "HNSW")],
        }],
        aliases: vec![text("texts")],
        load_state: LoadState::Loaded,
        replica_count: 1,
        segments: vec![SegmentCut { segment_id: 9, partition_id: 7, row_count: 1000 }],
    }
}

fn source(log_id: i64) -> SourceObject {
    let delta = log_id % 2 == 0;
    SourceObject {
        key: BinlogKey {
            kind: if delta { BinlogKind::Delta } else { BinlogKind::Insert },
            collection_id: 449_000_000_000_000_001,
            partition_id: -1,
            segment_id: 9,
            field_id: if delta { 0 } else { 100 },
            log_id,
        },
        size_bytes: 1000 + log_id.unsigned_abs(),
        fingerprint: if delta {
            Fingerprint::ModifiedAtNanos(1_700_000_000_000_000_001)
        } else {
            Fingerprint::ETag("0123456789abcdef".into())
        },
    }
}

fn stored(log_id: i64) -> StoredObject {
    let source = source(log_id);
    let packed = log_id % 2 == 0;
    StoredObject {
        id: ObjectId::derive(header().cluster_id, &source),
        stored_bytes: source.size_bytes,
        source,
        location: if packed {
            Location::Pack { pack_id: PackId::from_bytes([8; 16]), offset_bytes: 77 }
        } else {
            Location::Object
        },
        encoding: Encoding::Raw,
        hash: packed.then_some(ContentHash::from_bytes([9; 32])),
        store_tag: (!packed).then(|| "tag-1".into()),
    }
}

fn encode_manifest(objects: &[StoredObject]) -> Vec<u8> {
    let mut encoder = Encoder::new(FileKind::Manifest);
    encoder.header(&header()).unwrap();
    encoder.packs(&[PackSize { pack_id: PackId::from_bytes([8; 16]), size_bytes: 4000 }]).unwrap();
    for objects in objects.chunks(2) {
        encoder.objects(objects).unwrap();
    }
    let mut bytes = encoder.take();
    bytes.extend(encoder.finish().unwrap().rest);
    bytes
}

fn plan_items() -> Vec<CopyUnit> {
    let planned = |log_id| {
        let source = source(log_id);
        PlannedObject { id: ObjectId::derive(header().cluster_id, &source), source }
    };
    vec![
        CopyUnit::Pack { pack_id: PackId::from_bytes([5; 16]), objects: vec![planned(11), planned(12)] },
        CopyUnit::ServerSide { objects: vec![planned(13)] },
    ]
}

fn encode_plan() -> Vec<u8> {
    let mut encoder = Encoder::new(FileKind::Plan);
    encoder.header(&header()).unwrap();
    encoder.objects(&[stored(1)]).unwrap();
    for unit in plan_items() {
        encoder.unit(&unit).unwrap();
    }
    encoder.finish().unwrap().rest
}

fn hashes() -> Vec<(ObjectId, ContentHash)> {
    vec![(ObjectId::from_bytes([1; 16]), ContentHash::from_bytes([2; 32]))]
}

fn encode_hashes() -> Vec<u8> {
    let mut encoder = Encoder::new(FileKind::Hashes);
    encoder.hashes(header().backup_id, &hashes()).unwrap();
    encoder.finish().unwrap().rest
}

fn pack_entries() -> Vec<PackEntry> {
    let mut offset_bytes = 0;
    [5_u64, 0, 300]
        .into_iter()
        .map(|stored_bytes| {
            let entry = PackEntry {
                id: ObjectId::from_bytes([stored_bytes.to_le_bytes()[0]; 16]),
                offset_bytes,
                stored_bytes,
                hash: ContentHash::from_bytes([3; 32]),
            };
            offset_bytes += stored_bytes;
            entry
        })
        .collect()
}

/// Decodes in pieces of `step` bytes.
fn decode(kind: FileKind, bytes: &[u8], step: usize) -> Result<Vec<Item>, FormatError> {
    let mut decoder = Decoder::new(kind);
    let mut items = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        decoder.push(piece);
        while let Some(item) = decoder.next_item()? {
            items.push(item);
        }
    }
    decoder.finish()?;
    Ok(items)
}

fn decode_pack_tail(tail: &[u8], data_bytes: u64) -> Result<Vec<PackEntry>, FormatError> {
    let trailer = tail.last_chunk().ok_or(FormatError::Corrupt("short"))?;
    let file_bytes = data_bytes + tail.len() as u64;
    let trailer = PackTrailer::decode(trailer, file_bytes)?;
    let range = trailer.index_range();
    let start = range.start.checked_sub(data_bytes).and_then(|start| usize::try_from(start).ok());
    let index = start.and_then(|start| tail.get(start..tail.len() - PACK_TRAILER_BYTES));
    trailer.decode_index(index.ok_or(FormatError::Corrupt("range"))?)
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    for (fixture, hash) in FIXTURES_V1 {
        assert_eq!(blake3::hash(fixture).to_hex().as_str(), hash, "{FROZEN}");
    }
    assert!(encode_manifest(&[stored(1), stored(2), stored(3)]) == MANIFEST_V1, "{FROZEN}");
    assert!(encode_plan() == PLAN_V1, "{FROZEN}");
    assert!(encode_hashes() == HASHES_V1, "{FROZEN}");
    assert!(encode_pack_tail(&pack_entries()).unwrap() == PACK_TAIL_V1, "{FROZEN}");
}

#[test]
fn files_of_version_1_decode_to_what_was_put_in() {
    let items = decode(FileKind::Manifest, MANIFEST_V1, 7).unwrap();
    assert_eq!(items[0], Item::Header(Box::new(header())));
    assert_eq!(
        items[1],
        Item::Packs(vec![PackSize { pack_id: PackId::from_bytes([8; 16]), size_bytes: 4000 }])
    );
    assert_eq!(items[2], Item::Objects(vec![stored(1), stored(2)]));
    assert_eq!(items[3], Item::Objects(vec![stored(3)]));
    assert!(matches!(items[4], Item::End(Closing { objects: 3, .. })));

    let items = decode(FileKind::Plan, PLAN_V1, usize::MAX).unwrap();
    assert_eq!(items[1], Item::Objects(vec![stored(1)]));
    assert_eq!(items[2..4], plan_items().into_iter().map(Item::Unit).collect::<Vec<_>>());

    let items = decode(FileKind::Hashes, HASHES_V1, 1).unwrap();
    assert_eq!(items[0], Item::Hashes(header().backup_id, hashes()));
    assert_eq!(decode_pack_tail(PACK_TAIL_V1, 305).unwrap(), pack_entries());
}

#[test]
fn every_single_bit_of_a_file_is_guarded() {
    let files = [(FileKind::Manifest, MANIFEST_V1), (FileKind::Plan, PLAN_V1), (FileKind::Hashes, HASHES_V1)];
    for (kind, bytes) in files {
        let mut damaged = bytes.to_vec();
        for bit in 0..bytes.len() * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = decode(kind, &damaged, usize::MAX);
            assert!(matches!(found, Err(FormatError::Corrupt(_))), "{kind:?} bit {bit}: {found:?}");
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }
    let mut damaged = PACK_TAIL_V1.to_vec();
    for bit in 0..damaged.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        let found = decode_pack_tail(&damaged, 305);
        assert!(matches!(found, Err(FormatError::Corrupt(_))), "pack bit {bit}: {found:?}");
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_truncation_and_every_addition_is_found() {
    for length in 0..MANIFEST_V1.len() {
        assert!(decode(FileKind::Manifest, &MANIFEST_V1[..length], usize::MAX).is_err(), "{length}");
    }
    let longer = [MANIFEST_V1, &[0]].concat();
    assert!(decode(FileKind::Manifest, &longer, usize::MAX).is_err());
    for length in 0..PACK_TAIL_V1.len() {
        assert!(decode_pack_tail(&PACK_TAIL_V1[..length], 305).is_err(), "{length}");
    }
    assert!(decode_pack_tail(PACK_TAIL_V1, 304).is_err(), "a pack that lost a byte of an object");
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut newer = MANIFEST_V1.to_vec();
    newer[..16].copy_from_slice(&frame::encode_head(FileKind::Manifest, 2));
    assert_eq!(decode(FileKind::Manifest, &newer, 100), Err(FormatError::Newer(2)));
    assert!(matches!(decode(FileKind::Plan, MANIFEST_V1, 100), Err(FormatError::Corrupt(_))));
}

#[test]
fn limits_are_kept() {
    let many: Vec<_> = (0..=4096).map(stored).collect();
    let mut encoder = Encoder::new(FileKind::Manifest);
    assert_eq!(encoder.objects(&many), Err(FormatError::TooLarge("a list of objects")));
    let mut header = header();
    header.cut.databases[0].collections[0].schema_proto = vec![0; FRAME_BYTES_MAX];
    assert_eq!(encoder.header(&header), Err(FormatError::TooLarge("the description of a collection")));
    let entry = pack_entries()[1];
    assert!(encode_pack_tail(&vec![entry; 4096]).is_ok());
    assert!(encode_pack_tail(&vec![entry; 4097]).is_err());
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_the_bytes_arrive() {
    let mut decoder = Decoder::new(FileKind::Manifest);
    decoder.push(&frame::encode_head(FileKind::Manifest, 1));
    decoder.push(&[1, 0xff, 0xff, 0xff, 0xff]);
    assert!(decoder.next_item().is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), step in 1_usize..300) {
        for kind in [FileKind::Manifest, FileKind::Plan, FileKind::Hashes] {
            prop_assert!(decode(kind, &bytes, step).is_err());
        }
        let _ = decode_pack_tail(&bytes, 305);
    }

    /// Frames with right checksums around arbitrary payloads reach the decoders behind the checksums.
    #[test]
    fn arbitrary_payloads_never_panic(
        payloads in prop::collection::vec((prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 255]), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
    ) {
        for kind in [FileKind::Manifest, FileKind::Plan, FileKind::Hashes] {
            let mut bytes = frame::encode_head(kind, 1).to_vec();
            for (frame_kind, payload) in &payloads {
                let mut frame = vec![*frame_kind];
                frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
                frame.extend_from_slice(payload);
                let checksum = blake3::hash(&frame);
                frame.extend_from_slice(&checksum.as_bytes()[..16]);
                bytes.extend(frame);
            }
            let _ = decode(kind, &bytes, 4096);
        }
    }

    #[test]
    fn objects_come_back_as_they_were(log_ids in prop::collection::vec(1_i64..i64::MAX - 2000, 0..50), step in 1_usize..5000) {
        let objects: Vec<_> = log_ids.into_iter().map(stored).collect();
        let items = decode(FileKind::Manifest, &encode_manifest(&objects), step).unwrap();
        let found: Vec<_> = items.into_iter().filter_map(|item| match item {
            Item::Objects(objects) => Some(objects),
            _ => None,
        }).flatten().collect();
        prop_assert_eq!(found, objects);
    }
}
