//! Scalars of the schema, and ids.

use crate::error::GatewayError;
use async_graphql::{ID, InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use milvault_domain::ids::InvalidId;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A number of bytes, from 0 to 2^64 - 1, as a JSON number. `JavaScript` rounds figures above 2^53 (8 PiB).
#[Scalar]
impl ScalarType for Bytes {
    fn parse(value: Value) -> InputValueResult<Self> {
        parse_u64(&value).map(Self).ok_or_else(|| InputValueError::custom("must be a whole number of bytes"))
    }

    fn to_value(&self) -> Value {
        Value::Number(Number::from(self.0))
    }
}

/// A count that may exceed 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int64(pub(crate) u64);

/// A count that may exceed 32 bits, such as a number of rows or objects, from 0 to 2^64 - 1, as a JSON number.
#[Scalar]
impl ScalarType for Int64 {
    fn parse(value: Value) -> InputValueResult<Self> {
        parse_u64(&value).map(Self).ok_or_else(|| InputValueError::custom("must be a whole number"))
    }

    fn to_value(&self) -> Value {
        Value::Number(Number::from(self.0))
    }
}

fn parse_u64(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

/// Reads an id of the kind that the field wants.
///
/// # Errors
/// `BadUserInput` that names the field and the expected form.
pub(crate) fn parse_id<T: FromStr<Err = InvalidId>>(field: &'static str, id: &ID) -> Result<T, GatewayError> {
    id.parse().map_err(|error: InvalidId| GatewayError::bad_field(field, error.to_string()))
}

/// An id as the API prints it.
pub(crate) fn print_id(id: impl std::fmt::Display) -> ID {
    ID(id.to_string())
}
