//! Relay connections: page sizes, cursors, costs.

use crate::error::GatewayError;
use async_graphql::OutputType;
use async_graphql::connection::{Connection, CursorType, Edge, OpaqueCursor};
use chrono::{DateTime, Utc};
use milvault_domain::ports::{Page, PageRequest, SortKey};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use uuid::Uuid;

/// Entries of a page when the caller does not say.
pub(crate) const PAGE_SIZE_DEFAULT: u32 = 50;

/// Where an entry of a list stands: its creation time and id, so that entries that come or go move nothing.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CreationPosition {
    #[serde(rename = "t")]
    created_at_us: i64,
    #[serde(rename = "i")]
    id: Uuid,
}

impl From<SortKey> for CreationPosition {
    fn from(key: SortKey) -> Self {
        Self { created_at_us: key.created_at.timestamp_micros(), id: key.id }
    }
}

/// Where an entry of a sorted list of names stands.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct NamePosition {
    #[serde(rename = "n")]
    name: String,
}

/// Where an entry of a list stands whose order never changes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct PlanPosition {
    #[serde(rename = "p")]
    position: usize,
}

/// A page of things in the order of their creation, newest first.
pub(crate) type ListConnection<T> = Connection<OpaqueCursor<CreationPosition>, T>;

/// A page of named things inside a backup, in the order of their names.
pub(crate) type NameConnection<T> = Connection<OpaqueCursor<NamePosition>, T>;

/// A page of things in the order of a plan.
pub(crate) type PlanConnection<T> = Connection<OpaqueCursor<PlanPosition>, T>;

/// Reads `first` and `after` of a list.
///
/// # Errors
/// A page size out of range, or a cursor that no list gave out.
pub(crate) fn page_request(first: Option<i32>, after: Option<&str>) -> Result<PageRequest, GatewayError> {
    let after = after
        .map(|cursor| {
            let position = decode::<CreationPosition>(cursor)?;
            let created_at =
                DateTime::<Utc>::from_timestamp_micros(position.created_at_us).ok_or_else(bad_cursor)?;
            Ok::<_, GatewayError>(SortKey { created_at, id: position.id })
        })
        .transpose()?;
    Ok(PageRequest { limit: page_size(first)?, after })
}

/// Makes the page that a list answers with.
pub(crate) fn connection<Record, T: OutputType>(
    page: Page<Record>,
    after: Option<SortKey>,
    sort_key: impl Fn(&Record) -> SortKey,
    view: impl Fn(Record) -> T,
) -> ListConnection<T> {
    let mut connection = Connection::new(after.is_some(), page.has_more);
    connection.edges.extend(page.items.into_iter().map(|record| {
        let position = CreationPosition::from(sort_key(&record));
        Edge::new(OpaqueCursor(position), view(record))
    }));
    connection
}

/// Makes a page of a list that is sorted by name and in memory already; `view` makes an entry of its index.
///
/// # Errors
/// As [`page_request`].
pub(crate) fn name_connection<Record, T: OutputType>(
    sorted: &[Record],
    name: fn(&Record) -> &str,
    first: Option<i32>,
    after: Option<&str>,
    view: impl Fn(usize) -> T,
) -> Result<NameConnection<T>, GatewayError> {
    let range = name_range(sorted, name, first, after)?;
    let mut connection = Connection::new(range.start > 0, range.end < sorted.len());
    connection.edges.extend(range.map(|index| {
        let position = NamePosition { name: name(&sorted[index]).to_owned() };
        Edge::new(OpaqueCursor(position), view(index))
    }));
    Ok(connection)
}

fn name_range<Record>(
    sorted: &[Record],
    name: fn(&Record) -> &str,
    first: Option<i32>,
    after: Option<&str>,
) -> Result<Range<usize>, GatewayError> {
    let size = page_size(first)? as usize;
    let start = match after {
        Some(cursor) => {
            let position = decode::<NamePosition>(cursor)?;
            sorted.partition_point(|record| name(record) <= position.name.as_str())
        }
        None => 0,
    };
    Ok(start..sorted.len().min(start + size))
}

/// Makes a page of those entries of a plan that are at the given positions, which ascend; `view` makes an entry of its
/// position.
///
/// # Errors
/// As [`page_request`].
pub(crate) fn plan_connection<T: OutputType>(
    positions: &[usize],
    first: Option<i32>,
    after: Option<&str>,
    view: impl Fn(usize) -> T,
) -> Result<PlanConnection<T>, GatewayError> {
    let size = page_size(first)? as usize;
    let start = match after {
        Some(cursor) => {
            let last = decode::<PlanPosition>(cursor)?.position;
            positions.partition_point(|position| *position <= last)
        }
        None => 0,
    };
    let end = positions.len().min(start + size);
    let mut connection = Connection::new(start > 0, end < positions.len());
    connection.edges.extend(
        positions[start..end]
            .iter()
            .map(|position| Edge::new(OpaqueCursor(PlanPosition { position: *position }), view(*position))),
    );
    Ok(connection)
}

/// Reads `first` and `skip` of a list whose order never changes, such as a plan's: there a position is a place that
/// lasts, and a cursor would add nothing.
///
/// # Errors
/// A page size or position out of range.
pub(crate) fn slice(
    length: usize,
    first: Option<i32>,
    skip: Option<i32>,
) -> Result<Range<usize>, GatewayError> {
    let size = page_size(first)? as usize;
    let skip = usize::try_from(skip.unwrap_or(0))
        .map_err(|_| GatewayError::bad_field("skip", "must not be negative"))?;
    let start = skip.min(length);
    Ok(start..length.min(start + size))
}

/// Cost of a list: what one entry costs times the page size.
pub(crate) fn complexity(first: Option<i32>, child_complexity: usize) -> usize {
    let size = first.and_then(|first| u32::try_from(first).ok()).unwrap_or(PAGE_SIZE_DEFAULT);
    1 + child_complexity.saturating_mul(size.min(PageRequest::LIMIT_MAX) as usize)
}

/// Reads a page size.
///
/// # Errors
/// It is out of range.
pub(crate) fn page_size(first: Option<i32>) -> Result<u32, GatewayError> {
    let Some(first) = first else { return Ok(PAGE_SIZE_DEFAULT) };
    u32::try_from(first).ok().filter(|size| (1..=PageRequest::LIMIT_MAX).contains(size)).ok_or_else(|| {
        GatewayError::bad_field(
            "first",
            format!("must be between 1 and {}, got {first}", PageRequest::LIMIT_MAX),
        )
    })
}

fn decode<T: Serialize + for<'de> Deserialize<'de>>(cursor: &str) -> Result<T, GatewayError> {
    OpaqueCursor::<T>::decode_cursor(cursor).map(|position| position.0).map_err(|_| bad_cursor())
}

/// A cursor that no list gave out.
pub(crate) fn bad_cursor() -> GatewayError {
    GatewayError::bad_field("after", "is not a cursor of this list; pass an `endCursor` that it gave out")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn page_sizes_have_a_range() {
        assert_eq!(page_size(None).unwrap(), 50);
        assert_eq!(page_size(Some(200)).unwrap(), 200);
        for first in [0, -1, 201, i32::MAX, i32::MIN] {
            assert!(page_size(Some(first)).is_err(), "{first}");
        }
    }

    #[test]
    fn a_cursor_is_read_back_and_others_are_refused() {
        let position = CreationPosition { created_at_us: 1_700_000_000_123_456, id: Uuid::from_u128(7) };
        let cursor = OpaqueCursor(position).encode_cursor();
        let after = page_request(Some(10), Some(&cursor)).unwrap().after.unwrap();
        assert_eq!(after.created_at.timestamp_micros(), 1_700_000_000_123_456);
        assert_eq!(after.id, Uuid::from_u128(7));
        let name = OpaqueCursor(NamePosition { name: String::from("a") }).encode_cursor();
        let far = OpaqueCursor(CreationPosition { created_at_us: i64::MAX, id: Uuid::nil() }).encode_cursor();
        for cursor in ["", "!", "AAAA", "e30", name.as_str(), far.as_str()] {
            assert!(page_request(None, Some(cursor)).is_err(), "{cursor}");
        }
    }

    #[test]
    fn pages_of_names_cover_all_of_them_once() {
        let names = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let range = name_range(&names, |name| name, Some(2), after.as_deref()).unwrap();
            if range.is_empty() {
                break;
            }
            seen.extend_from_slice(&names[range.clone()]);
            let last = names[range.end - 1].to_owned();
            after = Some(OpaqueCursor(NamePosition { name: last }).encode_cursor());
        }
        assert_eq!(seen, names);
    }

    #[test]
    fn pages_of_a_plan_go_on_after_a_position_that_is_no_longer_in_the_list() {
        let page = |positions: &[usize], after: Option<&str>| {
            plan_connection(positions, Some(2), after, |position| i32::try_from(position).unwrap()).unwrap()
        };
        let first = page(&[0, 2, 4, 6], None);
        assert_eq!(first.edges.iter().map(|edge| edge.node).collect::<Vec<_>>(), [0, 2]);
        assert!(first.has_next_page && !first.has_previous_page);
        let after = first.edges[1].cursor.encode_cursor();
        let rest = page(&[0, 4, 6], Some(&after));
        assert_eq!(rest.edges.iter().map(|edge| edge.node).collect::<Vec<_>>(), [4, 6]);
        assert!(!rest.has_next_page && rest.has_previous_page);
        assert!(plan_connection(&[], None, Some("x"), |_| 0).is_err());
    }

    #[test]
    fn slices_end_where_the_list_ends() {
        assert_eq!(slice(120, None, None).unwrap(), 0..50);
        assert_eq!(slice(120, Some(50), Some(100)).unwrap(), 100..120);
        assert!(slice(120, Some(1), Some(i32::MAX)).unwrap().is_empty());
        assert!(slice(120, None, Some(-1)).is_err());
        assert!(slice(120, Some(201), None).is_err());
    }

    #[test]
    fn cost_follows_the_page_size() {
        assert_eq!(complexity(Some(10), 3), 31);
        assert_eq!(complexity(None, 3), 151);
        assert_eq!(complexity(Some(i32::MAX), 3), 601);
        assert_eq!(complexity(Some(-5), 3), 151);
    }
}
