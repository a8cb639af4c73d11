//! Documents and bodies that want too much: each is refused, and the API goes on.

use crate::support::Api;
use serde_json::json;
use std::fmt::Write;

fn repeated(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{} ", part(number));
        text
    })
}

fn attacks() -> Vec<(&'static str, String)> {
    let deep =
        |open: &str, count: usize, close: &str| format!("{}{}", open.repeat(count), close.repeat(count));
    vec![
        ("deep fields", format!("{{ {} }}", deep("a{", 5_000, "}"))),
        ("deep lists", format!("{{ node(id: {}) {{ id }} }}", deep("[", 50_000, "]"))),
        (
            "deep objects",
            format!("{{ clusters(filter: {}) {{ nodes {{ id }} }} }}", deep("{a:", 20_000, "}")),
        ),
        ("unclosed brackets", "{".repeat(100_000)),
        ("deep inline fragments", format!("{{ {} }}", deep("... {", 5_000, "}"))),
        ("aliases", format!("{{ {} }}", repeated(1000, |n| format!("a{n}: viewer {{ name }}")))),
        ("root fields", format!("{{ {} }}", repeated(60, |n| format!("f{n}")))),
        (
            "mutations at once",
            format!(
                "mutation {{ {} }}",
                repeated(11, |n| format!("m{n}: createProject(input: {{name: \"p{n}\"}}) {{ __typename }}"))
            ),
        ),
        ("directives on a field", format!("{{ viewer {{ name {} }} }}", "@skip(if: false) ".repeat(1000))),
        ("unknown directives", format!("{{ viewer {{ name {} }} }}", "@x ".repeat(2000))),
        ("directives on an operation", format!("query {} {{ viewer {{ name }} }}", "@x ".repeat(2000))),
        ("words", format!("{{ viewer {{ {} }} }}", "name ".repeat(20_000))),
        (
            "a cycle of fragments",
            String::from("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }"),
        ),
        ("a fragment of itself", String::from("{ ...A } fragment A on Query { viewer { name } ...A }")),
        (
            "a bomb of fragments",
            format!(
                "{{ ...F0 }} {} fragment F60 on Query {{ viewer {{ name }} }}",
                repeated(60, |n| format!("fragment F{n} on Query {{ ...F{0} ...F{0} }}", n + 1))
            ),
        ),
        (
            "many fragments",
            format!(
                "{{ ...F0 }} {}",
                repeated(500, |n| format!("fragment F{n} on Query {{ viewer {{ name }} }}"))
            ),
        ),
        (
            "circling introspection",
            String::from(
                "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
            ),
        ),
        (
            "costly pages",
            String::from(
                "{ backups(first: 200) { nodes { databases(first: 200) { nodes { collections(first: 200) { nodes { name } } } } } } }",
            ),
        ),
        (
            "depth",
            String::from(
                "{ jobs { nodes { backup { job { backup { job { backup { job { backup { job { backup { job { backup { job { backup { job { backup { job { id } } } } } } } } } } } } } } } } } } }",
            ),
        ),
        ("a long name", format!("{{ {} }}", "n".repeat(100_000))),
        ("an endless string", format!("{{ node(id: \"{}", "x".repeat(100_000))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_and_the_api_goes_on() {
    let api = Api::start().await;
    for (name, query) in attacks() {
        let answer = api.ask(&query, json!({})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{name}: {}", answer.body);
        assert!(answer.body.to_string().len() < 20_000, "{name}: the refusal itself is large");
        api.ask("{ viewer { name } }", json!({})).await.data();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_variables_and_large_bodies_are_refused() {
    let api = Api::start().await;
    let deep = format!(
        r#"{{"query": "{{ viewer {{ name }} }}", "variables": {{"a": {}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(api.post(Some(&api.owner), deep).await.code(), "BAD_USER_INPUT");
    let large =
        json!({"query": "{ viewer { name } }", "variables": {"a": "x".repeat(256 * 1024)}}).to_string();
    let answer = api.post(Some(&api.owner), large).await;
    assert_eq!((answer.code(), answer.status.as_u16()), ("BAD_USER_INPUT", 413));
}

/// What `GraphiQL` and other tools send to learn the schema.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { description queryType { name } mutationType { name }
    subscriptionType { name } types { ...FullType } directives { name description isRepeatable locations
    args(includeDeprecated: true) { ...InputValue } } } }
    fragment FullType on __Type { kind name description specifiedByURL fields(includeDeprecated: true) { name description
    args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
    inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
    fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
    fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn tools_can_still_learn_the_schema_and_read_a_whole_backup() {
    let api = Api::start().await;
    let data = api.ask(INTROSPECTION, json!({})).await.data();
    assert!(data["__schema"]["types"].as_array().unwrap().len() > 50);
    let whole = "query($id: ID!) { backup(id: $id) { id name job { state progress { percent } }
        databases(first: 50) { edges { node { name properties { key value } collections(first: 50) { edges { node {
        name fields { name dataType typeParams { key value } } indexes { name fieldName params { key value } }
        partitions { name rowCount } aliases loadState rowCount } } pageInfo { hasNextPage endCursor } } } } }
        accessControl { users roles { name } grants { role privilege } } } }";
    let answer = api.ask(whole, json!({"id": "bkp_00000000000000000000000000000001"})).await;
    assert_eq!(answer.code(), "NOT_FOUND", "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_backups_takes_up_can_be_asked_for_and_a_refusal_says_what_to_do() {
    let api = Api::start().await;
    let usual = "{ backups { nodes { id storage { storedBytes } } } }";
    api.ask(usual, json!({})).await.data();
    let costly = "{ backups(first: 200) { nodes { a: databases(first: 200) { nodes { collections(first: 200) { nodes { name } } } } } } }";
    let answer = api.ask(costly, json!({})).await;
    let words = answer.words();
    let named = words.contains("the operation costs")
        && words.contains("at most 1000000")
        && words.contains("`first`");
    assert!(named, "{words}");
}
