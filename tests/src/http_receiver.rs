//! A receiver of webhooks: keeps what it is sent, and answers as it is told.

use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// By names in lower case.
    headers: HashMap<String, String>,
    /// The body.
    pub body: String,
}

impl ReceivedRequest {
    /// A header; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A running receiver. Dropping it ends it.
#[derive(Debug)]
pub struct HttpReceiver {
    url: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl HttpReceiver {
    /// Starts one on a free port of this machine, which answers with these statuses, the last one again and again.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(statuses: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for webhooks")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let (kept, statuses) = (Arc::clone(&requests), statuses.to_vec());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(request) = read_request(&mut stream).await else { continue };
                let number = {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push(request);
                    kept.len()
                };
                let status = statuses.get(number - 1).or(statuses.last()).copied().unwrap_or(200);
                let answer =
                    format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                // Whoever asked may have gone away.
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = counted.send(number);
            }
        });
        Ok(Self { url, requests, count, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was sent so far.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was sent, once that is so much.
    pub async fn requests(&self, count: usize) -> Vec<ReceivedRequest> {
        // It ends early only when the receiver does, and then there is no more to come.
        let _ = self.count.clone().wait_for(|seen| count <= *seen).await;
        self.received()
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(stream: &mut TcpStream) -> Result<ReceivedRequest> {
    let mut bytes = Vec::new();
    loop {
        if let Some(request) = parsed(&bytes)? {
            return Ok(request);
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        anyhow::ensure!(0 < read && bytes.len() < REQUEST_BYTES_MAX, "the request ends early or is too long");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The request, when all of it is there.
fn parsed(bytes: &[u8]) -> Result<Option<ReceivedRequest>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let headers: HashMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |text| text.parse())?;
    let Some(body) = bytes[end + 4..].get(..length) else { return Ok(None) };
    Ok(Some(ReceivedRequest { headers, body: String::from_utf8(body.to_vec())? }))
}
