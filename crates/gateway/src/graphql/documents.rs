//! Every example of the documents is an operation of this schema.

#![allow(clippy::unwrap_used)]

use super::builder;
use crate::error::GatewayError;
use crate::limits::{GatewayLimits, admit};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{DocumentOperations, OperationDefinition};
use async_graphql::{Request, Value, Variables};
use futures::StreamExt;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = listed.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    paths.push(root.join("README.md"));
    paths
}

/// An operation of an example: its name, which the only one may not have, and its variables.
struct Operation {
    name: Option<String>,
    variables: Variables,
}

impl Operation {
    fn of(name: Option<String>, definition: &OperationDefinition) -> Self {
        let names = definition.variable_definitions.iter().map(|variable| variable.node.name.node.clone());
        // All examples take ids only.
        let variables = names.map(|name| (name, Value::from("x"))).collect::<IndexMap<_, _>>();
        Self { name, variables: Variables::from_value(Value::Object(variables)) }
    }
}

fn operations(example: &str) -> Vec<Operation> {
    let document =
        async_graphql::parser::parse_query(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    match document.operations {
        DocumentOperations::Single(operation) => vec![Operation::of(None, &operation.node)],
        DocumentOperations::Multiple(operations) => operations
            .iter()
            .map(|(name, operation)| Operation::of(Some(name.to_string()), &operation.node))
            .collect(),
    }
}

/// Without a caller every resolver refuses before it does anything, so an operation that is right gets nothing but that.
#[tokio::test]
async fn every_example_of_the_documents_fits_the_schema() {
    let schema = builder().finish();
    let mut examples = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("```graphql\n").skip(1) {
            let example = rest.split("```").next().unwrap();
            examples += 1;
            for operation in operations(example) {
                let request = || {
                    let request = Request::new(example).variables(operation.variables.clone());
                    match &operation.name {
                        Some(name) => request.operation_name(name),
                        None => request,
                    }
                };
                let place = path.display();
                if let Err(error) = admit(&mut request(), &GatewayLimits::default()) {
                    panic!("{place}: {error}\n{example}");
                }
                let answer = schema.execute_stream(request()).next().await.unwrap();
                for error in &answer.errors {
                    let refused =
                        matches!(error.source::<GatewayError>(), Some(GatewayError::Unauthenticated { .. }));
                    assert!(refused, "{place}: {error}\n{example}");
                }
            }
        }
    }
    assert!(examples >= 40, "only {examples} examples were found");
}
