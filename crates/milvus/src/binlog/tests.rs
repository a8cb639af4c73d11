#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;
mod deletes;
mod fixture;
mod hostile;
mod pages;
mod rows;
