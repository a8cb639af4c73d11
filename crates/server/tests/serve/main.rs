//! The real binary, from outside: start, signals, keys, configuration.
#![allow(clippy::unwrap_used)]

mod configuration;
mod ending;
mod first_start;
mod recovery;
mod secrecy;
mod server_process;
