//! What a first start makes, and that later ones leave it alone.

use crate::server_process::{ServerProcess, ask, is_accepted, milvault, serve};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_prints_a_key_that_works_and_later_ones_print_none() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("new/data");
    let server = ServerProcess::start(&mut serve(&data_dir));
    let key = server.printed_key().unwrap();
    assert!(is_accepted(&server.url, &key).await);
    let refused = ask(&server.url, None, "{ __typename }").await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{refused}");
    server.stop();

    let server = ServerProcess::start(&mut serve(&data_dir));
    assert_eq!(server.first_lines, Vec::<String>::new());
    assert!(is_accepted(&server.url, &key).await);
    server.stop();
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let directory = TempDir::new().unwrap();
    let server = ServerProcess::start(&mut serve(directory.path()));
    for path in ["healthz", "readyz"] {
        let answer = reqwest::get(format!("{}/{path}", server.url)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let metrics = reqwest::get(format!("{}/metrics", server.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("milvault_build_info{version="), "{metrics}");
    server.stop();
}

#[test]
fn what_it_keeps_is_for_its_user_only() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let server = ServerProcess::start(&mut serve(&data_dir));
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join("catalog.db")), 0o600);
    assert_eq!(mode(&data_dir.join("master.key")), 0o600);
    server.stop();
}

#[test]
fn without_a_data_dir_it_works_in_the_current_directory() {
    let directory = TempDir::new().unwrap();
    let mut command = milvault(&["serve", "--listen", "127.0.0.1:0"]);
    let server = ServerProcess::start(command.current_dir(directory.path()));
    assert!(directory.path().join("milvault-data/catalog.db").is_file());
    server.stop();
}

#[tokio::test]
async fn a_key_file_gets_the_key_instead_of_the_terminal() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let key_file = directory.path().join("owner.key");
    let listen_file = directory.path().join("address");
    let start = || {
        let mut command = serve(&data_dir);
        command.arg("--owner-key-file").arg(&key_file).arg("--listen-file").arg(&listen_file);
        ServerProcess::start(&mut command)
    };
    let server = start();
    assert_eq!(server.first_lines, Vec::<String>::new());
    assert_eq!(mode(&key_file), 0o600);
    let key = fs::read_to_string(&key_file).unwrap();
    assert!(is_accepted(&server.url, key.trim()).await);
    let address = fs::read_to_string(&listen_file).unwrap();
    assert_eq!(format!("http://{}", address.trim()), server.url);
    server.stop();

    start().stop();
    assert_eq!(fs::read_to_string(&key_file).unwrap(), key, "a later start leaves the file alone");
    assert!(!directory.path().join("owner.key.new").exists());
}

#[test]
fn a_key_file_that_cannot_be_written_is_no_first_start() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let output = serve(&data_dir).args(["--owner-key-file", "/nowhere/owner.key"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("cannot write the owner key to /nowhere/owner.key"), "{words}");

    let server = ServerProcess::start(&mut serve(&data_dir));
    assert!(server.printed_key().is_some(), "no key was lost");
    server.stop();
}

#[tokio::test]
async fn a_lost_key_can_be_replaced_while_no_server_runs() {
    let directory = TempDir::new().unwrap();
    let server = ServerProcess::start(&mut serve(directory.path()));
    let first_key = server.printed_key().unwrap();
    let make_key = || {
        let mut command = milvault(&["owner-key", "--data-dir"]);
        command.arg(directory.path()).output().unwrap()
    };
    let refused = make_key();
    assert_eq!(refused.status.code(), Some(1), "a server uses the catalog");
    server.stop();

    let made = make_key();
    assert_eq!(made.status.code(), Some(0));
    let printed = String::from_utf8(made.stdout).unwrap();
    let second_key = format!("mvk_{}", printed.trim().split("mvk_").nth(1).unwrap());
    let server = ServerProcess::start(&mut serve(directory.path()));
    assert!(is_accepted(&server.url, &first_key).await);
    assert!(is_accepted(&server.url, &second_key).await);
    let query = "{ auditLog(filter: {action: \"makeOwnerKey\"}) { nodes { result actor { kind } target { kind id } } } }";
    let log = ask(&server.url, Some(&first_key), query).await;
    let made = &log["data"]["auditLog"]["nodes"];
    assert_eq!(made.as_array().unwrap().len(), 1, "{log}");
    assert_eq!((&made[0]["actor"]["kind"], &made[0]["result"]), (&"SYSTEM".into(), &"OK".into()), "{log}");
    assert_eq!(made[0]["target"]["kind"], "apiKey", "{log}");
    server.stop();
}
