//! Whatever somebody puts into any argument of any field, he is told what is wrong with it; nothing breaks.

use super::document;
use super::scene::{Place, Scene};
use super::schema::{Argument, Schema};
use super::table::Table;
use serde_json::{Value, json};

/// Values that nobody means, as they stand in a document.
fn hostile(kind: &str) -> Vec<String> {
    let text = |text: &str| format!("\"{text}\"");
    match kind {
        "String" => vec![
            text(""),
            text(" "),
            text("a\\u0000b"),
            text("\\u202Eevil\\u202C"),
            text("e\\u0301\\u200B"),
            text("👩‍👩‍👧‍👦"),
            text("' OR 1=1; DROP TABLE backups; --"),
            text("../../../etc/passwd"),
            text("%00%n${jndi:ldap://x}{{7*7}}"),
            text(&"x".repeat(65)),
            text(&"ü".repeat(20_000)),
        ],
        "ID" => vec![
            text(""),
            text("x"),
            text("clu_"),
            text("🙂"),
            text("clu_0000000000000000000000000000000G"),
            text("PRJ_00000000000000000000000000000002"),
            text("org_00000000000000000000000000000001"),
            text("job_ffffffffffffffffffffffffffffffff"),
            text("bkp_00000000000000000000000000000001\\u0000"),
            text(&"x".repeat(10_000)),
        ],
        "Int" => ["-1", "0", "2147483647", "-2147483648", "2147483648"].map(str::to_owned).into(),
        "Int64" | "Bytes" => {
            ["-1", "0", "9223372036854775807", "18446744073709551615", "1.5"].map(str::to_owned).into()
        }
        "DateTime" => [
            "yesterday",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:60Z",
            "+262142-12-31T23:59:59Z",
            "-262143-01-01T00:00:00Z",
        ]
        .map(text)
        .into(),
        _ => Vec::new(),
    }
}

/// Puts a value in the place of what an argument has, or adds the argument.
fn put(arguments: &str, argument: &Argument, value: &str) -> String {
    let Argument { within, name, .. } = argument;
    let pattern = format!("{name}: \"");
    let starts_word = |at: usize| at == 0 || !arguments.as_bytes()[at - 1].is_ascii_alphanumeric();
    if let Some(at) = arguments.match_indices(&pattern).map(|(at, _)| at).find(|at| starts_word(*at)) {
        let rest = &arguments[at + pattern.len()..];
        let end = rest.find('"').unwrap() + 1;
        return format!("{}{name}: {value}{}", &arguments[..at], &rest[end..]);
    }
    match within {
        Some(input) if arguments.contains(&format!("{input}: {{")) => {
            let end = arguments.rfind('}').unwrap();
            format!("{}, {name}: {value}{}", &arguments[..end], &arguments[end..])
        }
        Some(input) => format!("{arguments} {input}: {{{name}: {value}}}"),
        None => format!("{arguments} {name}: {value}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_any_argument_breaks_anything() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    let things = scene.everything(Place::Own).await;
    let mut tried = 0;
    for line in Table::read().roots.iter().filter(|line| line.operation != "subscription") {
        let root = super::root_type(line.operation);
        for argument in schema.arguments(root, &line.field) {
            for value in hostile(&argument.kind) {
                let arguments = put(&things.fill(&line.arguments), &argument, &value);
                let query = document(line, &arguments, schema.shortest(root, &line.field));
                let body = scene.api.ask(&query, json!({})).await.body;
                let code = body["errors"][0]["extensions"]["code"].as_str();
                let is_told = matches!(code, None | Some("BAD_USER_INPUT" | "NOT_FOUND" | "CONFLICT"));
                let shown: String = query.chars().take(400).collect();
                assert!(is_told && body.is_object(), "{shown}\n{body}");
                assert!(body.to_string().len() < 20_000, "the answer is large: {shown}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
    // The audit log is still whole, and everything can still be read.
    scene.snapshot().await;
    scene
        .api
        .ask("{ auditLog(first: 200) { nodes { sequence inputs { field value } } } }", json!({}))
        .await
        .data();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_list_gives_nothing_that_is_not_in_the_list() {
    let scene = Scene::set().await;
    scene.everything(Place::Foreign).await;
    scene.everything(Place::Own).await;
    let key = scene.caller(milvault_domain::access::Role::ProjectReadOnly).key;
    let lists = ["clusters", "repositories", "backups", "jobs", "apiKeys", "users", "auditLog"];
    let mut cursors = Vec::new();
    for list in lists {
        let query = format!("{{ {list}(first: 1) {{ pageInfo {{ endCursor }} }} }}");
        let data = scene.api.ask(&query, json!({})).await.data();
        cursors.push(data[list]["pageInfo"]["endCursor"].as_str().unwrap().to_owned());
    }
    for list in &lists[..4] {
        for cursor in &cursors {
            let query = format!("{{ {list}(after: \"{cursor}\") {{ nodes {{ id projectId }} }} }}");
            let body = scene.api.ask_as(&key, &query, json!({})).await.body;
            let code = body["errors"][0]["extensions"]["code"].as_str();
            let nodes = body["data"][list]["nodes"].as_array().map_or(&[] as &[Value], Vec::as_slice);
            assert!(matches!(code, None | Some("BAD_USER_INPUT")), "{query}: {body}");
            assert!(nodes.iter().all(|node| node["projectId"] == scene.projects[0]), "{body}");
        }
    }
}
