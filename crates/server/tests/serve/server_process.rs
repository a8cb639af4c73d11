//! The binary under test as a child process.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// The binary with an environment that holds no setting of the machine it is tested on.
pub(crate) fn milvault(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvault"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILVAULT_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `milvault serve` on a free port, with its data here.
pub(crate) fn serve(data_dir: &Path) -> Command {
    let mut command = milvault(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir);
    command
}

/// A server that listens. Dropping it kills it.
pub(crate) struct ServerProcess {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
    log: Vec<String>,
    /// What it printed before it listened.
    pub(crate) first_lines: Vec<String>,
    /// `http://address:port`.
    pub(crate) url: String,
}

impl ServerProcess {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = lines_of(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut first_lines = Vec::new();
        let url = loop {
            let Some(line) = stdout.next() else {
                panic!("the server ended: {}", stderr.iter().collect::<Vec<_>>().join("\n"));
            };
            let line = line.unwrap();
            match line.strip_prefix("milvault listens on ") {
                Some(url) => break url.to_owned(),
                None => first_lines.push(line),
            }
        };
        Self { child, stdout, stderr, log: Vec::new(), first_lines, url }
    }

    /// The API key that it printed.
    pub(crate) fn printed_key(&self) -> Option<String> {
        let keys: Vec<_> = self.first_lines.iter().filter_map(|line| line.split("mvk_").nth(1)).collect();
        assert!(keys.len() <= 1, "a key is printed once");
        keys.first().map(|digits| format!("mvk_{digits}"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for_log(&mut self, part: &str) {
        while !self.log.last().is_some_and(|line| line.contains(part)) {
            self.log.push(self.stderr.recv().unwrap());
        }
    }

    /// Waits for its end: how it ended, and its whole log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.log.extend(self.stderr.iter());
        let rest: Vec<_> = self.stdout.by_ref().map(Result::unwrap).collect();
        assert!(rest.is_empty(), "nothing is printed after the address: {rest:?}");
        (status, self.log.join("\n"))
    }

    /// Ends it by SIGTERM, in order; its whole log.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks something of the API.
pub(crate) async fn ask(url: &str, key: Option<&str>, query: &str) -> serde_json::Value {
    let mut request =
        reqwest::Client::new().post(format!("{url}/graphql")).json(&serde_json::json!({ "query": query }));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap().json().await.unwrap()
}

/// Whether the API takes this key.
pub(crate) async fn is_accepted(url: &str, key: &str) -> bool {
    ask(url, Some(key), "{ __typename }").await["data"]["__typename"] == "Query"
}

/// The lines of a pipe, read all the time so that the writer never waits.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
