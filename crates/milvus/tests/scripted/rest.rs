//! The REST interface of the scripted Milvus, at the address of its gRPC interface. It is made by hand, byte by byte, so
//! that it can break off where no library would.

use crate::connect::Certificates;
use crate::service::ScriptedMilvus;
use milvus::proto::milvus::ImportRequest;
use milvus::proto::milvus::milvus_service_server::MilvusServiceServer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// What becomes of a request for an import.
pub(crate) enum Reply {
    /// It begins, and this is answered.
    Begun(Value),
    /// It does not begin, and this is answered.
    Said(u16, String),
    /// It begins, and an answer comes back that is longer than anybody reads.
    BegunWithoutEnd,
    /// The connection breaks instead of an answer.
    Broken { begun: bool },
}

pub(crate) struct RestRequest {
    pub(crate) path: String,
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct RestState {
    pub(crate) requests: Vec<RestRequest>,
    /// Replies to the next requests for imports; others begin.
    pub(crate) replies: VecDeque<Reply>,
    /// There is no such interface.
    pub(crate) absent: bool,
}

impl RestState {
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.requests.iter().map(|request| request.path.as_str()).collect()
    }
}

/// A scripted Milvus with both interfaces.
#[derive(Clone)]
pub(crate) struct RestMilvus {
    pub(crate) milvus: ScriptedMilvus,
    rest: Arc<Mutex<RestState>>,
}

const NOT_FOUND: (u16, &str) = (404, "404 page not found");
/// More than Milvault reads of any answer.
const TOO_LONG: usize = 5 << 20;

impl RestMilvus {
    pub(crate) fn with_collections(names: &[&str]) -> Self {
        let milvus = ScriptedMilvus::with_collections(names);
        milvus.state().version = Some("v2.5.7");
        Self { milvus, rest: Arc::default() }
    }

    pub(crate) fn rest(&self) -> MutexGuard<'_, RestState> {
        self.rest.lock().unwrap()
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (milvus, grpc) = (self.clone(), self.grpc());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if speaks_http2(&stream).await {
                    let _ = grpc.send(Ok(stream)).await;
                } else {
                    tokio::spawn(milvus.clone().answer(stream));
                }
            }
        });
        address
    }

    /// As [`Self::serve`], as a proxy would that takes TLS off before both interfaces.
    pub(crate) async fn serve_tls(&self, certificates: &Certificates) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls_config(certificates)));
        let (milvus, grpc) = (self.clone(), self.grpc());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let _ = grpc.send(Ok(stream)).await;
                } else {
                    tokio::spawn(milvus.clone().answer(stream));
                }
            }
        });
        address
    }

    /// Serves gRPC on the connections that are sent.
    fn grpc<Stream>(&self) -> mpsc::Sender<io::Result<Stream>>
    where
        Stream: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(8);
        let service = MilvusServiceServer::new(self.milvus.clone());
        let serving =
            Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(receiver));
        tokio::spawn(serving);
        sender
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(request) = read(&mut stream).await else { return };
        let Some((status, body)) = self.reply(request) else { return };
        let head =
            format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        // Whoever has enough of a long answer goes away.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    /// Status and body; `None` breaks the connection.
    fn reply(&self, request: RestRequest) -> Option<(u16, String)> {
        let mut rest = self.rest();
        let (path, body) = (request.path.clone(), request.body.clone());
        rest.requests.push(request);
        if rest.absent {
            return Some((NOT_FOUND.0, NOT_FOUND.1.to_owned()));
        }
        let data = match path.as_str() {
            "/v2/vectordb/jobs/import/list" => self.list(&body),
            "/v2/vectordb/jobs/import/get_progress" => self.progress(&body),
            "/v2/vectordb/jobs/import/create" => match rest.replies.pop_front() {
                None => json!({ "jobId": self.begin(&body).to_string() }),
                Some(Reply::Begun(answer)) => {
                    self.begin(&body);
                    return Some((200, answer.to_string()));
                }
                Some(Reply::Said(status, answer)) => return Some((status, answer)),
                Some(Reply::BegunWithoutEnd) => {
                    self.begin(&body);
                    return Some((200, " ".repeat(TOO_LONG)));
                }
                Some(Reply::Broken { begun }) => {
                    if begun {
                        self.begin(&body);
                    }
                    return None;
                }
            },
            _ => return Some((NOT_FOUND.0, NOT_FOUND.1.to_owned())),
        };
        Some((200, json!({ "code": 0, "data": data }).to_string()))
    }

    fn begin(&self, body: &Value) -> i64 {
        let request = ImportRequest {
            collection_name: body["collectionName"].as_str().unwrap().to_owned(),
            files: serde_json::from_value(body["files"][0].clone()).unwrap(),
            ..Default::default()
        };
        self.milvus.state().begin_import(&request)
    }

    fn list(&self, body: &Value) -> Value {
        let state = self.milvus.state();
        let collection = state.collections.get(body["collectionName"].as_str().unwrap()).unwrap();
        let of_collection = state.imports.iter().filter(|import| import.collection_id == collection.id);
        let records: Vec<_> = of_collection
            .map(|import| json!({ "jobId": import.id.to_string(), "state": "Pending", "progress": 0 }))
            .collect();
        json!({ "records": records })
    }

    /// What an import reads is shown segment by segment.
    fn progress(&self, body: &Value) -> Value {
        let state = self.milvus.state();
        let id: i64 = body["jobId"].as_str().unwrap().parse().unwrap();
        let import = state.imports.iter().find(|import| import.id == id).unwrap();
        let files = &import.infos.iter().find(|pair| pair.key == "files").unwrap().value;
        let rows = files.split(',').next().unwrap();
        let details: Vec<_> =
            [7, 8].map(|segment| json!({ "fileName": format!("[{rows}{segment}]") })).into();
        json!({ "jobId": id.to_string(), "details": details })
    }
}

/// HTTP/2 begins with words of its own.
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut start = [0; 4];
    while let Ok(length) = stream.peek(&mut start).await {
        if length == start.len() || length == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    &start == b"PRI "
}

/// A whole request; `None` when it breaks off.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<RestRequest> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            let path = head.split(' ').nth(1)?.to_owned();
            return Some(RestRequest { path, head: head.to_owned(), body: serde_json::from_str(body).ok()? });
        }
    }
}

fn tls_config(certificates: &Certificates) -> ServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_slice(certificates.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes()).unwrap();
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
