//! Signals.

use crate::server_process::{ServerProcess, serve};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

/// A request whose body does not come, once the server waits for it.
fn open_request(server: &ServerProcess) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let key = server.printed_key().unwrap();
    write!(
        stream,
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n\
         content-length: 100\r\nexpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

fn json_log(command: &mut Command) -> &mut Command {
    command.args(["--log-format", "json"])
}

#[test]
fn sigterm_and_sigint_end_it_in_order() {
    let directory = TempDir::new().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let server = ServerProcess::start(json_log(&mut serve(directory.path())));
        server.signal(signal);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        let messages: Vec<String> = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(messages.last().map(String::as_str), Some("stopped"), "{log}");
        assert!(messages.iter().any(|message| message == "shutting down"), "{log}");
    }
}

#[test]
fn an_open_request_gets_the_grace_and_no_more() {
    let directory = TempDir::new().unwrap();
    let server =
        ServerProcess::start(serve(directory.path()).env("MILVAULT_SERVER__SHUTDOWN_GRACE_SECONDS", "0"));
    let request = open_request(&server);
    let log = server.stop();
    assert!(log.contains("requests were still open"), "{log}");
    drop(request);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = TempDir::new().unwrap();
    let mut command = serve(directory.path());
    let mut server = ServerProcess::start(command.env("MILVAULT_SERVER__SHUTDOWN_GRACE_SECONDS", "3600"));
    let request = open_request(&server);
    server.signal(Signal::TERM);
    server.wait_for_log("shutting down");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("second signal"), "{log}");
    drop(request);
}
