//! Wrong configuration and other reasons not to start.

use crate::server_process::{ServerProcess, milvault, serve};
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};
use tempfile::TempDir;

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn with_file(arguments: &[&str], file: &std::path::Path) -> Command {
    let mut command = milvault(arguments);
    command.arg("--config").arg(file);
    command
}

#[test]
fn check_and_serve_say_the_same_about_a_wrong_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("milvault.toml");
    fs::write(&file, "[server]\n\n[jobs]\nattempts_max = \"many\"\n").unwrap();
    let checked = with_file(&["config", "check"], &file).output().unwrap();
    let served = with_file(&["serve"], &file).output().unwrap();
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(served.status.code(), Some(2));
    assert_eq!(words(&checked), words(&served));
    let expected =
        format!("milvault: {} line 4, key `jobs.attempts_max`: expected u32, found a text\n", file.display());
    assert_eq!(words(&checked), expected);
}

#[test]
fn check_accepts_what_is_right_and_sees_the_environment() {
    let right = milvault(&["config", "check"]).output().unwrap();
    assert_eq!(right.status.code(), Some(0));
    assert_eq!(right.stdout, b"the configuration is valid\n");
    let wrong = milvault(&["config", "check"]).env("MILVAULT_SERVER__LISTEN", "here").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(
        words(&wrong),
        "milvault: environment variable MILVAULT_SERVER__LISTEN: invalid socket address syntax\n"
    );
    let missing = milvault(&["config", "check"]).env("MILVAULT_CONFIG", "/nowhere.toml").output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(words(&missing).starts_with("milvault: /nowhere.toml: cannot be read"), "{}", words(&missing));
}

#[test]
fn the_version_is_told() {
    let output = milvault(&["version"]).output().unwrap();
    assert_eq!(output.stdout, format!("milvault {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn a_second_server_on_the_same_data_is_refused_in_words() {
    let directory = TempDir::new().unwrap();
    let first = ServerProcess::start(&mut serve(directory.path()));
    let second = serve(directory.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let last_line = words(&second).lines().last().unwrap_or_default().to_owned();
    assert!(last_line.contains("another") && last_line.contains("catalog"), "{}", words(&second));
    first.stop();
    ServerProcess::start(&mut serve(directory.path())).stop();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = milvault(&["serve", "--listen", &address, "--data-dir"]);
    let output = command.arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains(&format!("cannot listen on {address}")), "{}", words(&output));
    assert!(output.stdout.is_empty(), "no key is made by a start that fails");
}
