//! All tests, with the real servers that some of them need.

use crate::process::{cargo, target_directory};
use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long the servers get to stop before they are killed.
const STOP_TIME_MAX: Duration = Duration::from_mins(1);
/// How often a stopping process is looked at.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Tests that need no server run too: one command, one verdict.
const CARGO_TEST: [&str; 4] = ["test", "--workspace", "--all-features", "--no-fail-fast"];

/// Where property tests begin, unless the variable says otherwise: a change is judged by cases that do not change by
/// themselves. `PROPTEST_RNG_SEED=$RANDOM cargo xtask test` looks for new ones.
const PROPERTY_SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20261128");

/// Installs and starts the servers, runs `cargo test` on the whole workspace with these further arguments, and stops
/// the servers again.
///
/// # Errors
/// A server cannot be had or started; a test fails, with cargo's exit code.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    // Compiling takes all cores for minutes, so it comes before the servers that need some of them. The binaries of
    // the test package are built along.
    crate::process::run(cargo(CARGO_TEST).arg("--no-run"))?;
    let servers = Servers::start()?;
    let mut tests = cargo(CARGO_TEST);
    tests.args(arguments).envs(servers.addresses()?);
    let (seed, usual) = PROPERTY_SEED;
    if std::env::var_os(seed).is_none() {
        tests.env(seed, usual);
    }
    // The servers stop in `drop`, so that cargo's own summary stays the last word.
    crate::process::run(&mut tests)
}

/// The running servers; dropping it stops them.
struct Servers {
    process: Child,
    description: Value,
}

impl Servers {
    /// Starts them and waits until they answer.
    fn start() -> anyhow::Result<Self> {
        let binary = target_directory()?.join("debug").join("servers");
        // Were this process killed, nobody would stop them: the kernel shall tell them.
        let mut process = spawn(Command::new("setpriv").args(["--pdeathsig", "TERM"]).arg(&binary))
            .or_else(|_| spawn(&mut Command::new(&binary)))
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let output = process.stdout.take().ok_or_else(|| anyhow!("the servers have no standard output"))?;
        let mut servers = Self { process, description: Value::Null };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read the servers' addresses")?;
        if line.is_empty() {
            bail!("the servers did not start; the reason is above");
        }
        servers.description =
            serde_json::from_str(&line).context("the servers printed something that is no address list")?;
        Ok(servers)
    }

    /// The environment variables by which tests find them.
    fn addresses(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        test_environment(&self.description)
    }
}

fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command.args(["up", "--for-tests"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

fn test_environment(description: &Value) -> anyhow::Result<Vec<(&'static str, String)>> {
    let variables = [
        ("MILVAULT_TEST_POSTGRES_URL", "/postgres/url"),
        ("MILVAULT_TEST_S3_ENDPOINT", "/s3/endpoint"),
        ("MILVAULT_TEST_S3_ACCESS_KEY", "/s3/access_key"),
        ("MILVAULT_TEST_S3_SECRET_KEY", "/s3/secret_key"),
        ("MILVAULT_TEST_MILVUS_URI", "/milvus/uri"),
        ("MILVAULT_TEST_MILVUS_STORAGE", "/milvus/storage_dir"),
        ("MILVAULT_TEST_MILVUS_AUTH_URI", "/milvus_with_auth/uri"),
    ];
    let value_of = |pointer: &str| {
        let value = description.pointer(pointer).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| anyhow!("the servers did not tell {pointer}"))
    };
    variables.into_iter().map(|(name, pointer)| Ok((name, value_of(pointer)?))).collect()
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The library kills only by SIGKILL, after which the servers' own children would have to find out.
        let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.process.id())]).status();
        let asked_at = Instant::now();
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success)
            && asked_at.elapsed() < STOP_TIME_MAX
        {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(STOP_POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_address_reaches_the_tests() {
        let description = json!({
            "milvus": { "uri": "http://127.0.0.1:1", "storage_dir": "/milvus" },
            "milvus_with_auth": { "uri": "http://127.0.0.1:4" },
            "postgres": { "url": "postgres://127.0.0.1:2" },
            "s3": { "endpoint": "http://127.0.0.1:3", "access_key": "a", "secret_key": "b" },
        });
        let environment = test_environment(&description).unwrap();
        assert_eq!(environment.len(), 7);
        assert!(environment.contains(&("MILVAULT_TEST_S3_SECRET_KEY", String::from("b"))));
    }

    #[test]
    fn a_missing_address_is_an_error() {
        let error = test_environment(&json!({ "s3": null })).unwrap_err();
        assert_eq!(error.to_string(), "the servers did not tell /postgres/url");
    }
}
