//! Servers, and which of them works on what, as people see it.

use crate::support::Api;
use milvault_domain::access::Role;
use milvault_domain::ids::{ClusterId, ServerId};
use milvault_domain::lease::{Claim, NewServer};
use milvault_domain::ports::LeaseCatalog;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const SERVERS: &str =
    "{ servers { id name version alive answering leases { clusterId serverId serverName generation } } }";

async fn lease(api: &Api, key: &str, cluster_id: &str) -> Value {
    let query = "query($id: ID!) { cluster(id: $id) { lease { serverId serverName generation expiresAt } } }";
    api.ask_as(key, query, json!({"id": cluster_id})).await.data()["cluster"]["lease"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_their_leases_are_shown_to_those_who_may_see_them() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let viewer = api.key_with(Role::ProjectReadOnly);
    assert_eq!(lease(&api, &viewer, &cluster_id).await, Value::Null);

    let other = NewServer {
        id: ServerId::from_uuid(Uuid::from_u128(77)),
        name: String::from("milvault-b"),
        version: String::from("9.9.9"),
    };
    let length = Duration::from_mins(5);
    api.catalog.renew_leases(&other, &[], length).await.unwrap();
    let key: ClusterId = cluster_id.parse().unwrap();
    let claimed = api.catalog.claim_lease(key, other.id, length).await.unwrap();
    assert!(matches!(claimed, Claim::Granted(_)), "{claimed:?}");

    let shown = api.ask(SERVERS, json!({})).await.data()["servers"].take();
    let listed: Vec<_> = shown.as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2, "{shown}");
    assert_eq!((&listed[0]["answering"], &listed[0]["leases"]), (&json!(true), &json!([])));
    assert_eq!(listed[0]["alive"], true);
    let expected = json!({
        "id": other.id.to_string(), "name": "milvault-b", "version": "9.9.9", "alive": true, "answering": false,
        "leases": [{"clusterId": cluster_id, "serverId": other.id.to_string(), "serverName": "milvault-b",
            "generation": 1}],
    });
    assert_eq!(*listed[1], expected);
    let seen = lease(&api, &viewer, &cluster_id).await;
    assert_eq!((&seen["serverName"], &seen["generation"]), (&json!("milvault-b"), &json!(1)));

    for key in [api.key_with(Role::ProjectOwner), viewer, api.foreign_key()] {
        assert_eq!(api.ask_as(&key, SERVERS, json!({})).await.code(), "FORBIDDEN");
    }
}
