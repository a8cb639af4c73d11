//! What is sent, and where nothing is sent, with a real receiver and with names that lead where a test says.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::post;
use milvault_domain::webhook::{new_secret, sign};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;

const ALL_ALLOWED: WebhookSettings = WebhookSettings { allow_private_addresses: true, allow_http: true };
const HTTP_ALLOWED: WebhookSettings = WebhookSettings { allow_private_addresses: false, allow_http: true };
const NOTHING_ALLOWED: WebhookSettings =
    WebhookSettings { allow_private_addresses: false, allow_http: false };

/// Names with the addresses that they lead to, one list for each time that somebody asks; the last one stays.
#[derive(Default)]
struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    fn of<const N: usize>(name: &str, answers: [&[&str]; N]) -> Arc<Self> {
        let parsed = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let answers = answers.iter().map(parsed).collect();
        Arc::new(Self(Mutex::new(HashMap::from([(name.to_owned(), answers)]))))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(host).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

#[derive(Default)]
struct Received {
    requests: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// Status and headers of the answers.
    answer: Mutex<Option<(StatusCode, &'static str)>>,
}

impl Received {
    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn receive(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> Answer {
    received.requests.lock().unwrap().push((headers, body));
    let (status, location) = received.answer.lock().unwrap().unwrap_or((StatusCode::OK, ""));
    (status, [("location", location)], "canary-body ".repeat(100_000)).into_response()
}

async fn receiver() -> (Arc<Received>, SocketAddr) {
    let received = Arc::new(Received::default());
    let router = Router::new().route("/hook", post(receive)).with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (received, address)
}

fn message(url: &str) -> WebhookMessage {
    let secret = new_secret([7; 32]);
    let body = String::from(r#"{"type":"PING"}"#);
    let signature = sign(&[secret], "dlv_1", 1_700_000_000, &body).unwrap();
    WebhookMessage {
        url: url.to_owned(),
        id: String::from("dlv_1"),
        timestamp_seconds: 1_700_000_000,
        signature,
        body,
    }
}

async fn failure(sender: &HttpSender, url: &str) -> String {
    match sender.send(&message(url)).await {
        SendOutcome::Failed(words) => words,
        SendOutcome::Answered(status) => panic!("{url} answered {status}"),
    }
}

#[tokio::test]
async fn a_receiver_gets_what_was_signed() {
    let (received, address) = receiver().await;
    let sender = HttpSender::with_lookup(ALL_ALLOWED, Names::of("hooks.test", [&["127.0.0.1"]]));
    // By a name, so that the port of the URL is used with the address of the name.
    let url = format!("http://hooks.test:{}/hook", address.port());
    sender.check(&url).await.unwrap();
    let sent = message(&url);
    assert_eq!(sender.send(&sent).await, SendOutcome::Answered(200));
    let (headers, body) = received.requests.lock().unwrap().pop().unwrap();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(body, sent.body.as_bytes());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), (sent.id, String::from("1700000000")));
    let expected = sign(&[new_secret([7; 32])], "dlv_1", 1_700_000_000, std::str::from_utf8(&body).unwrap());
    assert_eq!(header("webhook-signature"), expected.unwrap());
    assert!(header("user-agent").starts_with("milvault/"));
}

#[tokio::test]
async fn redirects_are_answers_and_nobody_follows_them() {
    let (received, address) = receiver().await;
    let url = format!("http://{address}/hook");
    *received.answer.lock().unwrap() = Some((StatusCode::TEMPORARY_REDIRECT, "/hook"));
    let sender = HttpSender::with_lookup(ALL_ALLOWED, Arc::new(Names::default()));
    let outcome = sender.send(&message(&url)).await;
    assert_eq!(outcome, SendOutcome::Answered(307));
    assert_eq!(received.count(), 1);
    assert!(outcome.error().unwrap().contains("not followed"));
    assert!(!outcome.error().unwrap().contains("canary"));
}

#[tokio::test]
async fn addresses_that_are_not_public_get_no_request() {
    let (received, address) = receiver().await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "１２７.0.0.1",
    ] {
        let sender = HttpSender::with_lookup(HTTP_ALLOWED, Arc::new(Names::default()));
        let url = format!("http://{host}:{port}/hook");
        let error = sender.check(&url).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{url}");
        assert!(error.to_string().contains("public addresses"), "{url}: {error}");
        assert!(failure(&sender, &url).await.contains("public addresses"), "{url}");
    }
    assert_eq!(received.count(), 0);
}

#[tokio::test]
async fn names_that_lead_inside_get_no_request_even_when_they_lead_outside_too() {
    let (received, address) = receiver().await;
    for inside in [
        "127.0.0.1",
        "10.9.8.7",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd12::1",
        "100.100.100.200",
    ] {
        for answer in [&[inside][..], &["93.184.215.14", inside][..], &[inside, "93.184.215.14"][..]] {
            let sender = HttpSender::with_lookup(HTTP_ALLOWED, Names::of("sneaky.test", [answer]));
            let url = format!("http://sneaky.test:{}/hook", address.port());
            assert!(sender.check(&url).await.is_err(), "{answer:?}");
            assert!(failure(&sender, &url).await.contains("public addresses"), "{answer:?}");
        }
    }
    assert_eq!(received.count(), 0);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_after_its_check_gets_no_request() {
    let (received, address) = receiver().await;
    let names = Names::of("rebinding.test", [&["93.184.215.14"], &["127.0.0.1"]]);
    let sender = HttpSender::with_lookup(HTTP_ALLOWED, names);
    let url = format!("http://rebinding.test:{}/hook", address.port());
    sender.check(&url).await.unwrap();
    assert!(failure(&sender, &url).await.contains("public addresses"));
    assert_eq!(received.count(), 0);

    // Each attempt looks the name up once, for the check and for the connection: there is no moment in between.
    let names = Names::of("once.test", [&["127.0.0.1"], &["203.0.113.1"]]);
    let sender = HttpSender::with_lookup(ALL_ALLOWED, names);
    let url = format!("http://once.test:{}/hook", address.port());
    assert_eq!(sender.send(&message(&url)).await, SendOutcome::Answered(200));
    assert_eq!(received.count(), 1);
}

#[tokio::test]
async fn only_https_is_sent_to_unless_http_is_allowed() {
    let (received, address) = receiver().await;
    let private_only = WebhookSettings { allow_private_addresses: true, allow_http: false };
    let sender = HttpSender::with_lookup(private_only, Arc::new(Names::default()));
    let url = format!("http://{address}/hook");
    assert!(sender.check(&url).await.unwrap_err().to_string().contains("https://"));
    assert!(failure(&sender, &url).await.contains("https://"));
    assert_eq!(received.count(), 0);
    // A receiver that speaks no TLS is told nothing either.
    let words = failure(&sender, &format!("https://{address}/hook")).await;
    assert!(words.contains("cannot connect"), "{words}");
    assert_eq!(received.count(), 0);
}

#[tokio::test]
async fn urls_of_another_form_are_refused_in_words() {
    let sender = HttpSender::with_lookup(NOTHING_ALLOWED, Names::of("hooks.test", [&["93.184.215.14"]]));
    sender.check("https://hooks.test/hook?token=x").await.unwrap();
    for (url, words) in [
        ("hooks.test/hook", "must be a URL"),
        ("https://", "must be a URL"),
        ("https://hooks.test:99999/", "must be a URL"),
        ("ftp://hooks.test/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("gopher://hooks.test/", "must begin with https://"),
        ("http://hooks.test/", "must begin with https://"),
        ("https://user@hooks.test/", "user name"),
        ("https://:hunter2@hooks.test/", "user name"),
        ("https://hooks.test/#part", "fragment"),
        ("https://unknown.test/", "cannot be looked up"),
    ] {
        let error = sender.check(url).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{url}");
        assert!(error.to_string().contains(words), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn failures_are_told_in_words_of_our_own() {
    let sender = HttpSender::with_lookup(ALL_ALLOWED, Arc::new(Names::default()));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(failure(&sender, &format!("http://{address}/canary")).await, "cannot connect to the receiver");
    assert_eq!(failure(&sender, "http://unknown.test/").await, "cannot connect to the receiver");

    // One that speaks something else.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 canary mail\r\n").await;
        }
    });
    let words = failure(&sender, &format!("http://{address}/")).await;
    assert_eq!(words, "the receiver broke off or did not speak HTTP");
}
