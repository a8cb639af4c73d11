//! A server's process: its own process group, its output in a file, ended by its own pid.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const LOG_TAIL_LINES: usize = 20;
/// How much of a run's output is read to find those lines.
const LOG_READ_BYTES: u64 = 1024 * 1024;
/// Milvus logs whole stack traces in one line.
const LOG_LINE_MAX_CHARS: usize = 600;

/// A running server process.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    name: &'static str,
    state: State,
    pid: u32,
    log: PathBuf,
    /// Where this run's output begins in the log.
    log_start: u64,
}

#[derive(Debug)]
enum State {
    Running(Child),
    /// Reaped: its pid may be someone else's by now.
    Ended(ExitStatus),
}

impl ServerProcess {
    /// Starts the command in a process group of its own, its output appended to `log`.
    pub(crate) fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        writeln!(output, "---- start of {name}")?;
        let log_start = output.metadata()?.len();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            spawn_on_lasting_thread(command).with_context(|| format!("start {name} with {program}"))?;
        Ok(Self { name, pid: child.id(), state: State::Running(child), log: log.to_path_buf(), log_start })
    }

    /// The process id, also after the process has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks `probe` until it succeeds. Fails when the process ends, finds a port taken or is not
    /// ready in time, with the last lines of the log.
    pub(crate) async fn ready_when<F, Fut>(&mut self, limit: Duration, probe: F) -> Result<()>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let deadline = Instant::now() + limit;
        loop {
            let answer = probe().await;
            // Asked after the probe: the answer may be that of another server on a port that was
            // taken from us.
            if let Some(status) = self.exit_status()? {
                return Err(self.failure(&format!("ended at once ({status})")));
            }
            let Err(error) = answer else {
                return Ok(());
            };
            if self.port_was_taken() {
                return Err(self.failure("found a port taken"));
            }
            if Instant::now() > deadline {
                let waited = limit.as_secs();
                return Err(self.failure(&format!("was not ready after {waited} s ({error:#})")));
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Whether this run found one of its ports taken by another process.
    pub(crate) fn port_was_taken(&self) -> bool {
        self.output_of_this_run().is_ok_and(|output| {
            let output = output.to_lowercase();
            // The second is Milvus's proxy, which moves to a port that nobody asked for.
            output.contains("address already in use") || output.contains("proxy get available port")
        })
    }

    /// Sends `signal` and waits for the end; kills what has not ended within `limit`.
    pub(crate) async fn stop(&mut self, signal: Signal, limit: Duration) -> Result<()> {
        self.signal(signal)?;
        let deadline = Instant::now() + limit;
        while self.exit_status()?.is_none() {
            if Instant::now() > deadline {
                return self.kill();
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Like [`ServerProcess::stop`], for `drop`.
    pub(crate) fn stop_blocking(&mut self, signal: Signal, limit: Duration) -> Result<()> {
        self.signal(signal)?;
        let deadline = Instant::now() + limit;
        while self.exit_status()?.is_none() {
            if Instant::now() > deadline {
                return self.kill();
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Ends the process group as a crash would (SIGKILL) and reaps the process.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if let State::Running(child) = &mut self.state {
            let status = child.wait().with_context(|| format!("wait for {} to end", self.name))?;
            self.state = State::Ended(status);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let State::Running(child) = &self.state else {
            return Ok(());
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a child process has no valid pid")?;
        match kill_process_group(pid, signal) {
            // None: it has just ended on its own.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal {}", self.name)),
        }
    }

    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let child = match &mut self.state {
            State::Running(child) => child,
            State::Ended(status) => return Ok(Some(*status)),
        };
        let status = child.try_wait().with_context(|| format!("ask whether {} has ended", self.name))?;
        if let Some(status) = status {
            self.state = State::Ended(status);
        }
        Ok(status)
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        let tail = self
            .output_of_this_run()
            .map_or_else(|error| format!("(log unreadable: {error:#})"), |output| last_lines(&output));
        anyhow!("{} {what}; the last lines of {}:\n{tail}", self.name, self.log.display())
    }

    fn output_of_this_run(&self) -> Result<String> {
        let mut file = File::open(&self.log)?;
        let length = file.metadata()?.len();
        let start = self.log_start.max(length.saturating_sub(LOG_READ_BYTES));
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(LOG_READ_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure here, and the kernel ends the server with us.
        let _ = self.kill();
    }
}

/// A command that runs `program`; if this process is killed the kernel kills that one too, where
/// `setpriv` is there to ask for it (asking for it ourselves would take unsafe code).
pub(crate) fn command(program: &Path) -> Command {
    let Some(setpriv) = setpriv() else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Like [`command`], as another user.
pub(crate) fn command_as(user: &str, program: &Path) -> Result<Command> {
    let setpriv = setpriv().with_context(|| {
        format!("running as root, and no setpriv to become user {user}; `apt-get install util-linux`")
    })?;
    let mut command = Command::new(setpriv);
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={user}"))
        .args(["--init-groups", "--pdeathsig", "KILL", "--"])
        .arg(program);
    Ok(command)
}

/// A `setpriv` that knows `--pdeathsig` (the one of busybox does not).
fn setpriv() -> Option<&'static Path> {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    FOUND.then(|| Path::new("setpriv"))
}

type SpawnRequest = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process.
///
/// The kernel's "kill the child when the parent ends" watches the thread that made the child, not
/// the process: a server started on a test's own thread would end with that test, though another
/// test still uses it.
fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::SyncSender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, incoming) = mpsc::sync_channel::<SpawnRequest>(8);
        thread::spawn(move || {
            for (mut command, answer) in incoming {
                // A caller that went away drops the child's handle with the answer.
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, outcome) = mpsc::sync_channel(1);
    let ended = |_| std::io::Error::other("the thread that starts servers has ended");
    spawner
        .send((command, answer))
        .map_err(|_| std::io::Error::other("the thread that starts servers has ended"))?;
    outcome.recv().map_err(ended)?
}

/// The last lines before the stacks that a Go program dumps when it ends in a panic: what went
/// wrong stands above them.
fn last_lines(text: &str) -> String {
    let before_stacks = text.split("\ngoroutine ").next().unwrap_or(text);
    let lines: Vec<&str> = before_stacks.lines().collect();
    let skipped = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines[skipped..]
        .iter()
        .map(|line| line.chars().take(LOG_LINE_MAX_CHARS).collect::<String>())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = command(Path::new("sh"));
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "for n in $(seq 30); do echo line-$n; done; exit 3";
        let mut process = ServerProcess::spawn("sh", shell(script), &log).unwrap();
        let never = || async { Err(anyhow!("not yet")) };
        let error = process.ready_when(Duration::from_mins(1), never).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("line-30") && error.contains("line-11"), "{error}");
        assert!(!error.contains("line-10\n"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_finds_its_port_taken_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "echo 'bind 127.0.0.1:1: Address already in use'; exec sleep 600";
        let mut process = ServerProcess::spawn("sh", shell(script), &log).unwrap();
        let never = || async { Err(anyhow!("not yet")) };
        let error = process.ready_when(Duration::from_mins(1), never).await.unwrap_err();
        assert!(error.to_string().contains("port taken"), "{error}");
        assert!(process.port_was_taken());
        process.kill().unwrap();

        // What an earlier run found is no longer so.
        let process = ServerProcess::spawn("sh", shell("exec sleep 600"), &log).unwrap();
        assert!(!process.port_was_taken());
    }

    #[test]
    fn the_stacks_of_a_crash_do_not_hide_its_reason() {
        let log =
            "starting\npanic: no such queue\n\ngoroutine 1 [running]:\nmain()\n\ngoroutine 2 [idle]:\nwait()";
        assert_eq!(last_lines(log), "starting\npanic: no such queue");
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_signal_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "trap '' TERM; sleep 600 & echo child=$!; wait; wait";
        let mut process = ServerProcess::spawn("sh", shell(script), &log).unwrap();
        let output = log.clone();
        let child_shown = || async {
            anyhow::ensure!(std::fs::read_to_string(&output)?.contains("child="));
            Ok(())
        };
        process.ready_when(Duration::from_mins(1), child_shown).await.unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        let grandchild: i32 = text.split("child=").nth(1).unwrap().trim().parse().unwrap();

        process.stop(Signal::TERM, Duration::from_millis(50)).await.unwrap();
        assert_ended(i32::try_from(process.pid()).unwrap());
        assert_ended(grandchild);
    }

    #[test]
    fn a_server_outlives_the_thread_that_started_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut process =
            thread::spawn(move || ServerProcess::spawn("sh", shell("exec sleep 600"), &log).unwrap())
                .join()
                .unwrap();
        assert!(process.exit_status().unwrap().is_none());
        process.kill().unwrap();
        assert_ended(i32::try_from(process.pid()).unwrap());
    }

    /// Gone, or a zombie that its new parent has not reaped; a signal may take a moment to arrive.
    fn assert_ended(pid: i32) {
        for _ in 0..500 {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if status.is_empty() || status.contains(") Z ") {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        panic!("process {pid} still runs");
    }
}
