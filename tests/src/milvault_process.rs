//! The real `milvault serve`, as a process of its own on a port of its own.

use crate::graphql_client::GraphqlClient;
use crate::servers::process::{ServerProcess, command};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time from the start of the process until it is ready.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// Longest time that it may take to end after SIGTERM: its own grace, and some more.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// Names another binary than the one that was built beside the running program.
const BINARY_VARIABLE: &str = "MILVAULT_BIN";

/// How to start the server.
#[derive(Debug, Clone, Default)]
pub struct MilvaultOptions {
    /// Where to listen; a free port of this machine by default.
    pub listen: Option<String>,
    /// Further arguments of `milvault serve`.
    pub arguments: Vec<String>,
    /// Environment variables on top of this process's.
    pub environment: Vec<(String, String)>,
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct MilvaultProcess {
    process: ServerProcess,
    directory: PathBuf,
    options: MilvaultOptions,
    address: String,
    api_key: String,
}

impl MilvaultProcess {
    /// Starts the server with everything it writes below `directory`, and waits until it is ready. What an earlier
    /// server left there is taken up again.
    ///
    /// # Errors
    /// There is no binary, or the server does not become ready; the error has the end of its log.
    pub async fn start(directory: &Path, options: MilvaultOptions) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let files = Files::of(directory);
        // The address of an earlier run must not be taken for the new one.
        if files.address.exists() {
            std::fs::remove_file(&files.address)?;
        }
        let mut serve = command(&binary()?);
        serve
            .arg("serve")
            .args(["--listen", options.listen.as_deref().unwrap_or("127.0.0.1:0")])
            .arg("--data-dir")
            .arg(&files.data)
            .arg("--listen-file")
            .arg(&files.address)
            .arg("--owner-key-file")
            .arg(&files.owner_key)
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(key, value)| (key, value)));
        let mut process = ServerProcess::spawn("milvault", serve, &files.log)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let answers = || async {
            let address = read_line(&files.address)?;
            let status = http.get(format!("http://{address}/readyz")).send().await?.status();
            ensure!(status.is_success(), "/readyz answers {status}");
            Ok(())
        };
        process.ready_when(READY_LIMIT, answers).await?;
        let (address, api_key) = (read_line(&files.address)?, read_line(&files.owner_key)?);
        Ok(Self { process, directory: directory.to_path_buf(), options, address, api_key })
    }

    /// `host:port` of its HTTP interface.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The owner's API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The file that holds the owner's API key.
    #[must_use]
    pub fn api_key_file(&self) -> PathBuf {
        Files::of(&self.directory).owner_key
    }

    /// The file that its output goes to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        Files::of(&self.directory).log
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A client with the owner's key.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn client(&self) -> Result<GraphqlClient> {
        GraphqlClient::new(&self.address, Some(&self.api_key))
    }

    /// The directory that it keeps its data in.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        Files::of(&self.directory).data
    }

    /// Runs another command of the same binary, with the same data directory and environment, to its end.
    ///
    /// # Errors
    /// There is no binary, or it cannot be run. How it ended is not looked at.
    pub async fn run_command(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut other = command(&binary()?);
        other
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_dir())
            .envs(self.options.environment.iter().map(|(key, value)| (key, value)));
        let output = tokio::task::spawn_blocking(move || other.output()).await?;
        output.with_context(|| format!("run milvault {}", arguments.join(" ")))
    }

    /// Sets an environment variable for the next start, and for other commands.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.options.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Ends the process as a crash would (SIGKILL).
    ///
    /// # Errors
    /// The process cannot be signaled or waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks the process to end (SIGTERM) and waits for that, a bounded time.
    ///
    /// # Errors
    /// The process cannot be signaled or waited for.
    pub async fn terminate(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, STOP_LIMIT).await
    }

    /// Starts it again on the same directory, after [`Self::kill`] or [`Self::terminate`]. The address changes.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn restart(self) -> Result<Self> {
        let Self { process, directory, options, .. } = self;
        drop(process);
        Self::start(&directory, options).await
    }
}

/// Where the server's files lie.
struct Files {
    data: PathBuf,
    address: PathBuf,
    owner_key: PathBuf,
    log: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        Self {
            data: directory.join("data"),
            address: directory.join("address"),
            owner_key: directory.join("owner-key"),
            log: directory.join("milvault.log"),
        }
    }
}

fn read_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let line = text.trim();
    ensure!(!line.is_empty(), "{} is still empty", path.display());
    Ok(line.to_owned())
}

/// The server's binary: the one that is named, or the one of the same build as the running program.
fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let own = std::env::current_exe().context("find the running program")?;
    let mut directory = own.parent().context("the running program lies in no directory")?;
    // Test programs lie one level deeper than the programs of the workspace.
    if directory.ends_with("deps") {
        directory = directory.parent().context("`deps` lies in no directory")?;
    }
    let path = directory.join("milvault");
    let profile = if directory.ends_with("release") { " --release" } else { "" };
    ensure!(
        path.exists(),
        "there is no server at {}; build it with `cargo build{profile} -p milvault`, or name one in {BINARY_VARIABLE}",
        path.display()
    );
    Ok(path)
}
