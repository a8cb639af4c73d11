//! The pages of a column, uncompressed one at a time.
//!
//! The library's own page reader reserves as much as a page claims to hold, and trusts the size of dictionaries.

use super::compact_thrift::{Field, Reader, kind};
use super::footer::not_parquet;
use super::{corrupt, unsupported};
use bytes::Bytes;
use milvault_domain::error::{PortError, PortResult};
use parquet::basic::{Compression, Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

/// How much pages may hold, uncompressed.
pub(super) struct PageLimits {
    /// Any one of them.
    pub(super) page_bytes: usize,
    /// All of a column.
    pub(super) column_bytes: usize,
}

/// The pages of one column of one row group.
pub(super) struct ColumnPages {
    rest: Bytes,
    compression: Compression,
    column: ColumnDescPtr,
    /// What is left of them.
    limits: PageLimits,
    has_dictionary: bool,
}

impl ColumnPages {
    pub(super) fn new(
        pages: Bytes,
        compression: Compression,
        column: ColumnDescPtr,
        limits: PageLimits,
    ) -> Self {
        Self { rest: pages, compression, column, limits, has_dictionary: false }
    }

    fn next_page(&mut self) -> PortResult<Option<Page>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader::new(&self.rest);
        let header = Header::read(&mut reader)?;
        let header_bytes = self.rest.len() - reader.rest().len();
        let end = header_bytes.checked_add(header.stored_bytes).filter(|end| *end <= self.rest.len());
        let end = end.ok_or_else(|| corrupt("a Parquet page is cut off"))?;
        let stored = self.rest.slice(header_bytes..end);
        self.rest = self.rest.slice(end..);
        let too_much = || corrupt("a Parquet file holds far more than one of its size should");
        self.limits.column_bytes = self.limits.column_bytes.checked_sub(header.bytes).ok_or_else(too_much)?;
        if header.bytes > self.limits.page_bytes {
            return Err(too_much());
        }
        let page = uncompressed(stored, header.bytes, self.compression)?;
        match header.kind {
            PageKind::Dictionary(values) => self.dictionary(page, values).map(Some),
            PageKind::Data(values) => self.data(page, values).map(Some),
        }
    }

    fn dictionary(&mut self, page: Bytes, values: Values) -> PortResult<Page> {
        let bytes_per_value = match self.column.physical_type() {
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(1).max(1),
            _ => 4,
        };
        if values.count as usize > page.len() / bytes_per_value {
            return Err(corrupt("a Parquet dictionary has fewer values than it says"));
        }
        if self.has_dictionary || values.encoding == Encoding::RLE {
            return Err(corrupt("a Parquet column has a dictionary that cannot be"));
        }
        self.has_dictionary = true;
        Ok(Page::DictionaryPage {
            buf: page,
            num_values: values.count,
            encoding: values.encoding,
            is_sorted: false,
        })
    }

    fn data(&self, page: Bytes, values: Values) -> PortResult<Page> {
        if values.encoding == Encoding::RLE_DICTIONARY && !self.has_dictionary {
            return Err(corrupt("a Parquet page lacks its dictionary"));
        }
        if values.encoding == Encoding::RLE && self.column.physical_type() != Physical::BOOLEAN {
            return Err(corrupt("a Parquet page has an encoding that its type has not"));
        }
        Ok(Page::DataPage {
            buf: page,
            num_values: values.count,
            encoding: values.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }
}

impl Iterator for ColumnPages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ColumnPages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        self.next_page().map_err(|error| ParquetError::External(Box::new(error)))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        Err(ParquetError::NYI(String::from("pages are read one after another")))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        Err(ParquetError::NYI(String::from("pages are read one after another")))
    }
}

/// Gives back the failure that [`ColumnPages`] passed through the library.
pub(super) fn failure(error: ParquetError) -> PortError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<PortError>() {
            Ok(error) => *error,
            Err(inner) => not_parquet(ParquetError::External(inner)),
        },
        other => not_parquet(other),
    }
}

/// A zstd frame that claims too much, or too little, fails at the size of the page; nothing grows.
fn uncompressed(stored: Bytes, bytes: usize, compression: Compression) -> PortResult<Bytes> {
    let page = match compression {
        Compression::UNCOMPRESSED => stored,
        Compression::ZSTD(_) => zstd::bulk::decompress(&stored, bytes)
            .map(Bytes::from)
            .map_err(|_| corrupt("a Parquet page does not uncompress"))?,
        other => return Err(unsupported(format!("a Parquet file compressed with {other}"))),
    };
    if page.len() == bytes { Ok(page) } else { Err(corrupt("a Parquet page is not as long as it says")) }
}

/// A page's header.
struct Header {
    kind: PageKind,
    /// Uncompressed.
    bytes: usize,
    /// In the file.
    stored_bytes: usize,
}

enum PageKind {
    Dictionary(Values),
    Data(Values),
}

#[derive(Clone, Copy)]
struct Values {
    count: u32,
    encoding: Encoding,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> PortResult<Self> {
        let (mut page_type, mut bytes, mut stored_bytes) = (None, None, None);
        let (mut data, mut dictionary) = (None, None);
        reader.fields(|reader, field| {
            match field.id {
                1 => page_type = Some(reader.i32(field)?),
                2 => bytes = usize::try_from(reader.i32(field)?).ok(),
                3 => stored_bytes = usize::try_from(reader.i32(field)?).ok(),
                5 => data = Some(Values::read(reader, field)?),
                7 => dictionary = Some(Values::read(reader, field)?),
                _ => reader.skip(field)?,
            }
            Ok(())
        })?;
        let kind = match (page_type, data, dictionary) {
            (Some(0), Some(values), None) => PageKind::Data(values),
            (Some(2), None, Some(values)) => PageKind::Dictionary(values),
            (Some(3), None, None) => return Err(unsupported("Parquet pages of the second version")),
            _ => return Err(corrupt("a Parquet page is of no known kind")),
        };
        let (Some(bytes), Some(stored_bytes)) = (bytes, stored_bytes) else {
            return Err(corrupt("a Parquet page does not say how long it is"));
        };
        Ok(Self { kind, bytes, stored_bytes })
    }
}

impl Values {
    /// Data pages and dictionaries both begin with number and encoding.
    fn read(reader: &mut Reader<'_>, field: Field) -> PortResult<Self> {
        field.expect(kind::STRUCT)?;
        let (mut count, mut encoding) = (None, None);
        reader.fields(|reader, field| {
            match field.id {
                1 => count = u32::try_from(reader.i32(field)?).ok(),
                2 => encoding = Some(reader.i32(field)?),
                _ => reader.skip(field)?,
            }
            Ok(())
        })?;
        let encoding = match encoding {
            Some(0) => Encoding::PLAIN,
            Some(3) => Encoding::RLE,
            // The first is an old name of the second.
            Some(2 | 8) => Encoding::RLE_DICTIONARY,
            other => return Err(unsupported(format!("a Parquet page of encoding {other:?}"))),
        };
        Ok(Self {
            count: count.ok_or_else(|| corrupt("a Parquet page does not say how much it holds"))?,
            encoding,
        })
    }
}
