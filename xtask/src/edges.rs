//! Which crate may depend on which: the directions of docs/architecture.md, checked.

use crate::process::metadata;
use anyhow::bail;
use serde_json::Value;

/// What our crates may use of each other.
const OURS: [(&str, &[&str]); 9] = [
    ("milvault-domain", &[]),
    ("milvault-catalog", &["milvault-domain"]),
    ("milvault-repository", &["milvault-domain"]),
    ("milvault-milvus", &["milvault-domain"]),
    ("milvault-actors", &["milvault-domain"]),
    ("milvault-gateway", &["milvault-domain", "milvault-actors"]),
    (
        "milvault",
        &[
            "milvault-domain",
            "milvault-catalog",
            "milvault-repository",
            "milvault-milvus",
            "milvault-actors",
            "milvault-gateway",
        ],
    ),
    (
        "milvault-tests",
        &[
            "milvault-domain",
            "milvault-catalog",
            "milvault-repository",
            "milvault-milvus",
            "milvault-actors",
            "milvault-gateway",
        ],
    ),
    ("xtask", &[]),
];

/// What their tests may use besides: the real catalog on SQLite and repositories in directories are quick, and truer than
/// a fake of them.
const OURS_IN_TESTS: [(&str, &[&str]); 2] = [
    ("milvault-actors", &["milvault-catalog", "milvault-repository"]),
    ("milvault-gateway", &["milvault-catalog"]),
];

/// Libraries that stay behind one crate's border, with the crates that may use them.
const LIBRARIES: [(&str, &[&str]); 15] = [
    ("actix", &["milvault-actors"]),
    ("sqlx", &["milvault-catalog"]),
    ("object_store", &["milvault-repository", "milvault-tests"]),
    ("milvus-sdk-rust", &["milvault-milvus", "milvault-tests"]),
    ("tonic", &["milvault-milvus", "milvault-tests"]),
    ("prost", &["milvault-milvus", "milvault-repository", "milvault-tests"]),
    ("async-graphql", &["milvault-gateway"]),
    ("async-graphql-axum", &["milvault-gateway"]),
    ("axum", &["milvault-gateway", "milvault"]),
    ("openidconnect", &["milvault-gateway"]),
    ("hyper", &["milvault"]),
    ("hyper-util", &["milvault"]),
    ("figment", &["milvault"]),
    ("metrics-exporter-prometheus", &["milvault"]),
    ("indicatif", &["milvault-tests"]),
];

/// What has no place where there is no I/O: neither in the domain nor in the tasks that must compile in seconds.
const RUNTIMES: [&str; 4] = ["tokio", "tokio-util", "tokio-stream", "reqwest"];
const WITHOUT_RUNTIME: [&str; 2] = ["milvault-domain", "xtask"];

/// Checks the workspace.
///
/// # Errors
/// Names every edge that is not allowed.
pub(crate) fn run() -> anyhow::Result<()> {
    let violations = violations(&metadata()?);
    if !violations.is_empty() {
        bail!(
            "edges between crates that docs/architecture.md does not allow:\n  {}",
            violations.join("\n  ")
        );
    }
    Ok(())
}

/// Every edge in cargo's metadata that is not allowed, as a sentence.
fn violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut violations = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if allowed(&OURS, name).is_none() {
            violations
                .push(format!("{name} is not known; add it to xtask/src/edges.rs with what it may use"));
            continue;
        }
        let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        for dependency in dependencies {
            let used = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"] == "dev";
            violations.extend(violation(name, used, if in_tests { UsedIn::Tests } else { UsedIn::Product }));
        }
    }
    violations
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UsedIn {
    Product,
    Tests,
}

fn violation(name: &str, used: &str, used_in: UsedIn) -> Option<String> {
    if allowed(&OURS, used).is_some() {
        let in_product = allowed(&OURS, name).is_some_and(|list| list.contains(&used));
        // A crate may name itself to have its tests built with one of its features.
        let in_tests = used_in == UsedIn::Tests
            && (name == used || allowed(&OURS_IN_TESTS, name).is_some_and(|list| list.contains(&used)));
        return (!in_product && !in_tests).then(|| format!("{name} must not use {used}"));
    }
    if let Some(users) = allowed(&LIBRARIES, used)
        && !users.contains(&name)
    {
        return Some(format!("{name} must not use {used}, which is for {} only", users.join(" and ")));
    }
    (RUNTIMES.contains(&used) && WITHOUT_RUNTIME.contains(&name))
        .then(|| format!("{name} must not use {used}: it does no I/O"))
}

fn allowed<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(entry, _)| *entry == name).map(|(_, list)| *list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(name: &str, dependency: &Value) -> Vec<String> {
        violations(&json!({ "packages": [{ "name": name, "dependencies": [dependency] }] }))
    }

    #[test]
    fn edges_of_the_design_are_allowed() {
        for (name, used) in [
            ("milvault-gateway", "milvault-actors"),
            ("milvault-catalog", "sqlx"),
            ("milvault", "milvault-gateway"),
            ("milvault", "axum"),
            ("milvault-tests", "object_store"),
            ("milvault-domain", "serde"),
        ] {
            assert!(check(name, &json!({ "name": used, "kind": null })).is_empty(), "{name} -> {used}");
        }
        assert!(check("milvault-actors", &json!({ "name": "milvault-catalog", "kind": "dev" })).is_empty());
    }

    #[test]
    fn other_edges_are_named() {
        for (name, used, kind) in [
            ("milvault-catalog", "milvault-repository", json!(null)),
            ("milvault-actors", "milvault-catalog", json!(null)),
            ("milvault-actors", "milvault-catalog", json!("build")),
            ("milvault-repository", "milvault-milvus", json!("dev")),
            ("milvault-tests", "milvault", json!(null)),
            ("milvault-gateway", "actix", json!("dev")),
            ("milvault", "sqlx", json!(null)),
            ("milvault-domain", "tokio", json!("dev")),
            ("xtask", "milvault-domain", json!(null)),
        ] {
            let found = check(name, &json!({ "name": used, "kind": kind }));
            assert_eq!(found.len(), 1, "{name} -> {used}");
            assert!(
                found.iter().all(|line| line.starts_with(&format!("{name} must not use {used}"))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_new_crate_must_be_entered_here() {
        let found = violations(&json!({ "packages": [{ "name": "milvault-extra", "dependencies": [] }] }));
        assert_eq!(found, ["milvault-extra is not known; add it to xtask/src/edges.rs with what it may use"]);
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        assert_eq!(violations(&metadata().unwrap_or_default()), Vec::<String>::new());
        assert!(
            metadata().is_ok_and(|metadata| metadata["packages"].as_array().is_some_and(|p| p.len() > 8))
        );
    }
}
