//! What the end-to-end tests share.

mod api;
mod browser;
mod bucket_check;
mod collections;
mod every_type;
mod installation;
mod milvus_backup;
mod mount;
mod servers;
mod worker;

pub(crate) use api::{Api, PATIENCE, Started, is_final, number, text};
pub(crate) use browser::Browser;
pub(crate) use bucket_check::{Bucket, compare_buckets, compare_with_directory};
pub(crate) use collections::{index_and_load, insert_plain, plain_collection, plain_rows};
pub(crate) use every_type::TypedCollection;
pub(crate) use installation::{Installation, local_storage, turn};
pub(crate) use milvus_backup::{Writer, write_milvus_backup};
pub(crate) use mount::SmallDisk;
pub(crate) use servers::{LAKE, local_milvus, run_directory, s3_argument, s3_milvus, s3_secret, s3_storage};
pub(crate) use worker::Worker;
