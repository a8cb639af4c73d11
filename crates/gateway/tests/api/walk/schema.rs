//! The schema as introspection tells it.

use super::scene::ask;
use crate::support::Api;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Levels of things within things that a whole answer goes down.
const LEVELS_MAX: usize = 5;

pub(super) struct Schema {
    types: BTreeMap<String, Value>,
    /// Types that have an identity of their own, and rights on them.
    nodes: BTreeSet<String>,
}

impl Schema {
    pub(super) async fn of(api: &Api) -> Self {
        let of_type = "type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";
        let query = format!(
            "{{ __schema {{ types {{ name kind possibleTypes {{ name }} inputFields {{ name {of_type} }}
            fields {{ name {of_type} args {{ name {of_type} }} }} }} }} }}"
        );
        let mut schema = ask(api, &query).await;
        let types: BTreeMap<_, _> = schema["__schema"]["types"]
            .as_array_mut()
            .unwrap()
            .drain(..)
            .map(|described| (described["name"].as_str().unwrap().to_owned(), described))
            .collect();
        let nodes = types["Node"]["possibleTypes"].as_array().unwrap();
        let nodes = nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect();
        Self { types, nodes }
    }

    fn list(&self, name: &str, what: &str) -> &[Value] {
        self.types[name][what].as_array().map_or(&[], Vec::as_slice)
    }

    pub(super) fn field_names(&self, type_name: &str) -> BTreeSet<&str> {
        self.list(type_name, "fields").iter().map(|field| field["name"].as_str().unwrap()).collect()
    }

    /// Every field of every object that is no root, as `Type.field`, with whether it is a thing of its own.
    pub(super) fn parts(&self) -> BTreeMap<String, bool> {
        let mut parts = BTreeMap::new();
        for (name, described) in &self.types {
            let is_root = ["Query", "Mutation", "Subscription"].contains(&name.as_str());
            if described["kind"] != "OBJECT" || is_root || name.starts_with("__") {
                continue;
            }
            // What these wrap was decided about where they are given.
            let wraps = ["Payload", "Connection", "Edge"].iter().any(|ending| name.ends_with(ending));
            for field in self.list(name, "fields") {
                let is_node = self.nodes.contains(named(field).1) && !wraps;
                parts.insert(format!("{name}.{}", field["name"].as_str().unwrap()), is_node);
            }
        }
        parts
    }

    /// Names of all arguments of a root field that are ids, those within inputs too.
    pub(super) fn id_arguments(&self, root: &str, field: &str) -> BTreeSet<String> {
        let field = self.list(root, "fields").iter().find(|known| known["name"] == field).unwrap();
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for argument in field["args"].as_array().unwrap() {
            self.collect_ids(argument, &mut found, &mut seen);
        }
        found
    }

    fn collect_ids(&self, argument: &Value, found: &mut BTreeSet<String>, seen: &mut BTreeSet<String>) {
        let (kind, name) = named(argument);
        if name == "ID" {
            found.insert(argument["name"].as_str().unwrap().to_owned());
        }
        if kind == "INPUT_OBJECT" && seen.insert(name.to_owned()) {
            for field in self.list(name, "inputFields") {
                self.collect_ids(field, found, seen);
            }
        }
    }

    /// The arguments of a root field that are plain values, and those fields of its inputs that are.
    pub(super) fn arguments(&self, root: &str, field: &str) -> Vec<Argument> {
        let field = self.list(root, "fields").iter().find(|known| known["name"] == field).unwrap();
        let mut found = Vec::new();
        for argument in field["args"].as_array().unwrap() {
            let own = argument["name"].as_str().unwrap();
            let (kind, name) = named(argument);
            if kind == "INPUT_OBJECT" {
                found.extend(
                    self.list(name, "inputFields").iter().filter_map(|field| plain(field, Some(own))),
                );
            } else {
                found.extend(plain(argument, None));
            }
        }
        found
    }

    /// Whether a mutation answers with a job.
    pub(super) fn gives_job(&self, field: &str) -> bool {
        let field = self.list("Mutation", "fields").iter().find(|known| known["name"] == field).unwrap();
        self.list(named(field).1, "fields").iter().any(|part| named(part).1 == "Job")
    }

    /// Whether the input of a mutation has an idempotency key.
    pub(super) fn takes_key(&self, field: &str) -> bool {
        let field = self.list("Mutation", "fields").iter().find(|known| known["name"] == field).unwrap();
        let input = named(&field["args"][0]).1;
        self.list(input, "inputFields").iter().any(|part| part["name"] == "idempotencyKey")
    }

    /// What to select of a field's type to have an answer at all.
    pub(super) fn shortest(&self, root: &str, field: &str) -> &'static str {
        let field = self.list(root, "fields").iter().find(|known| known["name"] == field).unwrap();
        match named(field) {
            ("SCALAR" | "ENUM", _) => "",
            (_, name) if name.ends_with("Connection") => "{ nodes { __typename } }",
            _ => "{ __typename }",
        }
    }

    /// Everything that can be selected of a field's type.
    pub(super) fn whole(&self, root: &str, field: &str) -> String {
        let field = self.list(root, "fields").iter().find(|known| known["name"] == field).unwrap();
        self.everything(named(field).1, &mut Vec::new()).unwrap_or_default()
    }

    fn everything<'a>(&'a self, type_name: &'a str, path: &mut Vec<&'a str>) -> Option<String> {
        let described = &self.types[type_name];
        match described["kind"].as_str().unwrap() {
            "SCALAR" | "ENUM" => return Some(String::new()),
            "INTERFACE" | "UNION" => {
                let possible = described["possibleTypes"].as_array().unwrap();
                let fragments = possible.iter().filter_map(|possible| {
                    let name = possible["name"].as_str().unwrap();
                    let fields = self.types[name]["name"].as_str()?;
                    Some(format!("... on {name} {}", self.everything(fields, path)?))
                });
                return Some(format!("{{ __typename {} }}", fragments.collect::<Vec<_>>().join(" ")));
            }
            _ => {}
        }
        if path.contains(&type_name) || path.len() > LEVELS_MAX {
            return None;
        }
        path.push(type_name);
        let mut text = String::from("{ __typename");
        for field in self.list(type_name, "fields") {
            let needs = |argument: &Value| argument["type"]["kind"] == "NON_NULL";
            let takes_arguments = field["args"].as_array().unwrap().iter().any(needs);
            // The elements are those of the edges.
            let repeats = type_name.ends_with("Connection") && field["name"] == "edges";
            if takes_arguments || repeats {
                continue;
            }
            if let Some(selection) = self.everything(named(field).1, path) {
                write!(text, " {} {selection}", alias(type_name, field)).unwrap();
            }
        }
        path.pop();
        Some(text + " }")
    }
}

/// An argument, or a field of an input.
pub(super) struct Argument {
    /// The argument that is the input.
    pub(super) within: Option<String>,
    pub(super) name: String,
    pub(super) kind: String,
}

fn plain(described: &Value, within: Option<&str>) -> Option<Argument> {
    let mut outer = &described["type"];
    if outer["kind"] == "NON_NULL" {
        outer = &outer["ofType"];
    }
    (outer["kind"] == "SCALAR").then(|| Argument {
        within: within.map(str::to_owned),
        name: described["name"].as_str().unwrap().to_owned(),
        kind: outer["name"].as_str().unwrap().to_owned(),
    })
}

/// Fields of one name and different types meet in fragments of interfaces; an alias keeps them apart.
fn alias(type_name: &str, field: &Value) -> String {
    let name = field["name"].as_str().unwrap();
    format!("{type_name}_{name}: {name}")
}

/// Kind and name of a type without lists and non-nulls around it.
fn named(described: &Value) -> (&str, &str) {
    let mut named = &described["type"];
    while named["name"].is_null() {
        named = &named["ofType"];
    }
    (named["kind"].as_str().unwrap(), named["name"].as_str().unwrap())
}
