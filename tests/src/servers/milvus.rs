//! A real Milvus 2.3.5: the whole standalone server, with its embedded etcd and rocksmq.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::milvus_config::{self, MilvusOptions, MilvusPorts, MilvusStorage};
use super::process::{ServerProcess, command};
use super::{Tools, probe};

/// Two seconds on an idle machine; a minute after a crash whose ports are no longer free.
const START_TIME_LIMIT: Duration = Duration::from_mins(4);
/// A quiet Milvus ends within 3 to 8 seconds, some take minutes as their parts wait for each
/// other; nothing is lost by not waiting for that, as it recovers from its log.
const STOP_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How often to choose other ports when someone took one between our choice and Milvus's bind.
const MAX_STARTS: usize = 3;

/// A running Milvus. It is killed when dropped; its directory stays.
#[derive(Debug)]
pub struct Milvus {
    tools: Tools,
    options: MilvusOptions,
    ports: MilvusPorts,
    process: ServerProcess,
}

impl Milvus {
    /// Starts a Milvus and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up; the message has the last lines of its log.
    pub async fn start(tools: &Tools, mut options: MilvusOptions) -> Result<Self> {
        fs::create_dir_all(&options.dir).with_context(|| format!("create {}", options.dir.display()))?;
        options.dir = fs::canonicalize(&options.dir)?;
        let ports = MilvusPorts::for_directory(&options.dir)?;
        let (ports, process) = launch(tools, &options, ports).await?;
        Ok(Self { tools: tools.clone(), options, ports, process })
    }

    /// Starts it again on the same directory, and on the same ports unless another process took
    /// one; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not come up; the message has the last lines of its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let ports = MilvusPorts::for_directory(&self.options.dir)?;
        (self.ports, self.process) = launch(&self.tools, &self.options, ports).await?;
        Ok(())
    }

    /// Whether its process has ended by itself.
    ///
    /// # Errors
    /// When the process cannot be asked.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_some())
    }

    /// Asks it to stop, and kills it when it does not within ten seconds. Does nothing when it
    /// has ended already.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_TIME_LIMIT).await
    }

    /// Ends it as a crash would (SIGKILL).
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Where clients connect, `http://127.0.0.1:port`: gRPC, and REST v1 below `/v1/vector`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.proxy)
    }

    /// The port of [`Milvus::uri`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.proxy
    }

    /// Where it says how it is (`/healthz`, `/metrics`), `http://127.0.0.1:port`.
    #[must_use]
    pub fn management_uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.metrics)
    }

    /// The first user's token, if callers must authenticate.
    #[must_use]
    pub fn token(&self) -> Option<&'static str> {
        self.options.auth.then_some(ROOT_TOKEN)
    }

    /// The directory under which `insert_log/` lies, if the files are on this machine.
    #[must_use]
    pub fn storage_dir(&self) -> Option<PathBuf> {
        match self.options.storage {
            MilvusStorage::Local => Some(milvus_config::storage_dir(&self.options.dir)),
            MilvusStorage::S3(_) => None,
        }
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &MilvusOptions {
        &self.options
    }

    /// The process id, for measurements.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.options.dir)
    }
}

/// The user that every Milvus has at first.
const ROOT_TOKEN: &str = "root:Milvus";

async fn launch(
    tools: &Tools,
    options: &MilvusOptions,
    mut ports: MilvusPorts,
) -> Result<(MilvusPorts, ServerProcess)> {
    for _ in 1..MAX_STARTS {
        let mut process = spawn(tools, options, &ports)?;
        match wait_until_serving(&mut process, ports).await {
            Ok(()) => return Ok((ports, process)),
            Err(_) if process.port_was_taken() => {
                drop(process);
                ports = MilvusPorts::choose(&options.dir)?;
            }
            Err(error) => return Err(error),
        }
    }
    let mut process = spawn(tools, options, &ports)?;
    wait_until_serving(&mut process, ports).await?;
    Ok((ports, process))
}

fn spawn(tools: &Tools, options: &MilvusOptions, ports: &MilvusPorts) -> Result<ServerProcess> {
    milvus_config::write_files(tools, &options.dir, ports)?;
    let mut command = command(&tools.milvus_dir().join("bin/milvus"));
    command
        .args(["run", "standalone"])
        .current_dir(&options.dir)
        // Milvus takes settings from the environment: nothing of ours may reach it by accident.
        .env_clear()
        .envs(milvus_config::environment(tools, options, ports));
    ServerProcess::spawn("milvus", command, &log_path(&options.dir))
}

/// Healthy says that all parts registered; that the proxy answers says that a client can begin.
async fn wait_until_serving(process: &mut ServerProcess, ports: MilvusPorts) -> Result<()> {
    let client = probe::client()?;
    let probe = || async {
        let health = format!("http://127.0.0.1:{}/healthz", ports.metrics);
        let answer = probe::get(&client, &health).await?;
        if answer.trim() != "OK" {
            bail!("unhealthy: {answer}");
        }
        let collections = format!("http://127.0.0.1:{}/v1/vector/collections", ports.proxy);
        let response = client.get(collections).bearer_auth(ROOT_TOKEN).send().await?;
        // A refusal is an answer as well: a test may have changed the first user's password.
        let status = response.status();
        if !status.is_success() && status != reqwest::StatusCode::UNAUTHORIZED {
            bail!("the proxy answered {status}");
        }
        Ok(())
    };
    process.ready_when(START_TIME_LIMIT, probe).await
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("milvus.log")
}
