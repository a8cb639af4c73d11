//! Giving rows back to a running Milvus.

mod access;
mod kinds;
mod names;
mod refusals;
mod rows;
