//! Lists of objects, version 1: the bytes that postcard makes of them, written and read by hand.
//!
//! An object is two or three hashes and ten numbers. serde hands hashes over byte by byte, and wants a copy of every
//! object in types of its own; a manifest has up to millions of objects, and a backup of an unchanged cluster does
//! little else than read and write them. The tests hold this against postcard.

use super::super::{FRAME_OBJECTS_MAX, FormatError};
use crate::binlog::{BinlogKey, BinlogKind};
use crate::object::{
    ContentHash, Encoding, Fingerprint, Location, ObjectId, PackId, SourceObject, StoredObject,
};

/// Longest form of a number: seven bits in a byte.
const NUMBER_BYTES_MAX: usize = 10;
/// Room for an object with common ids; one with tags takes more.
const OBJECT_BYTES: usize = 144;

const DAMAGED: FormatError = FormatError::Corrupt("a frame does not decode");

/// Appends a list of objects.
pub(in super::super) fn encode_objects(objects: &[StoredObject], out: &mut Vec<u8>) {
    out.reserve(NUMBER_BYTES_MAX + objects.len() * OBJECT_BYTES);
    put_length(out, objects.len());
    for object in objects {
        put_object(out, object);
    }
}

/// Reads a list of objects that must use up all bytes.
///
/// # Errors
/// It does not, or the list is longer than lists may be.
pub(in super::super) fn decode_objects(bytes: &[u8]) -> Result<Vec<StoredObject>, FormatError> {
    let mut reader = Reader { bytes };
    let count = reader.count()?;
    let mut objects = Vec::with_capacity(count);
    for _ in 0..count {
        objects.push(reader.object()?);
    }
    match reader.bytes {
        [] => Ok(objects),
        _ => Err(FormatError::Corrupt("a frame holds more than its kind does")),
    }
}

/// The number of objects in the list that begins here.
///
/// # Errors
/// It is none, or higher than it may be.
pub(in super::super) fn object_count(bytes: &[u8]) -> Result<usize, FormatError> {
    Reader { bytes }.count()
}

fn put_object(out: &mut Vec<u8>, object: &StoredObject) {
    let StoredObject { id, source, location, encoding, stored_bytes, hash, store_tag } = object;
    out.extend_from_slice(id.as_bytes());
    put_source(out, source);
    match location {
        Location::Pack { pack_id, offset_bytes } => {
            out.push(0);
            out.extend_from_slice(pack_id.as_bytes());
            put_number(out, *offset_bytes);
        }
        Location::Object => out.push(1),
    }
    out.push(match encoding {
        Encoding::Raw => 0,
    });
    put_number(out, *stored_bytes);
    match hash {
        None => out.push(0),
        Some(hash) => {
            out.push(1);
            out.extend_from_slice(hash.as_bytes());
        }
    }
    match store_tag {
        None => out.push(0),
        Some(tag) => {
            out.push(1);
            put_text(out, tag);
        }
    }
}

fn put_source(out: &mut Vec<u8>, source: &SourceObject) {
    let BinlogKey { kind, collection_id, partition_id, segment_id, field_id, log_id } = source.key;
    out.push(match kind {
        BinlogKind::Insert => 0,
        BinlogKind::Delta => 1,
    });
    for number in [collection_id, partition_id, segment_id, field_id, log_id] {
        put_signed(out, number);
    }
    put_number(out, source.size_bytes);
    match &source.fingerprint {
        Fingerprint::ETag(tag) => {
            out.push(0);
            put_text(out, tag);
        }
        Fingerprint::ModifiedAtNanos(nanos) => {
            out.push(1);
            put_signed(out, *nanos);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_number(out, length as u64);
}

/// Small numbers of either sign are short.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut bytes = [0; NUMBER_BYTES_MAX];
    let mut last = 0;
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes[last] = low;
            break;
        }
        bytes[last] = low | 0x80;
        last += 1;
    }
    out.extend_from_slice(&bytes[..=last]);
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn count(&mut self) -> Result<usize, FormatError> {
        let count = self.length()?;
        if FRAME_OBJECTS_MAX < count {
            return Err(FormatError::Corrupt("a frame lists more than frames may"));
        }
        Ok(count)
    }

    fn object(&mut self) -> Result<StoredObject, FormatError> {
        let id = ObjectId::from_bytes(self.array()?);
        let source = self.source()?;
        let location = match self.byte()? {
            0 => {
                let pack_id = PackId::from_bytes(self.array()?);
                Location::Pack { pack_id, offset_bytes: self.number()? }
            }
            1 => Location::Object,
            _ => return Err(DAMAGED),
        };
        let encoding = match self.byte()? {
            0 => Encoding::Raw,
            _ => return Err(DAMAGED),
        };
        let stored_bytes = self.number()?;
        if let Location::Pack { offset_bytes, .. } = location
            && offset_bytes.checked_add(stored_bytes).is_none()
        {
            return Err(FormatError::Corrupt("an object ends beyond any file"));
        }
        let hash = if self.is_there()? { Some(ContentHash::from_bytes(self.array()?)) } else { None };
        let store_tag = if self.is_there()? { Some(self.text()?) } else { None };
        Ok(StoredObject { id, source, location, encoding, stored_bytes, hash, store_tag })
    }

    fn source(&mut self) -> Result<SourceObject, FormatError> {
        let kind = match self.byte()? {
            0 => BinlogKind::Insert,
            1 => BinlogKind::Delta,
            _ => return Err(DAMAGED),
        };
        let key = BinlogKey {
            kind,
            collection_id: self.signed()?,
            partition_id: self.signed()?,
            segment_id: self.signed()?,
            field_id: self.signed()?,
            log_id: self.signed()?,
        };
        let size_bytes = self.number()?;
        let fingerprint = match self.byte()? {
            0 => Fingerprint::ETag(self.text()?),
            1 => Fingerprint::ModifiedAtNanos(self.signed()?),
            _ => return Err(DAMAGED),
        };
        Ok(SourceObject { key, size_bytes, fingerprint })
    }

    fn is_there(&mut self) -> Result<bool, FormatError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DAMAGED),
        }
    }

    fn text(&mut self) -> Result<Box<str>, FormatError> {
        let length = self.length()?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(DAMAGED)?;
        self.bytes = rest;
        std::str::from_utf8(text).map(Box::from).map_err(|_| DAMAGED)
    }

    fn length(&mut self) -> Result<usize, FormatError> {
        usize::try_from(self.number()?).map_err(|_| DAMAGED)
    }

    fn signed(&mut self) -> Result<i64, FormatError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut number = 0;
        for (position, &byte) in self.bytes.iter().take(NUMBER_BYTES_MAX).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                // Of the tenth byte there is room for one bit.
                if position + 1 == NUMBER_BYTES_MAX && 1 < byte {
                    return Err(DAMAGED);
                }
                self.bytes = &self.bytes[position + 1..];
                return Ok(number);
            }
        }
        Err(DAMAGED)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(DAMAGED)?;
        self.bytes = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]
    use super::*;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    /// An object as `docs/format.md` describes it, for postcard.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct ObjectV1 {
        id: [u8; 16],
        kind: KindV1,
        ids: (i64, i64, i64, i64, i64),
        size_bytes: u64,
        fingerprint: FingerprintV1,
        location: LocationV1,
        encoding: EncodingV1,
        stored_bytes: u64,
        hash: Option<[u8; 32]>,
        store_tag: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum KindV1 {
        Insert,
        Delta,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum FingerprintV1 {
        ETag(String),
        ModifiedAtNanos(i64),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum LocationV1 {
        Pack { pack_id: [u8; 16], offset_bytes: u64 },
        Object,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum EncodingV1 {
        Raw,
    }

    fn for_postcard(object: &StoredObject) -> ObjectV1 {
        let key = object.source.key;
        ObjectV1 {
            id: *object.id.as_bytes(),
            kind: if key.kind == BinlogKind::Insert { KindV1::Insert } else { KindV1::Delta },
            ids: (key.collection_id, key.partition_id, key.segment_id, key.field_id, key.log_id),
            size_bytes: object.source.size_bytes,
            fingerprint: match &object.source.fingerprint {
                Fingerprint::ETag(tag) => FingerprintV1::ETag(tag.to_string()),
                Fingerprint::ModifiedAtNanos(nanos) => FingerprintV1::ModifiedAtNanos(*nanos),
            },
            location: match object.location {
                Location::Pack { pack_id, offset_bytes } => {
                    LocationV1::Pack { pack_id: *pack_id.as_bytes(), offset_bytes }
                }
                Location::Object => LocationV1::Object,
            },
            encoding: EncodingV1::Raw,
            stored_bytes: object.stored_bytes,
            hash: object.hash.map(|hash| *hash.as_bytes()),
            store_tag: object.store_tag.as_deref().map(str::to_owned),
        }
    }

    fn by_postcard(objects: &[StoredObject]) -> Vec<u8> {
        postcard::to_stdvec(&objects.iter().map(for_postcard).collect::<Vec<_>>()).unwrap()
    }

    /// Numbers of every length.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift)
    }

    fn signed() -> impl Strategy<Value = i64> {
        (number(), any::<bool>()).prop_map(|(number, negative)| {
            if negative { !number.cast_signed() } else { number.cast_signed() }
        })
    }

    fn key() -> impl Strategy<Value = BinlogKey> {
        let kind = prop::sample::select(vec![BinlogKind::Insert, BinlogKind::Delta]);
        (kind, signed(), signed(), signed(), signed(), signed()).prop_map(
            |(kind, collection_id, partition_id, segment_id, field_id, log_id)| BinlogKey {
                kind,
                collection_id,
                partition_id,
                segment_id,
                field_id,
                log_id,
            },
        )
    }

    prop_compose! {
        fn object()(
            id in any::<[u8; 16]>(),
            key in key(),
            size_bytes in number(),
            fingerprint in prop_oneof![
                "[a-zé]{0,200}".prop_map(|tag| Fingerprint::ETag(tag.into())),
                signed().prop_map(Fingerprint::ModifiedAtNanos),
            ],
            pack in prop::option::of((any::<[u8; 16]>(), 0..u64::MAX >> 1)),
            stored_bytes in 0..u64::MAX >> 1,
            hash in prop::option::of(any::<[u8; 32]>()),
            store_tag in prop::option::of("[a-zé]{0,20}"),
        ) -> StoredObject {
            StoredObject {
                id: ObjectId::from_bytes(id),
                source: SourceObject { key, size_bytes, fingerprint },
                location: pack.map_or(Location::Object, |(pack_id, offset_bytes)| Location::Pack {
                    pack_id: PackId::from_bytes(pack_id),
                    offset_bytes,
                }),
                encoding: Encoding::Raw,
                stored_bytes,
                hash: hash.map(ContentHash::from_bytes),
                store_tag: store_tag.map(Into::into),
            }
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_postcard(objects in prop::collection::vec(object(), 0..20)) {
            let mut bytes = vec![7];
            encode_objects(&objects, &mut bytes);
            prop_assert_eq!(&bytes[1..], by_postcard(&objects));
            prop_assert_eq!(object_count(&bytes[1..]).unwrap(), objects.len());
            prop_assert_eq!(decode_objects(&bytes[1..]).unwrap(), objects);
        }

        /// What is read from bytes that nobody wrote is what postcard reads from them.
        #[test]
        fn nothing_is_read_otherwise_than_by_postcard(
            objects in prop::collection::vec(object(), 1..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            cuts in any::<bool>(),
        ) {
            let mut bytes = by_postcard(&objects);
            for (position, byte) in changes {
                let position = position.index(bytes.len());
                bytes[position] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(read) = decode_objects(&bytes) {
                let (expected, rest) = postcard::take_from_bytes::<Vec<ObjectV1>>(&bytes).unwrap();
                prop_assert!(rest.is_empty());
                prop_assert_eq!(read.iter().map(for_postcard).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode_objects(&bytes);
        }
    }

    #[test]
    fn a_number_that_is_too_long_or_too_large_is_refused() {
        let number = |bytes: &[u8]| Reader { bytes }.number();
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), Err(DAMAGED));
        assert_eq!(number(&[0xff; 11]), Err(DAMAGED));
        assert_eq!(number(&[0x80]), Err(DAMAGED));
    }

    #[test]
    fn bytes_after_the_list_and_lists_that_are_too_long_are_refused() {
        assert!(matches!(decode_objects(&[0, 0]), Err(FormatError::Corrupt(_))));
        assert!(matches!(object_count(&[0x81, 0x20]), Err(FormatError::Corrupt(_))));
        assert_eq!(object_count(&[0x80, 0x20]), Ok(FRAME_OBJECTS_MAX));
    }
}
