//! The commands for a catalog that is lost, and for the key that seals secrets.

use crate::server_process::{ServerProcess, ask, is_accepted, milvault, serve};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = milvault(arguments);
    command.arg("--data-dir").arg(data_dir).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The repository that a server made here, as an argument.
fn repository(directory: &TempDir) -> (PathBuf, String) {
    let path = directory.path().join("repository");
    let argument = format!("safe=local:{}", path.display());
    (path, argument)
}

async fn register(server: &ServerProcess, key: &str, path: &Path) -> String {
    let document = format!(
        r#"mutation {{ registerRepository(input: {{ name: "r", storage: {{ local: {{ path: "{}" }} }} }})
           {{ repository {{ id }} }} }}"#,
        path.display()
    );
    let answer = ask(&server.url, Some(key), &document).await;
    answer["data"]["registerRepository"]["repository"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_lost_catalog_is_made_again_and_its_new_key_works() {
    let directory = TempDir::new().unwrap();
    let (path, argument) = repository(&directory);
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let server = ServerProcess::start(&mut serve(&first));
    let id = register(&server, &server.printed_key().unwrap(), &path).await;

    let in_use = run(&first, &["catalog", "rebuild", "--repository", &argument, "--merge"]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(words(&in_use.stderr).contains("another Milvault server uses the catalog"), "{in_use:?}");
    server.stop();
    let not_empty = run(&first, &["catalog", "rebuild", "--repository", &argument]);
    assert_eq!(not_empty.status.code(), Some(1));
    assert!(words(&not_empty.stderr).contains("--merge"), "{not_empty:?}");

    let dry = run(&second, &["catalog", "rebuild", "--repository", &argument, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    let shown = words(&dry.stdout);
    assert!(
        shown.contains(&id) && shown.contains("nothing was written") && !shown.contains("mvk_"),
        "{shown}"
    );
    assert!(!second.exists(), "a dry run writes nothing");

    let made = run(&second, &["catalog", "rebuild", "--repository", &argument]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let shown = words(&made.stdout);
    let key = shown.split_whitespace().find(|word| word.starts_with("mvk_")).unwrap().to_owned();
    assert_eq!(shown.matches("mvk_").count(), 1);
    let again = run(&second, &["catalog", "rebuild", "--repository", &argument, "--merge"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert!(!words(&again.stdout).contains("mvk_"), "there is a key already");

    let server = ServerProcess::start(&mut serve(&second));
    assert!(server.printed_key().is_none());
    assert!(is_accepted(&server.url, &key).await);
    let listed = ask(&server.url, Some(&key), "{ repositories(first: 5) { nodes { id name } } }").await;
    assert_eq!(listed["data"]["repositories"]["nodes"], serde_json::json!([{ "id": id, "name": "safe" }]));
    server.stop();
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let nowhere = format!("safe=local:{}", directory.path().join("nowhere").display());
    for (arguments, expected) in [
        (vec!["catalog", "rebuild"], "name at least one repository"),
        (vec!["catalog", "rebuild", "--repository", "safe"], "must have the form"),
        (vec!["catalog", "rebuild", "--repository", &nowhere], "there is no repository at"),
    ] {
        let output = run(&data_dir, &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = words(&output.stderr);
        assert!(error.contains(expected), "{error}");
        assert!(!words(&output.stdout).contains("mvk_"));
    }
}

#[test]
fn repositories_can_be_named_in_the_configuration() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("milvault.toml");
    let path = directory.path().join("nowhere");
    fs::write(
        &file,
        format!(
            "[[catalog.repositories]]\nname = \"safe\"\nkind = \"local\"\npath = \"{}\"\n",
            path.display()
        ),
    )
    .unwrap();
    let output =
        run(&directory.path().join("data"), &["catalog", "rebuild", "--config", file.to_str().unwrap()]);
    let error = words(&output.stderr);
    assert!(error.contains("there is no repository at") && error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn the_key_that_seals_secrets_is_changed() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let (path, _) = repository(&directory);
    let server = ServerProcess::start(&mut serve(&data_dir));
    let key = server.printed_key().unwrap();
    let id = register(&server, &key, &path).await;
    let refused = run(&data_dir, &["secrets", "rotate"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused.stderr).contains("another Milvault server uses the catalog"), "{refused:?}");
    server.stop();

    let key_file = data_dir.join("master.key");
    let former = fs::read_to_string(&key_file).unwrap();
    let rotated = run(&data_dir, &["secrets", "rotate"]);
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    assert!(words(&rotated.stdout).starts_with("1 values are sealed anew"), "{rotated:?}");
    let current = fs::read_to_string(&key_file).unwrap();
    assert_ne!(current, former);
    assert_eq!(current.lines().count(), 1);
    for secret in [&former, &current] {
        assert!(!words(&rotated.stdout).contains(secret.trim()), "no key is shown");
    }
    let checked = run(&data_dir, &["secrets", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(words(&checked.stdout).contains("repositories.storage_sealed"), "{checked:?}");

    let server = ServerProcess::start(&mut serve(&data_dir));
    let listed = ask(&server.url, Some(&key), "{ repositories(first: 5) { nodes { id } } }").await;
    assert_eq!(listed["data"]["repositories"]["nodes"][0]["id"], id.as_str(), "{listed}");
    server.stop();

    // Cut off after the new key was written and nothing was sealed anew: it goes on.
    let third = "ab".repeat(32);
    fs::write(&key_file, format!("{third}\n{current}")).unwrap();
    let both = ServerProcess::start(&mut serve(&data_dir));
    both.stop();
    let finished = run(&data_dir, &["secrets", "rotate"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    assert_eq!(fs::read_to_string(&key_file).unwrap().trim(), third);

    // The former key alone is refused, in words.
    fs::write(&key_file, &former).unwrap();
    for command in ["check", "rotate"] {
        let refused = run(&data_dir, &["secrets", command]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(words(&refused.stderr).contains("put the key back"), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(&key_file).unwrap(), former, "a wrong key stays as it is");
}

#[test]
fn a_catalog_without_a_backup_or_a_key_is_not_restored() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let argument = format!("safe=local:{}", directory.path().join("nowhere").display());
    let arguments = ["catalog", "restore", "--repository", &argument];
    let no_key = run(&data_dir, &arguments);
    assert_eq!(no_key.status.code(), Some(1));
    assert!(words(&no_key.stderr).contains("the master key of the lost catalog is needed"), "{no_key:?}");
    assert!(!data_dir.join("master.key").exists(), "a new key would be of no use");
}

#[tokio::test]
async fn a_key_that_is_given_by_environment_is_changed_there() {
    const VARIABLE: &str = "MILVAULT_CATALOG__MASTER_KEY";
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let (path, _) = repository(&directory);
    let (former, new) = ("cd".repeat(32), "ef".repeat(32));
    let both = format!("{new},{former}");
    let run = |keys: &str, arguments: &[&str]| {
        milvault(arguments).arg("--data-dir").arg(&data_dir).env(VARIABLE, keys).output().unwrap()
    };
    let server = ServerProcess::start(serve(&data_dir).env(VARIABLE, &former));
    let key = server.printed_key().unwrap();
    let id = register(&server, &key, &path).await;
    server.stop();
    assert!(!data_dir.join("master.key").exists(), "no key but the given one");

    let alone = run(&former, &["secrets", "rotate"]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(words(&alone.stderr).contains("put a new one in front"), "{alone:?}");
    let checked = run(&both, &["secrets", "check"]);
    assert!(words(&checked.stdout).contains(" older "), "{checked:?}");
    let rotated = run(&both, &["secrets", "rotate"]);
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    let told = words(&rotated.stdout);
    assert!(told.starts_with("1 values are sealed anew") && told.contains("take out of"), "{told}");
    let configured = run(&both, &["config", "check"]);
    for output in [&alone, &checked, &rotated, &configured] {
        let said = words(&output.stdout) + &words(&output.stderr);
        assert!(!said.contains("cdcd") && !said.contains("efef"), "no key is shown: {said}");
    }
    let lost = run(&former, &["secrets", "check"]);
    assert_eq!(lost.status.code(), Some(1), "{lost:?}");

    let server = ServerProcess::start(serve(&data_dir).env(VARIABLE, &new));
    let listed = ask(&server.url, Some(&key), "{ repositories(first: 5) { nodes { id } } }").await;
    assert_eq!(listed["data"]["repositories"]["nodes"][0]["id"], id.as_str(), "{listed}");
    server.stop();
}
