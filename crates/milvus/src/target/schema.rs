//! A backup's schema as it has to be sent to create the collection again.

use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvus::proto::schema::{CollectionSchema, FieldSchema};
use prost::encoding::{self, DecodeContext};
use prost::{DecodeError, Message};

/// Tags of `CollectionSchema`.
const NAME_TAG: u32 = 1;
const FIELDS_TAG: u32 = 4;
const DATABASE_TAG: u32 = 8;

/// A schema to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// The message.
    pub(crate) bytes: Vec<u8>,
    /// What of it is known here.
    pub(crate) schema: CollectionSchema,
}

impl Draft {
    /// Prepares the described schema of another collection for a collection of this name.
    ///
    /// It is changed as bytes: decoding and encoding would lose what a newer server knows and this crate's protocol
    /// definition does not. The field that holds the dynamic ones is left out, the server adds it by itself; so is the
    /// database, which may be another one now.
    pub(crate) fn new(described: &[u8], name: &str) -> PortResult<Self> {
        let unreadable = |error: DecodeError| {
            let message = format!("the backup's schema for `{name}` cannot be read: {error}");
            PortError::with_source(PortErrorKind::Corrupt, message, error)
        };
        let bytes = rewrite(described, name).map_err(unreadable)?;
        let schema = CollectionSchema::decode(bytes.as_slice()).map_err(unreadable)?;
        Ok(Self { bytes, schema })
    }

    /// Whether rows are spread over partitions by a field; the server then makes and names the partitions.
    pub(crate) fn has_partition_key(&self) -> bool {
        self.schema.fields.iter().any(|field| field.is_partition_key)
    }

    /// Fields, also those inside of structures.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &FieldSchema> {
        fields(&self.schema)
    }

    /// The first thing that matters to the rows in which a created collection's schema differs, in words.
    ///
    /// Binlogs know fields by id only: rows imported under other ids would end up in other fields. And a server
    /// leaves out silently what it does not know, such as that a field may be null.
    pub(crate) fn difference(&self, created: &CollectionSchema) -> Option<String> {
        if self.schema.enable_dynamic_field != created.enable_dynamic_field {
            return Some(String::from("the server does not take fields outside the schema"));
        }
        if self.schema.functions.len() != created.functions.len() {
            return Some(String::from("the server leaves out functions that compute fields"));
        }
        let structures = self.schema.struct_array_fields.iter().find_map(|wanted| {
            let found = created.struct_array_fields.iter().find(|other| other.name == wanted.name);
            id_difference(&wanted.name, wanted.field_id, found.map(|found| found.field_id))
        });
        structures.or_else(|| {
            self.fields().find_map(|wanted| {
                let found = fields(created).find(|other| other.name == wanted.name);
                id_difference(&wanted.name, wanted.field_id, found.map(|found| found.field_id))
                    .or_else(|| attribute_difference(wanted, found?))
            })
        })
    }
}

fn fields(schema: &CollectionSchema) -> impl Iterator<Item = &FieldSchema> {
    schema.fields.iter().chain(schema.struct_array_fields.iter().flat_map(|structure| &structure.fields))
}

fn id_difference(name: &str, wanted: i64, found: Option<i64>) -> Option<String> {
    match found {
        Some(id) if id == wanted => None,
        Some(id) => Some(format!("field `{name}` gets id {id}, its rows have {wanted}")),
        None => Some(format!("field `{name}` is not there")),
    }
}

fn attribute_difference(wanted: &FieldSchema, found: &FieldSchema) -> Option<String> {
    let attributes = [
        ("type", wanted.data_type == found.data_type && wanted.element_type == found.element_type),
        ("role as primary key", wanted.is_primary_key == found.is_primary_key),
        ("automatic key", wanted.auto_id == found.auto_id),
        ("role as partition key", wanted.is_partition_key == found.is_partition_key),
        ("permission to be null", wanted.nullable == found.nullable),
        ("default value", wanted.default_value == found.default_value),
        // A server may add parameters of its own.
        ("parameters", wanted.type_params.iter().all(|param| found.type_params.contains(param))),
    ];
    let (what, _) = attributes.into_iter().find(|(_, is_same)| !is_same)?;
    Some(format!("field `{}` does not keep its {what}", wanted.name))
}

fn rewrite(described: &[u8], name: &str) -> Result<Vec<u8>, DecodeError> {
    let mut rewritten = Vec::with_capacity(described.len() + name.len());
    encoding::string::encode(NAME_TAG, &name.to_owned(), &mut rewritten);
    let mut rest = described;
    while !rest.is_empty() {
        let entry_and_rest = rest;
        let (tag, wire_type) = encoding::decode_key(&mut rest)?;
        encoding::skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        let (entry, _) = entry_and_rest.split_at(entry_and_rest.len() - rest.len());
        let dropped = match tag {
            NAME_TAG | DATABASE_TAG => true,
            FIELDS_TAG => is_dynamic(entry)?,
            _ => false,
        };
        if !dropped {
            rewritten.extend_from_slice(entry);
        }
    }
    Ok(rewritten)
}

fn is_dynamic(mut entry: &[u8]) -> Result<bool, DecodeError> {
    encoding::decode_key(&mut entry)?;
    Ok(FieldSchema::decode_length_delimited(entry)?.is_dynamic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(name: &str, field_id: i64) -> FieldSchema {
        FieldSchema { name: name.to_owned(), field_id, ..Default::default() }
    }

    fn described() -> CollectionSchema {
        let dynamic = FieldSchema { is_dynamic: true, ..field("$meta", 102) };
        CollectionSchema {
            name: String::from("books"),
            db_name: String::from("library"),
            description: String::from("all of them"),
            enable_dynamic_field: true,
            fields: vec![field("id", 100), field("v", 101), dynamic],
            ..Default::default()
        }
    }

    #[test]
    fn name_database_and_dynamic_field_are_replaced_and_all_else_stays() {
        let mut bytes = described().encode_to_vec();
        // Field 1000, a varint: from a server newer than this program.
        let unknown = [0xc0, 0x3e, 42];
        bytes.extend(unknown);
        let draft = Draft::new(&bytes, "copy").unwrap();
        let expected = CollectionSchema {
            name: String::from("copy"),
            db_name: String::new(),
            fields: vec![field("id", 100), field("v", 101)],
            ..described()
        };
        assert_eq!(draft.schema, expected);
        assert!(draft.bytes.ends_with(&unknown));
    }

    #[test]
    fn damaged_bytes_are_corrupt() {
        let mut bytes = described().encode_to_vec();
        bytes.truncate(bytes.len() - 1);
        assert_eq!(Draft::new(&bytes, "copy").unwrap_err().kind(), PortErrorKind::Corrupt);
    }

    #[test]
    fn what_a_server_makes_otherwise_is_noticed() {
        let mut wanted = described();
        wanted.fields[1].nullable = true;
        let draft = Draft::new(&wanted.encode_to_vec(), "copy").unwrap();
        assert_eq!(draft.difference(&wanted), None);
        let without = |change: fn(&mut CollectionSchema)| {
            let mut created = wanted.clone();
            change(&mut created);
            draft.difference(&created).unwrap()
        };
        let other_id = without(|created| created.fields[1].field_id = 103);
        assert_eq!(other_id, "field `v` gets id 103, its rows have 101");
        assert_eq!(without(|created| drop(created.fields.remove(1))), "field `v` is not there");
        let not_null = without(|created| created.fields[1].nullable = false);
        assert_eq!(not_null, "field `v` does not keep its permission to be null");
        assert!(without(|created| created.enable_dynamic_field = false).contains("outside the schema"));
    }

    #[test]
    fn a_partition_key_is_found() {
        let mut schema = described();
        assert!(!Draft::new(&schema.encode_to_vec(), "copy").unwrap().has_partition_key());
        schema.fields[0].is_partition_key = true;
        assert!(Draft::new(&schema.encode_to_vec(), "copy").unwrap().has_partition_key());
    }
}
