//! What of a mutation's input is written down: fields that are known by name, and nothing else of it.

use super::kind_of;
use async_graphql::{Name, Value};
use std::collections::BTreeMap;

/// Fields whose ids are written down; the first that is there names the target.
pub(super) const ID_FIELDS: [&str; 14] = [
    "deliveryId",
    "webhookId",
    "holdId",
    "backupId",
    "jobId",
    "clusterId",
    "repositoryId",
    "apiKeyId",
    "sessionId",
    "userId",
    "customRoleId",
    "targetClusterId",
    "projectId",
    "id",
];
/// Fields whose values are written down: what was granted, to whom, and what was changed. None of them holds a secret.
const VALUE_FIELDS: [&str; 28] = [
    "copy",
    "cron",
    "cuSize",
    "depth",
    "description",
    "disabled",
    "email",
    "enabled",
    "events",
    "everyDays",
    "expiresAt",
    "forgetAccounts",
    "grants",
    "hour",
    "keep",
    "level",
    "maxBytes",
    "maxBytesPerSecond",
    "name",
    "privileges",
    "reason",
    "retentionDays",
    "roles",
    "sample",
    "startTime",
    "timeZone",
    "until",
    "weekdays",
];
/// Fields within those, besides ids and the fields above.
const INNER_FIELDS: [&str; 5] = ["daily", "lastN", "monthly", "role", "weekly"];

/// Takes a field of an input when it is one to be written down. An id counts only in the form that ids have, so that
/// nothing else gets in by its field.
pub(super) fn take(inputs: &mut BTreeMap<String, String>, name: &Name, value: &Value) {
    let rendered = if ID_FIELDS.contains(&name.as_str()) {
        id(value)
    } else if VALUE_FIELDS.contains(&name.as_str()) {
        rendered(value)
    } else {
        None
    };
    if let Some(rendered) = rendered {
        inputs.insert(name.to_string(), rendered);
    }
}

fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if kind_of(text).is_some() => Some(text.clone()),
        _ => None,
    }
}

/// A value in one line: `role=PROJECT_OWNER projectId=prj_…, role=…`.
fn rendered(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => String::from("null"),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Enum(name) => name.to_string(),
        Value::List(items) => items.iter().filter_map(rendered).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let mut parts = Vec::new();
            for (name, value) in fields {
                let known = VALUE_FIELDS.contains(&name.as_str()) || INNER_FIELDS.contains(&name.as_str());
                let inner = if known { rendered(value) } else { id(value).filter(|_| is_id_field(name)) };
                parts.extend(inner.map(|inner| format!("{name}={inner}")));
            }
            parts.join(" ")
        }
        Value::Binary(_) => return None,
    };
    Some(text)
}

fn is_id_field(name: &Name) -> bool {
    ID_FIELDS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::value;

    fn taken(input: &Value) -> BTreeMap<String, String> {
        let mut inputs = BTreeMap::new();
        if let Value::Object(fields) = input {
            for (name, value) in fields {
                take(&mut inputs, name, value);
            }
        }
        inputs
    }

    #[test]
    fn known_fields_are_taken_and_nothing_else() {
        let project = "prj_00000000000000000000000000000001";
        let inputs = taken(&value!({
            "userId": "no id",
            "roles": [{"role": "PROJECT_OWNER", "projectId": project, "secret": "canary"}, {"customRoleId": "canary"}],
            "keep": {"daily": 7, "token": "canary"},
            "retentionDays": null,
            "token": {"value": "canary"},
            "url": "https://canary",
        }));
        let expected = [
            ("keep", String::from("daily=7")),
            ("retentionDays", String::from("null")),
            ("roles", format!("role=PROJECT_OWNER projectId={project}, ")),
        ];
        assert_eq!(
            inputs,
            expected.into_iter().map(|(name, text)| (name.to_owned(), text)).collect::<BTreeMap<_, _>>()
        );
    }
}
