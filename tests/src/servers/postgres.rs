//! A real PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;
use tokio::process::Command;

use super::Tools;
use super::ports::free_ports;
use super::process::{ServerProcess, command, command_as};

const START_TIME_LIMIT: Duration = Duration::from_mins(1);
const STOP_TIME_LIMIT: Duration = Duration::from_secs(10);
const COMMAND_TIME_LIMIT: Duration = Duration::from_mins(1);
const MAX_STARTS: usize = 3;
/// The database's owner; on this machine, who runs it when we are root, which PostgreSQL refuses.
const USER: &str = "postgres";

/// A running PostgreSQL with an empty cluster, to which everybody on this machine may connect.
/// It is stopped when dropped, and its data are removed.
#[derive(Debug)]
pub struct Postgres {
    bin_dir: PathBuf,
    port: u16,
    process: ServerProcess,
    log: PathBuf,
    /// Not below the caller's directory: when we are root another user must reach it.
    _data: TempDir,
}

impl Postgres {
    /// Makes a new cluster, starts it and waits until it answers. Its log goes to `dir`, its data
    /// to the system's directory for temporary files.
    ///
    /// # Errors
    /// When it does not come up; the message has the last lines of its log.
    pub async fn start(tools: &Tools, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let log = dir.join("postgres.log");
        let bin_dir = tools.postgres_bin_dir().to_path_buf();
        let data = tempfile::Builder::new()
            .prefix("milvault-postgres-")
            .tempdir()
            .context("make a directory for PostgreSQL's data")?;
        let system_user = give_away(data.path())?;
        init_cluster(&bin_dir, system_user, data.path()).await?;
        for _ in 1..MAX_STARTS {
            let [port] = free_ports()?;
            let mut process = spawn(&bin_dir, system_user, data.path(), port, &log)?;
            match wait_until_serving(&mut process, &bin_dir, port).await {
                Err(_) if process.port_was_taken() => {}
                outcome => {
                    outcome?;
                    return Ok(Self { bin_dir, port, process, log, _data: data });
                }
            }
        }
        bail!("PostgreSQL found its port taken {MAX_STARTS} times; end some servers")
    }

    /// The address of the database that is always there.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port, USER)
    }

    /// Creates an empty database and returns its address.
    ///
    /// # Errors
    /// When the name is not of lower-case letters, digits and underscores, or is taken.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        };
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "database name {name:?}: use lower-case letters, digits and underscores"
        );
        let statement = format!("CREATE DATABASE \"{name}\"");
        psql(&self.bin_dir, self.port, &statement).await?;
        Ok(url(self.port, name))
    }

    /// Ends it and its connections at once, as `pg_ctl stop -m immediate` does. Does nothing when
    /// it has ended already.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::QUIT, STOP_TIME_LIMIT).await
    }

    /// The process id, for measurements.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its helpers are in process groups of their own: it must be asked to end them. Nobody is
        // left to hear of a failure here.
        let _ = self.process.stop_blocking(Signal::QUIT, STOP_TIME_LIMIT);
    }
}

/// Gives the directory to the user who will run PostgreSQL, and names that user, when we are root.
fn give_away(directory: &Path) -> Result<Option<&'static str>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        (name == USER).then_some((user, group))
    });
    let Some((user, group)) = ids else {
        bail!("PostgreSQL refuses to run as root, and there is no user to run it; `useradd --system {USER}`");
    };
    std::os::unix::fs::chown(directory, Some(user), Some(group))
        .with_context(|| format!("give {} to {USER}", directory.display()))?;
    Ok(Some(USER))
}

async fn init_cluster(bin_dir: &Path, system_user: Option<&str>, data: &Path) -> Result<()> {
    let mut command = as_user(system_user, &bin_dir.join("initdb"))?;
    command.current_dir("/").arg("-D").arg(cluster_dir(data)).args([
        "-U",
        USER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    run(Command::from(command)).await
}

fn spawn(
    bin_dir: &Path,
    system_user: Option<&str>,
    data: &Path,
    port: u16,
    log: &Path,
) -> Result<ServerProcess> {
    let mut command = as_user(system_user, &bin_dir.join("postgres"))?;
    command.current_dir("/").arg("-D").arg(cluster_dir(data)).args([
        "-p",
        &port.to_string(),
        // No socket file: its path may not be long, and the port is enough.
        "-cunix_socket_directories=",
        "-clisten_addresses=127.0.0.1",
        // Nothing here has to survive a power cut.
        "-cfsync=off",
        "-csynchronous_commit=off",
        "-cfull_page_writes=off",
        "-cshared_buffers=64MB",
    ]);
    ServerProcess::spawn("postgres", command, log)
}

async fn wait_until_serving(process: &mut ServerProcess, bin_dir: &Path, port: u16) -> Result<()> {
    process.ready_when(START_TIME_LIMIT, || psql(bin_dir, port, "SELECT 1")).await
}

async fn psql(bin_dir: &Path, port: u16, statement: &str) -> Result<()> {
    let mut command = Command::new(bin_dir.join("psql"));
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url(port, USER), "-c"]).arg(statement);
    run(command).await
}

async fn run(mut command: Command) -> Result<()> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_TIME_LIMIT, command.output())
        .await
        .with_context(|| format!("{program} did not end within {COMMAND_TIME_LIMIT:?}"))?
        .with_context(|| format!("run {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, stderr.trim());
    Ok(())
}

fn as_user(system_user: Option<&str>, program: &Path) -> Result<std::process::Command> {
    match system_user {
        Some(user) => command_as(user, program),
        None => Ok(command(program)),
    }
}

/// `initdb` wants to make its directory itself.
fn cluster_dir(data: &Path) -> PathBuf {
    data.join("cluster")
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/{database}")
}
