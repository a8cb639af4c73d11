//! As much of Thrift's compact protocol as Parquet's headers need. Strict: what Parquet never uses (maps, sets, lists
//! of booleans) is refused, so that two readers cannot disagree about where a field begins.

use super::corrupt;
use milvault_domain::error::{PortError, PortResult};

/// Nesting of what is skipped; Parquet's own is at most five deep.
const DEPTH_MAX: u8 = 16;

/// Wire types of fields and list elements.
pub(super) mod kind {
    pub(crate) const TRUE: u8 = 1;
    pub(crate) const FALSE: u8 = 2;
    pub(crate) const I8: u8 = 3;
    pub(crate) const I16: u8 = 4;
    pub(crate) const I32: u8 = 5;
    pub(crate) const I64: u8 = 6;
    pub(crate) const DOUBLE: u8 = 7;
    pub(crate) const BINARY: u8 = 8;
    pub(crate) const LIST: u8 = 9;
    pub(crate) const STRUCT: u8 = 12;
}

/// A field's number and wire type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) id: i16,
    pub(super) kind: u8,
}

impl Field {
    /// Refuses a field of another type.
    pub(super) fn expect(self, kind: u8) -> PortResult<()> {
        if self.kind == kind { Ok(()) } else { Err(malformed()) }
    }
}

/// Reads structs from the front of some bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads a struct: `read` is called for each field and reads or skips its value.
    pub(super) fn fields(
        &mut self,
        mut read: impl FnMut(&mut Self, Field) -> PortResult<()>,
    ) -> PortResult<()> {
        let mut last = 0;
        while let Some(field) = self.field(last)? {
            last = field.id;
            read(self, field)?;
        }
        Ok(())
    }

    /// An `i32`; refuses a field of another type.
    pub(super) fn i32(&mut self, field: Field) -> PortResult<i32> {
        field.expect(kind::I32)?;
        i32::try_from(self.zigzag()?).map_err(|_| malformed())
    }

    /// The number of structs in a list; refuses a field of another type. The structs follow.
    pub(super) fn structs(&mut self, field: Field) -> PortResult<usize> {
        field.expect(kind::LIST)?;
        match self.list()? {
            (kind::STRUCT, count) => Ok(count),
            _ => Err(malformed()),
        }
    }

    /// Passes over a field's value.
    pub(super) fn skip(&mut self, field: Field) -> PortResult<()> {
        self.skip_value(field.kind, DEPTH_MAX)
    }

    fn field(&mut self, last: i16) -> PortResult<Option<Field>> {
        let byte = self.byte()?;
        let (delta, kind) = (byte >> 4, byte & 0x0f);
        if kind == 0 {
            return Ok(None);
        }
        let id = match delta {
            0 => i16::try_from(self.zigzag()?).map_err(|_| malformed())?,
            delta => last.checked_add(i16::from(delta)).ok_or_else(malformed)?,
        };
        Ok(Some(Field { id, kind }))
    }

    fn skip_value(&mut self, value: u8, depth: u8) -> PortResult<()> {
        let depth = depth.checked_sub(1).ok_or_else(malformed)?;
        match value {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::I8 => self.byte().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.take(8).map(drop),
            kind::BINARY => {
                let length = self.length()?;
                self.take(length).map(drop)
            }
            kind::LIST => match self.list()? {
                (kind::TRUE | kind::FALSE, _) => Err(malformed()),
                (element, count) => (0..count).try_for_each(|_| self.skip_value(element, depth)),
            },
            kind::STRUCT => self.fields(|reader, field| reader.skip_value(field.kind, depth)),
            _ => Err(malformed()),
        }
    }

    /// Wire type and number of a list's elements.
    fn list(&mut self) -> PortResult<(u8, usize)> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.length()?,
            count => usize::from(count),
        };
        // Every element takes at least one byte.
        if count > self.rest.len() { Err(malformed()) } else { Ok((byte & 0x0f, count)) }
    }

    fn length(&mut self) -> PortResult<usize> {
        usize::try_from(self.varint()?).map_err(|_| malformed())
    }

    fn zigzag(&mut self) -> PortResult<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn varint(&mut self) -> PortResult<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn byte(&mut self) -> PortResult<u8> {
        let (byte, rest) = self.rest.split_first().ok_or_else(malformed)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> PortResult<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn malformed() -> PortError {
    corrupt("a Parquet header does not decode")
}
