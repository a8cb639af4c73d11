//! The whole schema, found by introspection, as every kind of caller. `schema/graphql/access.txt` says who gets what;
//! whoever adds a field adds a line there, and a field without a line fails here.

mod keys;
mod maker;
mod scene;
mod schema;
mod session;
mod strangers;
mod table;

use crate::support::socket::SocketClient;
use milvault_domain::access::Role;
use milvault_domain::audit::AuditResult;
use milvault_domain::ports::{AuditCatalog, AuditFilter, AuditPage};
use scene::{CANARY, Caller, Place, Scene, Things};
use schema::Schema;
use serde_json::{Value, json};
use table::{Column, Expected, Part, RootLine, Table};

const ROOTS: [(&str, &str); 3] =
    [("query", "Query"), ("mutation", "Mutation"), ("subscription", "Subscription")];

fn root_type(operation: &str) -> &'static str {
    ROOTS.into_iter().find(|(known, _)| *known == operation).unwrap().1
}

fn operation(schema: &Schema, line: &RootLine, things: &Things) -> String {
    let RootLine { operation, field, arguments, .. } = line;
    let selection = schema.shortest(root_type(operation), field);
    document(line, &things.fill(arguments), selection)
}

fn document(line: &RootLine, arguments: &str, selection: &str) -> String {
    let arguments = if arguments.is_empty() { String::new() } else { format!("({arguments})") };
    format!("{} {{ {}{arguments} {selection} }}", line.operation, line.field)
}

async fn call(scene: &Scene, key: &str, line: &RootLine, query: &str) -> Value {
    if line.operation != "subscription" {
        return scene.api.ask_as(key, query, json!({})).await.body;
    }
    let mut client = SocketClient::admitted(scene.address, key).await;
    client.subscribe("1", query, json!({})).await;
    client.event().await.unwrap()
}

/// An answer as a caller could compare it with another, without what differs between any two.
fn comparable(things: &Things, body: &Value) -> String {
    let mut body = body.clone();
    for error in body["errors"].as_array_mut().into_iter().flatten() {
        error["extensions"].as_object_mut().unwrap().remove("requestId");
    }
    things.without_ids(&body.to_string())
}

/// What was written down since an entry: action and result of each, intents apart.
async fn audited(scene: &Scene, since: u64) -> (u64, Vec<(String, Option<AuditResult>)>) {
    let filter = AuditFilter::of(scene.api.tenancy.organization_id);
    let page = AuditPage { limit: 20, after: None, newest_first: true };
    let entries = scene.api.catalog.audit_entries(&filter, page).await.unwrap().items;
    let newest = entries[0].sequence;
    let new = entries.into_iter().filter(|entry| entry.sequence > since);
    (newest, new.map(|entry| (entry.record.action, entry.record.result)).collect())
}

/// A mutation leaves exactly its intent and its outcome, newest first.
fn check_audit(what: &str, line: &RootLine, body: &Value, written: &[(String, Option<AuditResult>)]) {
    let result = match code(body) {
        None => AuditResult::Ok,
        Some("UNAVAILABLE" | "INTERNAL") => AuditResult::Failed,
        Some(_) => AuditResult::Refused,
    };
    let own: Vec<_> = written.iter().filter(|(action, _)| *action == line.field).map(|(_, of)| *of).collect();
    assert_eq!(own, [Some(result), None], "{what}: {written:?}");
}

fn code(body: &Value) -> Option<&str> {
    body["errors"][0]["extensions"]["code"].as_str()
}

fn check(what: &str, line: &RootLine, expected: Expected, body: &Value) {
    let list = &body["data"][&line.field];
    let is_empty = *list == json!([]) || list["nodes"] == json!([]);
    let found = code(body);
    let right = match expected {
        Expected::Forbidden => found == Some("FORBIDDEN"),
        Expected::NotFound => found == Some("NOT_FOUND"),
        Expected::Empty => found.is_none() && is_empty,
        Expected::Ok if line.rule_name == "LIST" => found.is_none() && !is_empty,
        Expected::Ok => found.is_none() && body.get("errors").is_none(),
    };
    assert!(right, "{what}\nthe table says {expected:?}, the answer is {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_schema_has_its_line() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    let table = Table::read();
    let mut missing = Vec::new();
    for (operation, root) in ROOTS {
        let (known, decided) = (schema.field_names(root), table.fields_of(operation));
        missing
            .extend(known.difference(&decided).map(|field| format!("{root}.{field} | <RULE> | <arguments>")));
        for gone in decided.difference(&known) {
            missing.push(format!("(remove) {root}.{gone}"));
        }
        for field in known.intersection(&decided) {
            let lines =
                table.roots.iter().filter(|line| line.operation == operation && line.field == **field);
            let arguments: String = lines.map(|line| line.arguments.as_str()).collect();
            for id in schema.id_arguments(root, field) {
                if !arguments.contains(&format!("{id}: \"$")) {
                    missing.push(format!("{root}.{field} | <RULE> | <a line that uses the id `{id}`>"));
                }
            }
        }
    }
    let parts = schema.parts();
    for (part, is_node) in &parts {
        match (table.parts.get(part), is_node) {
            (Some(Part::See), _) | (Some(Part::Parent), false) => {}
            (_, true) => missing.push(format!("{part} | SEE")),
            (None, false) => missing.push(format!("{part} | PARENT")),
        }
    }
    missing.extend(
        table.parts.keys().filter(|part| !parts.contains_key(*part)).map(|part| format!("(remove) {part}")),
    );
    assert!(
        missing.is_empty(),
        "put these lines into schema/graphql/access.txt, say what they give to whom, and run `cargo xtask codegen`:\n{}",
        missing.join("\n")
    );
    assert!(table.roots.len() > 60 && parts.len() > 400, "introspection found too little");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anything_without_a_living_key() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    let things = scene.everything(Place::Own).await;
    let dead = scene.dead_keys();
    let mut queries =
        vec![String::from("{ __schema { queryType { name } } }"), String::from("{ __typename }")];
    queries.extend(Table::read().roots.iter().map(|line| operation(&schema, line, &things)));
    let before = scene.snapshot().await;
    for query in queries {
        for key in &dead {
            let answer = scene.api.post(key.as_deref(), json!({"query": query}).to_string()).await;
            assert_eq!((answer.code(), answer.status.as_u16()), ("UNAUTHENTICATED", 401), "{query}");
            assert_eq!(answer.body["data"], Value::Null);
        }
    }
    assert_eq!(scene.snapshot().await, before);
}

/// All that gives nothing, and all that only reads: on things of the own project, of the foreign one, and on ids that
/// nothing has.
#[tokio::test(flavor = "multi_thread")]
async fn every_field_refuses_and_shows_what_its_line_says() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    // The own ones last: making others lets waiting jobs go on.
    let foreign = scene.everything(Place::Foreign).await;
    let own = scene.everything(Place::Own).await;
    let unknown = foreign.unknown();
    let callers = scene.callers();
    let before = scene.snapshot().await;
    let mut newest = audited(&scene, 0).await.0;
    for line in &Table::read().roots {
        for Caller { column, key } in &callers {
            let expected = line.rule.expected(*column);
            if line.operation != "mutation" || expected != Expected::Ok {
                let query = operation(&schema, line, &own);
                let body = call(&scene, key, line, &query).await;
                check(&format!("{column:?}, own: {query}"), line, expected, &body);
                if line.operation == "mutation" {
                    let (now, written) = audited(&scene, newest).await;
                    check_audit(&query, line, &body, &written);
                    newest = now;
                }
            }
            let sees_foreign = matches!(column, Column::Of(Role::OrganizationOwner) | Column::Outsider);
            if sees_foreign || !line.rule.is_about_a_thing() {
                continue;
            }
            let expected = line.rule.expected(Column::Outsider);
            let query = operation(&schema, line, &foreign);
            let body = call(&scene, key, line, &query).await;
            check(&format!("{column:?}, foreign: {query}"), line, expected, &body);
            let query = operation(&schema, line, &unknown);
            let absent = call(&scene, key, line, &query).await;
            newest = audited(&scene, newest).await.0;
            assert_eq!(
                comparable(&foreign, &body),
                comparable(&unknown, &absent),
                "{column:?}: what is foreign and what does not exist must look the same: {query}"
            );
        }
    }
    assert_eq!(scene.snapshot().await, before, "something was changed by callers who may not");
}

/// Somebody with every right in his own project names one thing of another one among his own.
#[tokio::test(flavor = "multi_thread")]
async fn one_foreign_id_among_own_ones_is_not_found() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    // The own ones last: making others lets waiting jobs go on.
    let foreign = scene.everything(Place::Foreign).await;
    let own = scene.everything(Place::Own).await;
    let unknown = foreign.unknown();
    let before = scene.snapshot().await;
    let Caller { key, .. } = scene.caller(Role::ProjectOwner);
    for line in Table::read().roots.iter().filter(|line| line.rule.is_about_a_thing()) {
        for placeholder in own.placeholders().filter(|name| line.arguments.contains(&format!("\"{name}\""))) {
            // Users and roles are of the organization, and known in all its projects.
            if ["$user", "$role"].contains(&placeholder) {
                continue;
            }
            let query = operation(&schema, line, &own.with(placeholder, &foreign));
            let body = call(&scene, &key, line, &query).await;
            let expected = line.rule.expected(Column::Outsider);
            check(&format!("with the foreign {placeholder}: {query}"), line, expected, &body);
            let query = operation(&schema, line, &own.with(placeholder, &unknown));
            let absent = call(&scene, &key, line, &query).await;
            assert_eq!(comparable(&foreign, &body), comparable(&unknown, &absent), "{query}");
        }
    }
    assert_eq!(scene.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_another_organization_finds_nothing() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    let things = scene.everything(Place::Own).await;
    let before = scene.snapshot().await;
    let key = scene.owner_of_another_organization();
    for line in Table::read().roots.iter().filter(|line| line.rule.is_about_a_thing()) {
        let query = operation(&schema, line, &things);
        let body = call(&scene, &key, line, &query).await;
        // His organization is not in this catalog, so nothing that he does could be written down.
        let is_written_down = line.operation == "mutation"
            || ["foreignBackups(", "planRestore("].iter().any(|field| query.contains(field));
        let is_unaudited = is_written_down && code(&body) == Some("UNAVAILABLE");
        if !is_unaudited {
            check(&query, line, line.rule.expected(Column::Outsider), &body);
        }
    }
    for field in ["viewer", "projects", "apiKeys", "users", "customRoles", "auditLog"] {
        let query = format!("{{ {field} {} }}", schema.whole("Query", field));
        let body = scene.api.ask_as(&key, &query, json!({})).await.body.to_string();
        assert!(!body.contains("own-") && !body.contains(CANARY), "{body}");
    }
    assert_eq!(scene.snapshot().await, before);
}

/// Whole answers, down to the last level, have nothing of the foreign project in them.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_has_anything_of_a_foreign_project() {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    scene.everything(Place::Foreign).await;
    let own = scene.everything(Place::Own).await;
    let callers = scene.callers();
    let mut seen = 0;
    for line in &Table::read().roots {
        if line.operation != "query" {
            continue;
        }
        let selection = schema.whole("Query", &line.field);
        // Without arguments too, where it can be asked so.
        for arguments in [own.fill(&line.arguments), String::new()] {
            let query = document(line, &arguments, &selection);
            for Caller { column, key } in &callers {
                if matches!(column, Column::Of(Role::OrganizationOwner) | Column::Outsider) {
                    continue;
                }
                // Roles, users and what billing admins see belong to the whole organization.
                if ["customRoles", "usage"].contains(&line.field.as_str()) {
                    continue;
                }
                let body = scene.api.ask_as(key, &query, json!({})).await.body;
                let text = body.to_string();
                assert!(!text.contains(CANARY), "{column:?} {query}\n{text}");
                let complains = code(&body) == Some("BAD_USER_INPUT");
                assert!(!complains || arguments.is_empty(), "{column:?} {query}\n{text}");
                seen += usize::from(text.contains("own-"));
            }
        }
    }
    assert!(seen > 100, "the answers show nothing at all: {seen}");
}

/// Everything that is let through to a change, each time on things of its own.
async fn changes_by(role: Role) {
    let scene = Scene::set().await;
    let schema = Schema::of(&scene.api).await;
    let Caller { column, key } = scene.caller(role);
    let mut done = 0;
    for line in Table::read().roots {
        if line.operation == "mutation" && line.rule.expected(column) == Expected::Ok {
            let things = scene.things(Place::Own, &line.arguments).await;
            let query = operation(&schema, &line, &things);
            let newest = audited(&scene, 0).await.0;
            let body = call(&scene, &key, &line, &query).await;
            check(&format!("{role:?}: {query}"), &line, Expected::Ok, &body);
            check_audit(&query, &line, &body, &audited(&scene, newest).await.1);
            done += 1;
        }
    }
    assert!(done > 13, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_the_organization_changes_what_the_table_says() {
    changes_by(Role::OrganizationOwner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_the_project_changes_what_the_table_says() {
    changes_by(Role::ProjectOwner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_role_that_manages_backups_changes_what_the_table_says() {
    changes_by(Role::CustomBackupManage).await;
}
