//! Subscriptions, by noun.

mod feed;
pub(crate) mod job;
