//! Two projects with something in each, and keys for every kind of caller.

use super::maker::{Maker, make, next};
use super::table::Column;
use crate::support::Api;
use milvault_domain::access::{Role, RoleGrant};
use milvault_domain::ids::OrganizationId;
use milvault_gateway::GatewayLimits;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use uuid::Uuid;

/// Where the things are that a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the project in which he has his role.
    Own,
    /// In another one of the same organization.
    Foreign,
}

/// Stands in the names of everything in the foreign project.
pub(super) const CANARY: &str = "canary";

/// What the arguments may speak of, besides `$name`.
const EVERYTHING: &str = "$project $repository $second $cluster $backup $job $busy $open $canceled $hold $target \
                          $restored $unrestored $user $key $session $role $webhook $delivery";

/// Ids by placeholder.
#[derive(Debug, Clone, Default)]
pub(super) struct Things {
    pub(super) ids: BTreeMap<&'static str, String>,
    /// Begin of all names.
    pub(super) prefix: &'static str,
}

pub(super) struct Caller {
    pub(super) column: Column,
    pub(super) key: String,
}

pub(super) struct Scene {
    pub(super) api: Api,
    pub(super) address: SocketAddr,
    /// The project of each place.
    pub(super) projects: [String; 2],
}

impl Scene {
    pub(super) async fn set() -> Self {
        // Whole answers are asked for here; that documents are limited is told by other tests.
        let limits = GatewayLimits {
            complexity_max: usize::MAX,
            depth_max: 40,
            fields_max: 100_000,
            tokens_max: 100_000,
            nesting_max: 200,
            sockets_per_key_max: 1_000,
            ..GatewayLimits::default()
        };
        let api = Api::start_with(limits).await;
        let address = api.listen().await;
        let name = format!("{CANARY}-project");
        let made = make(&api, "createProject", &format!(r#"name: "{name}""#), "project").await;
        let projects = [api.tenancy.project_id.to_string(), made];
        Self { api, address, projects }
    }

    /// A caller of every role in the own project, and the owner of the foreign one.
    pub(super) fn callers(&self) -> Vec<Caller> {
        let mut callers: Vec<_> = Role::ALL.into_iter().map(|role| self.caller(role)).collect();
        let project_id = Some(self.projects[Place::Foreign as usize].parse().unwrap());
        let grants = vec![RoleGrant { role: Role::ProjectOwner, project_id }];
        callers.push(Caller { column: Column::Outsider, key: self.api.key(grants) });
        callers
    }

    pub(super) fn caller(&self, role: Role) -> Caller {
        let project_id = (!role.is_of_organization()).then_some(self.api.tenancy.project_id);
        Caller { column: Column::Of(role), key: self.api.key(vec![RoleGrant { role, project_id }]) }
    }

    /// Keys that let nobody in: none, none that could be one, one that never was, a revoked and an expired one.
    pub(super) fn dead_keys(&self) -> Vec<Option<String>> {
        let grant = RoleGrant { role: Role::OrganizationOwner, project_id: None };
        let (revoked, expired) = (self.api.key(vec![grant]), self.api.key(vec![grant]));
        let past = self.api.clock.0.lock().unwrap().to_owned();
        self.api.change_key(&revoked, |key| key.revoked_at = Some(past));
        self.api.change_key(&expired, |key| key.expires_at = Some(past));
        let never = format!("mvk_{}", "0".repeat(64));
        vec![None, Some(String::from("mvk_")), Some(never), Some(revoked), Some(expired)]
    }

    /// The owner of another organization.
    pub(super) fn owner_of_another_organization(&self) -> String {
        let key = self.api.key(vec![RoleGrant { role: Role::OrganizationOwner, project_id: None }]);
        let elsewhere = OrganizationId::from_uuid(Uuid::from_u128(77));
        self.api.change_key(&key, |key| key.organization_id = elsewhere);
        key
    }

    /// What there is, as its owner sees it.
    pub(super) async fn snapshot(&self) -> Value {
        let query = "{ projects { id name } clusters { nodes { id name } } repositories { nodes { id name } }
            backups(first: 200) { nodes { id name status description expiresAt holds { id releasedAt } } }
            jobs(first: 200) { nodes { id type } } users { nodes { id name disabledAt roles { role } } }
            apiKeys { nodes { id revokedAt } } customRoles { id } }";
        ask(&self.api, query).await
    }

    /// Makes one of everything.
    pub(super) async fn everything(&self, place: Place) -> Things {
        self.things(place, EVERYTHING).await
    }

    /// Makes what arguments speak of.
    pub(super) async fn things(&self, place: Place, arguments: &str) -> Things {
        let prefix = if place == Place::Foreign { CANARY } else { "own" };
        let project = &self.projects[place as usize];
        Maker { api: &self.api, address: self.address, project, prefix }.make(arguments).await
    }
}

impl Things {
    /// Puts the ids into arguments.
    pub(super) fn fill(&self, arguments: &str) -> String {
        let mut filled = arguments.replace("$name", &format!("{}-{}", self.prefix, next()));
        // The longest first: one may be the beginning of another.
        let mut known: Vec<_> = self.ids.iter().collect();
        known.sort_by_key(|(placeholder, _)| std::cmp::Reverse(placeholder.len()));
        for (placeholder, id) in known {
            filled = filled.replace(placeholder, id);
        }
        assert!(!filled.contains('$'), "walk/maker.rs makes nothing for a placeholder in `{filled}`");
        filled
    }

    /// The same with ids of the same kinds that nothing has.
    pub(super) fn unknown(&self) -> Self {
        let ids = self.ids.iter().map(|(placeholder, id)| {
            let (prefix, _) = id.split_once('_').unwrap();
            (*placeholder, format!("{prefix}_{:032x}", 0x0bad_0000_0000 + next()))
        });
        Self { ids: ids.collect(), prefix: self.prefix }
    }

    /// The same with one thing of another.
    pub(super) fn with(&self, placeholder: &'static str, of: &Self) -> Self {
        let mut mixed = self.clone();
        mixed.ids.insert(placeholder, of.ids[placeholder].clone());
        mixed
    }

    pub(super) fn placeholders(&self) -> impl Iterator<Item = &'static str> {
        self.ids.keys().copied()
    }

    /// A text without the ids.
    pub(super) fn without_ids(&self, text: &str) -> String {
        self.ids.values().fold(text.to_owned(), |text, id| text.replace(id, "<id>"))
    }
}

pub(super) async fn ask(api: &Api, query: &str) -> Value {
    api.ask(query, json!({})).await.data()
}
