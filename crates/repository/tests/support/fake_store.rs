//! An S3 server of a few lines, for what a real one cannot be made to do: lose an answer, break a stream off, refuse.

#![allow(clippy::unwrap_used, dead_code, reason = "each user has its own part of this")]

use milvault_domain::error::PortResult;
use milvault_domain::ports::SecretSource;
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{S3Addressing, S3Credentials, S3Storage};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What the server holds, and what it does wrong.
#[derive(Default)]
pub(crate) struct State {
    /// Content by key.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    uploads_begun: usize,
    /// Uploads are completed, and nobody is told.
    pub(crate) loses_completions: bool,
    /// Uploads are forgotten before they are completed.
    pub(crate) forgets_uploads: bool,
    /// The next object whose key ends so is stored, and nobody is told.
    pub(crate) loses_put_of: Option<&'static str>,
    /// Answer to every copy.
    pub(crate) refuses_copies: Option<(u16, &'static str)>,
    /// Time that a copy takes.
    pub(crate) copy_pause: Duration,
    /// Bytes after which the next answers break off.
    pub(crate) breaks_after: Vec<usize>,
    /// The range header of each read.
    pub(crate) reads: Vec<String>,
}

/// A running server. Its threads end with the process.
pub(crate) struct FakeStore {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FakeStore {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that is gone is nobody's concern.
                std::thread::spawn(move || drop(serve(connection, &state)));
            }
        });
        Self { address, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn config(&self, prefix: &str) -> S3Storage {
        S3Storage {
            bucket: String::from("bucket"),
            prefix: prefix.to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            region: None,
            addressing: S3Addressing::Path,
            credentials: S3Credentials::Static {
                access_key_id: String::from("id"),
                secret_access_key: Secret::Value(SecretValue::new(String::from("secret"))),
                session_token: None,
            },
            ca_pem: None,
        }
    }
}

impl SecretSource for FakeStore {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        let Secret::Value(value) = secret else { unreachable!("the configurations here hold values") };
        Ok(value.clone())
    }
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(connection: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let key = decoded(path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key));
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
        Ok(Self { method, key, query, headers, body })
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered. Without a status the connection is just closed.
struct Answer {
    status: Option<u16>,
    headers: String,
    body: Vec<u8>,
    /// Bytes of the body that are sent.
    sent: usize,
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    let body = body.into();
    Answer { status: Some(status), headers: String::new(), sent: body.len(), body }
}

fn refusal(status: u16, code: &str) -> Answer {
    answer(status, format!("<Error><Code>{code}</Code><Message>refused</Message></Error>"))
}

fn silence() -> Answer {
    Answer { status: None, ..answer(200, "") }
}

impl Answer {
    fn tagged(mut self, content: &[u8]) -> Self {
        let _ = write!(self.headers, "ETag: \"{}\"\r\n", tag(content));
        self.headers.push_str("Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT\r\n");
        self
    }
}

fn tag(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..16].to_owned()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = (*first == b'%').then(|| std::str::from_utf8(&more[..2]).unwrap());
        bytes.push(hex.map_or(*first, |hex| u8::from_str_radix(hex, 16).unwrap()));
        rest = if hex.is_some() { &more[2..] } else { more };
    }
    String::from_utf8(bytes).unwrap()
}

fn serve(mut connection: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let request = Request::read(&connection)?;
    if request.header("x-amz-copy-source").is_some() {
        let pause = state.lock().unwrap().copy_pause;
        std::thread::sleep(pause);
    }
    let answer = state.lock().unwrap().answer(&request);
    let Some(status) = answer.status else { return Ok(()) };
    let length = if request.method == "HEAD" && status == 200 {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", answer.body.len())
    };
    let head = format!("HTTP/1.1 {status} x\r\n{length}{}Connection: close\r\n\r\n", answer.headers);
    connection.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        connection.write_all(&answer.body[..answer.sent])?;
    }
    Ok(())
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        match request.method.as_str() {
            "HEAD" => match self.objects.get(&request.key) {
                Some(content) => {
                    let mut head = answer(200, "").tagged(content);
                    let _ = write!(head.headers, "Content-Length: {}\r\n", content.len());
                    head
                }
                None => answer(404, ""),
            },
            "GET" if request.query("list-type").is_some() => self.list(request),
            "GET" => self.get(request),
            "PUT" => self.put(request),
            "POST" => self.post(request),
            "DELETE" => {
                match request.query("uploadId") {
                    Some(upload) => drop(self.uploads.remove(upload)),
                    None => drop(self.objects.remove(&request.key)),
                }
                answer(204, "")
            }
            _ => refusal(501, "NotImplemented"),
        }
    }

    fn list(&self, request: &Request) -> Answer {
        let prefix = request.query("prefix").unwrap_or_default();
        let mut listed = String::new();
        for (key, content) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let _ = write!(
                listed,
                "<Contents><Key>{key}</Key><LastModified>2026-11-28T20:00:00.000Z</LastModified>\
                 <ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
                tag(content),
                content.len()
            );
        }
        answer(200, format!("<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"))
    }

    fn get(&mut self, request: &Request) -> Answer {
        self.reads.push(request.header("range").unwrap_or_default().to_owned());
        let Some(content) = self.objects.get(&request.key) else { return refusal(404, "NoSuchKey") };
        if request.header("if-match").is_some_and(|wanted| wanted.trim_matches('"') != tag(content)) {
            return refusal(412, "PreconditionFailed");
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let mut found = match range {
            Some((first, last)) => {
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let last = last.min(content.len() - 1);
                let mut part = answer(206, &content[first..=last]).tagged(content);
                let _ = write!(part.headers, "Content-Range: bytes {first}-{last}/{}\r\n", content.len());
                part
            }
            None => answer(200, content.clone()).tagged(content),
        };
        if let Some(bytes) = self.breaks_after.pop() {
            found.sent = bytes.min(found.sent);
        }
        found
    }

    fn put(&mut self, request: &Request) -> Answer {
        let mut content = request.body.clone();
        if let Some(from) = request.header("x-amz-copy-source") {
            if let Some((status, code)) = self.refuses_copies {
                return refusal(status, code);
            }
            let from = decoded(from);
            let key = from.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
            let Some(found) = self.objects.get(key) else { return refusal(404, "NoSuchKey") };
            content.clone_from(found);
        }
        let copied = format!("<CopyObjectResult><ETag>\"{}\"</ETag></CopyObjectResult>", tag(&content));
        let body = if request.header("x-amz-copy-source").is_some() { copied } else { String::new() };
        let done = answer(200, body).tagged(&content);
        if let (Some(upload), Some(part)) = (request.query("uploadId"), request.query("partNumber")) {
            let Some(parts) = self.uploads.get_mut(upload) else { return refusal(404, "NoSuchUpload") };
            parts.insert(part.parse().unwrap(), content);
            return done;
        }
        if request.header("if-none-match").is_some() && self.objects.contains_key(&request.key) {
            return refusal(412, "PreconditionFailed");
        }
        self.objects.insert(request.key.clone(), content);
        if self.loses_put_of.is_some_and(|end| request.key.ends_with(end)) {
            self.loses_put_of = None;
            return silence();
        }
        done
    }

    fn post(&mut self, request: &Request) -> Answer {
        if request.query("uploads").is_some() {
            self.uploads_begun += 1;
            let id = format!("upload-{}", self.uploads_begun);
            self.uploads.insert(id.clone(), BTreeMap::new());
            let result = "InitiateMultipartUploadResult";
            return answer(200, format!("<{result}><UploadId>{id}</UploadId></{result}>"));
        }
        if let Some(upload) = request.query("uploadId") {
            let parts = self.uploads.remove(upload).filter(|_| !self.forgets_uploads);
            let Some(parts) = parts else { return refusal(404, "NoSuchUpload") };
            let content: Vec<u8> = parts.into_values().flatten().collect();
            let result = "CompleteMultipartUploadResult";
            let body = format!("<{result}><ETag>\"{}\"</ETag></{result}>", tag(&content));
            self.objects.insert(request.key.clone(), content);
            return if self.loses_completions { silence() } else { answer(200, body) };
        }
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let mut deleted = String::new();
        for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
            self.objects.remove(&decoded(key));
            let _ = write!(deleted, "<Deleted><Key>{key}</Key></Deleted>");
        }
        answer(200, format!("<DeleteResult>{deleted}</DeleteResult>"))
    }
}
