//! The end of a Parquet file: its schema, and where its columns lie.
//!
//! The schema is read here and handed to the library, which otherwise follows a schema nested as deep, and reserves as
//! much, as the file says.

use super::compact_thrift::{Field, Reader, kind};
use super::{corrupt, unsupported};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use parquet::basic::{Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::schema::types::{SchemaDescriptor, Type};
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"PAR1";
/// Milvus's are a few hundred bytes and one block of at most some kilobytes per column for statistics.
const FOOTER_BYTES_MAX: usize = 1 << 20;
/// The root and its columns. Milvus writes one, delta logs from 2.4 on two.
const SCHEMA_ELEMENTS_MAX: usize = 3;
/// Where in the footer the schema is: the second field, after the version.
const SCHEMA_FIELD: i16 = 2;

/// Decodes the footer.
pub(super) fn metadata(file: &[u8]) -> PortResult<ParquetMetaData> {
    let footer = footer(file)?;
    let mut options = ParquetMetaDataOptions::new();
    options.set_schema(Arc::new(schema(footer)?));
    options.set_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options)).map_err(not_parquet)
}

/// Names what the library found.
pub(super) fn not_parquet(error: ParquetError) -> PortError {
    PortError::with_source(PortErrorKind::Corrupt, "the Parquet file in it does not decode", error)
}

fn footer(file: &[u8]) -> PortResult<&[u8]> {
    let unreadable = || corrupt("an event does not hold a Parquet file");
    let file = file.strip_prefix(MAGIC).and_then(|file| file.strip_suffix(MAGIC)).ok_or_else(unreadable)?;
    let (file, length) = file.split_last_chunk().ok_or_else(unreadable)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| unreadable())?;
    if length > FOOTER_BYTES_MAX {
        return Err(corrupt("the Parquet file in it has a footer of more than 1 MiB"));
    }
    let start = file.len().checked_sub(length).ok_or_else(unreadable)?;
    Ok(&file[start..])
}

fn schema(footer: &[u8]) -> PortResult<SchemaDescriptor> {
    let mut columns = None;
    Reader::new(footer).fields(|reader, field| {
        if field.id != SCHEMA_FIELD {
            return reader.skip(field);
        }
        columns = Some(columns_of(reader, field)?);
        Ok(())
    })?;
    let columns = columns.ok_or_else(|| corrupt("the Parquet file has no schema"))?;
    let root = Type::group_type_builder("schema").with_fields(columns).build().map_err(not_parquet)?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

fn columns_of(reader: &mut Reader<'_>, field: Field) -> PortResult<Vec<Arc<Type>>> {
    let count = reader.structs(field)?;
    if !(2..=SCHEMA_ELEMENTS_MAX).contains(&count) {
        return Err(unsupported(format!("a Parquet file with a schema of {count} parts")));
    }
    let root = Element::read(reader)?;
    if root.children.and_then(|children| usize::try_from(children).ok()) != Some(count - 1) {
        return Err(unsupported("a Parquet file with nested columns"));
    }
    (1..count).map(|_| Element::read(reader)?.column()).collect()
}

/// What a `SchemaElement` says of a column.
#[derive(Default)]
struct Element {
    physical: Option<i32>,
    length: Option<i32>,
    repetition: Option<i32>,
    children: Option<i32>,
}

impl Element {
    fn read(reader: &mut Reader<'_>) -> PortResult<Self> {
        let mut element = Self::default();
        reader.fields(|reader, field| {
            match field.id {
                1 => element.physical = Some(reader.i32(field)?),
                2 => element.length = Some(reader.i32(field)?),
                3 => element.repetition = Some(reader.i32(field)?),
                4 => {
                    field.expect(kind::BINARY)?;
                    reader.skip(field)?;
                }
                5 => element.children = Some(reader.i32(field)?),
                _ => reader.skip(field)?,
            }
            Ok(())
        })?;
        Ok(element)
    }

    fn column(&self) -> PortResult<Arc<Type>> {
        let physical = match self.physical {
            Some(0) => Physical::BOOLEAN,
            Some(1) => Physical::INT32,
            Some(2) => Physical::INT64,
            Some(4) => Physical::FLOAT,
            Some(5) => Physical::DOUBLE,
            Some(6) => Physical::BYTE_ARRAY,
            Some(7) => Physical::FIXED_LEN_BYTE_ARRAY,
            other => return Err(unsupported(format!("a Parquet column of type {other:?}"))),
        };
        let repetition = match (self.repetition, self.children) {
            (Some(0), None | Some(0)) => Repetition::REQUIRED,
            (Some(1), None | Some(0)) => Repetition::OPTIONAL,
            _ => return Err(unsupported("a Parquet file with nested columns")),
        };
        let length = self.length.unwrap_or(-1);
        if physical == Physical::FIXED_LEN_BYTE_ARRAY && length <= 0 {
            return Err(corrupt("a Parquet column has values without length"));
        }
        Type::primitive_type_builder("val", physical)
            .with_repetition(repetition)
            .with_length(length)
            .build()
            .map(Arc::new)
            .map_err(not_parquet)
    }
}
