//! Files that no server wrote here, byte for byte.

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// A binlog around Parquet files.
pub(super) fn binlog(field_id: i64, data_type: i32, kind: i8, payloads: &[&[u8]]) -> Vec<u8> {
    let mut file = 0x00ff_fabc_i32.to_le_bytes().to_vec();
    let extras = br#"{"original_size":"1"}"#;
    let mut descriptor = [0; 24].to_vec();
    descriptor.extend(field_id.to_le_bytes());
    descriptor.extend([0; 16]);
    descriptor.extend(data_type.to_le_bytes());
    descriptor.extend([52, 16, 16, 16, 16, 16, 16, 16]);
    descriptor.extend(i32::try_from(extras.len()).unwrap().to_le_bytes());
    descriptor.extend(extras);
    event(&mut file, 0, &descriptor);
    for payload in payloads {
        event(&mut file, kind, &[&[0; 16], *payload].concat());
    }
    file
}

fn event(file: &mut Vec<u8>, kind: i8, data: &[u8]) {
    let length = i32::try_from(17 + data.len()).unwrap();
    let next = i32::try_from(file.len()).unwrap() + length;
    file.extend([0; 8]);
    file.extend(kind.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(next.to_le_bytes());
    file.extend(data);
}

/// Values of a column to write.
pub(super) enum Column<'a> {
    Int64(&'a [i64]),
    Text(&'a [&'a str]),
    /// Not every row has a value.
    MaybeInt64(&'a [Option<i64>]),
}

/// A Parquet file, uncompressed.
pub(super) fn parquet(columns: &[Column<'_>]) -> Vec<u8> {
    let declared: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| match column {
            Column::Int64(_) => format!("required int64 c{index};"),
            Column::Text(_) => format!("required binary c{index};"),
            Column::MaybeInt64(_) => format!("optional int64 c{index};"),
        })
        .collect();
    let schema = parse_message_type(&format!("message schema {{ {} }}", declared.join(" "))).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties).unwrap();
    let mut row_group = writer.next_row_group().unwrap();
    for column in columns {
        let mut writer = row_group.next_column().unwrap().unwrap();
        match column {
            Column::Int64(values) => {
                writer.typed::<Int64Type>().write_batch(values, None, None).unwrap();
            }
            Column::Text(values) => {
                let values: Vec<ByteArray> = values.iter().map(|text| ByteArray::from(*text)).collect();
                writer.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            }
            Column::MaybeInt64(rows) => {
                let values: Vec<i64> = rows.iter().flatten().copied().collect();
                let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
                writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            }
        }
        writer.close().unwrap();
    }
    row_group.close().unwrap();
    writer.into_inner().unwrap()
}

/// A number as Thrift's compact protocol has it.
pub(super) fn zigzag(number: i32) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 31).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}
