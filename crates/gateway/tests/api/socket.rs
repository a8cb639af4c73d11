//! Sockets: who gets in, how long he stays, how much he may have under way.

use crate::support::Api;
use crate::support::socket::{PATIENCE, PROTOCOL, SocketClient};
use milvault_domain::access::{Role, RoleGrant};
use milvault_domain::ports::Clock;
use milvault_gateway::GatewayLimits;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Error;

fn limits() -> GatewayLimits {
    GatewayLimits { key_check_interval: Duration::from_millis(20), ..GatewayLimits::default() }
}

async fn init(client: &mut SocketClient, payload: Value) {
    client.send(&json!({"type": "connection_init", "payload": payload})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_place_of_the_key_lets_in() {
    let api = Api::start().await;
    let address = api.listen().await;
    let bearer = format!("Bearer {}", api.owner);
    for payload in
        [json!({"Authorization": bearer}), json!({"authorization": bearer}), json!({"apiKey": api.owner})]
    {
        let mut client = SocketClient::connect(address).await;
        init(&mut client, payload).await;
        assert_eq!(client.message().await.unwrap()["type"], "connection_ack");
        // Queries and mutations work here too.
        client.subscribe("1", "{ viewer { name } }", json!({})).await;
        assert_eq!(client.event().await.unwrap()["data"]["viewer"]["name"], "owner");
        assert_eq!(client.event().await, None);
    }
    let headers = [PROTOCOL, ("authorization", bearer.as_str())];
    let mut client = SocketClient::connect_with(address, &headers).await.unwrap();
    client.send(&json!({"type": "connection_init"})).await;
    assert_eq!(client.message().await.unwrap()["type"], "connection_ack");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_valid_key() {
    let api = Api::start().await;
    let address = api.listen().await;
    for payload in [
        json!({}),
        json!(null),
        json!({"apiKey": "mvk_1"}),
        json!({"apiKey": format!("mvk_{}", "0".repeat(64))}),
        json!({"Authorization": "Basic x"}),
    ] {
        let mut client = SocketClient::connect(address).await;
        init(&mut client, payload.clone()).await;
        let closed = client.message().await.unwrap_err();
        assert_eq!(closed.code, 4401, "{payload}");
        assert!(closed.reason.starts_with("UNAUTHENTICATED"), "{}", closed.reason);
    }
    let mut client = SocketClient::connect(address).await;
    client.subscribe("1", "{ viewer { name } }", json!({})).await;
    assert_eq!(client.message().await.unwrap_err().code, 4401);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_nonsense_end_a_connection() {
    let limits = GatewayLimits { init_timeout: Duration::from_millis(50), ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    let address = api.listen().await;
    let mut client = SocketClient::connect(address).await;
    assert_eq!(client.message().await.unwrap_err().code, 4408);

    let api = Api::start().await;
    let address = api.listen().await;
    let mut client = SocketClient::admitted(address, &api.owner).await;
    client.send(&json!({"type": "nonsense"})).await;
    assert_eq!(client.message().await.unwrap_err().code, 4400);

    let mut client = SocketClient::admitted(address, &api.owner).await;
    init(&mut client, json!({"apiKey": api.owner})).await;
    assert_eq!(client.message().await.unwrap_err().code, 4429);

    let mut client = SocketClient::admitted(address, &api.owner).await;
    client.subscribe("1", &"x".repeat(300 * 1024), json!({})).await;
    assert!(client.message().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_one_protocol_and_known_origins_are_upgraded() {
    let api = Api::start().await;
    let address = api.listen().await;
    let status =
        async |headers: &[(&'static str, &str)]| match SocketClient::connect_with(address, headers).await {
            Ok(_) => 101,
            Err(error) => match *error {
                Error::Http(response) => response.status().as_u16(),
                other => panic!("{other}"),
            },
        };
    assert_eq!(status(&[("sec-websocket-protocol", "graphql-ws")]).await, 400);
    assert_eq!(status(&[PROTOCOL, ("origin", "https://evil.example")]).await, 403);
    assert_eq!(status(&[PROTOCOL, ("origin", "https://console.example")]).await, 101);
    assert_eq!(status(&[PROTOCOL, ("origin", &format!("http://{address}"))]).await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_or_changes_ends_its_subscriptions() {
    let api = Api::start_with(limits()).await;
    let address = api.listen().await;
    let now = api.clock.now();
    for ending in 0..3 {
        let key = api.key_with(Role::ProjectReadOnly);
        let mut client = SocketClient::admitted(address, &key).await;
        client.subscribe("long", "subscription { jobUpdates { id } }", json!({})).await;
        // The subscription stands when a later operation has answered.
        client.subscribe("probe", "{ viewer { name } }", json!({})).await;
        assert_eq!(client.message().await.unwrap()["id"], "probe");
        assert_eq!(client.message().await.unwrap()["type"], "complete");
        api.change_key(&key, |key| match ending {
            0 => key.revoked_at = Some(now),
            1 => key.expires_at = Some(now),
            _ => key.grants = vec![RoleGrant { role: Role::ProjectOwner, ..key.grants[0] }],
        });
        let last = client.message().await.unwrap();
        assert_eq!(last["id"], "long");
        assert_eq!(last["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        assert_eq!(client.message().await.unwrap()["type"], "complete");
        assert_eq!(client.message().await.unwrap_err().code, 4401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_one_connection_are_limited() {
    let api = Api::start_with(GatewayLimits { subscriptions_per_socket_max: 3, ..limits() }).await;
    let address = api.listen().await;
    let mut client = SocketClient::admitted(address, &api.owner).await;
    let endless = "subscription { jobUpdates { id } }";
    for id in ["1", "2", "3"] {
        client.subscribe(id, endless, json!({})).await;
    }
    client.subscribe("4", endless, json!({})).await;
    let refused = client.message().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["payload"]["errors"][0]["extensions"]["code"]),
        (&json!("4"), &json!("BUSY"))
    );
    assert_eq!(client.message().await.unwrap()["type"], "complete");
    // One that ends makes room.
    client.send(&json!({"type": "complete", "id": "2"})).await;
    assert_eq!(client.message().await.unwrap(), json!({"type": "complete", "id": "2"}));
    client.subscribe("5", "{ viewer { name } }", json!({})).await;
    assert_eq!(client.event().await.unwrap()["data"]["viewer"]["name"], "owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_per_key_and_in_all() {
    let limits = GatewayLimits {
        sockets_per_key_max: 2,
        sockets_max: 4,
        sockets_unknown_max: 4,
        ..GatewayLimits::default()
    };
    let api = Api::start_with(limits).await;
    let address = api.listen().await;
    let first = SocketClient::admitted(address, &api.owner).await;
    let _second = SocketClient::admitted(address, &api.owner).await;
    let mut third = SocketClient::connect(address).await;
    init(&mut third, json!({"apiKey": api.owner})).await;
    let closed = third.message().await.unwrap_err();
    assert_eq!((closed.code, closed.reason.starts_with("BUSY")), (1013, true));
    let other = api.key_with(Role::ProjectReadOnly);
    let _others = SocketClient::admitted(address, &other).await;
    drop((first, third));

    // Places come back, as soon as the server has noticed.
    let mut held = Vec::new();
    let fill = async {
        loop {
            match SocketClient::connect_with(address, &[PROTOCOL]).await {
                Ok(client) => held.push(client),
                Err(error) if held.len() >= 2 => return error,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, fill).await.unwrap();
    assert!(matches!(*error, Error::Http(response) if response.status() == 503));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_say_nothing_do_not_take_the_places_of_others() {
    let limits = GatewayLimits { sockets_unknown_max: 3, init_timeout: PATIENCE, ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    let address = api.listen().await;
    let known = SocketClient::admitted(address, &api.owner).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(SocketClient::connect(address).await);
    }
    let Err(refused) = SocketClient::connect_with(address, &[PROTOCOL]).await else {
        panic!("a fourth unknown caller was let in");
    };
    assert!(matches!(*refused, Error::Http(response) if response.status() == 503));
    // Whoever says who he is makes room.
    let mut first = silent.remove(0);
    init(&mut first, json!({"apiKey": api.owner})).await;
    assert_eq!(first.message().await.unwrap()["type"], "connection_ack");
    SocketClient::connect(address).await;
    drop(known);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_use_ends_the_connection() {
    let api = Api::start().await;
    let address = api.listen().await;
    let mut client = SocketClient::admitted(address, &api.owner).await;
    let endless = "subscription { jobUpdates { id } }";
    client.subscribe("1", "{ viewer { name } }", json!({})).await;
    assert!(client.event().await.is_some());
    assert_eq!(client.event().await, None);
    client.subscribe("1", endless, json!({})).await;
    client.send(&json!({"type": "complete", "id": "1"})).await;
    client.subscribe("1", endless, json!({})).await;
    assert_eq!(client.message().await.unwrap(), json!({"type": "complete", "id": "1"}));
    let make = "mutation { createProject(input: {name: \"never\"}) { __typename } }";
    client.subscribe("1", make, json!({})).await;
    let closed = client.message().await.unwrap_err();
    assert_eq!((closed.code, closed.reason.as_str()), (4409, "Subscriber for 1 already exists"));
    let projects = api.ask("{ projects { name } }", json!({})).await;
    assert!(!projects.body.to_string().contains("never"), "{}", projects.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_documents_hold_here_too() {
    let api = Api::start().await;
    let address = api.listen().await;
    let mut client = SocketClient::admitted(address, &api.owner).await;
    for query in
        ["{".repeat(100_000), String::from("subscription { a: jobUpdates { id } b: jobUpdates { id } }")]
    {
        client.subscribe("1", &query, json!({})).await;
        let event = client.event().await.unwrap();
        assert_eq!(event["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        assert!(event["errors"][0]["extensions"]["requestId"].is_string());
        assert_eq!(client.event().await, None);
    }
    let absent = json!({"id": "job_00000000000000000000000000000001"});
    client.subscribe("2", "subscription($id: ID!) { jobUpdated(jobId: $id) { id } }", absent).await;
    let event = client.event().await.unwrap();
    assert_eq!(event["errors"][0]["extensions"]["code"], "NOT_FOUND");
    client.event().await;
    client.send(&json!({"type": "ping"})).await;
    assert_eq!(client.message().await.unwrap()["type"], "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_pinged_and_let_go() {
    let limits = GatewayLimits { ping_interval: Duration::from_millis(750), ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    let address = api.listen().await;
    // A client that reads answers pings without knowing; one that does not read does not.
    let mut reading = SocketClient::admitted(address, &api.owner).await;
    reading.subscribe("1", "subscription { jobUpdates { id } }", json!({})).await;
    let reader = tokio::spawn(async move { reading.message().await });
    let mut silent = SocketClient::admitted(address, &api.owner).await;
    wait_for_end(silent.0.get_mut()).await;
    assert!(!reader.is_finished(), "the client that answered was let go");
    reader.abort();
}

/// Reads the raw connection, so that no ping is answered, until the server closes it.
async fn wait_for_end(stream: &mut tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>) {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}
