//! Typed, opaque identifiers. Each prints as `<prefix>_<32 hex digits>` and parses back from exactly that form,
//! so an id of one kind can never be taken for an id of another, neither by the compiler nor by an API caller.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {kind} id; expected the form `{prefix}_<32 hex digits>`")]
pub struct InvalidId {
    given: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// What the printed form starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID. Callers make version 7 UUIDs, whose order is the order of creation.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId {
                    given: text.chars().take(80).collect(),
                    kind: $kind,
                    prefix: $prefix,
                };
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(invalid)?;
                // `Uuid` also reads hyphens, braces and upper case; one id has one spelling here.
                if digits.len() != 32 || digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(invalid());
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| invalid())
            }
        }
    };
}

id_type!(
    /// An organization: the tenant that owns projects and people.
    OrganizationId, "org", "organization"
);
id_type!(
    /// A project: what clusters, repositories, backups and jobs belong to.
    ProjectId, "prj", "project"
);
id_type!(
    /// A registered Milvus cluster.
    ClusterId, "clu", "cluster"
);
id_type!(
    /// A backup repository.
    RepositoryId, "rep", "repository"
);
id_type!(
    /// A backup.
    BackupId, "bkp", "backup"
);
id_type!(
    /// A job.
    JobId, "job", "job"
);
id_type!(
    /// A user: a person of an organization.
    UserId, "usr", "user"
);
id_type!(
    /// An API key (its record, not its secret).
    ApiKeyId, "key", "API key"
);
id_type!(
    /// A hold on a backup.
    HoldId, "hld", "hold"
);
id_type!(
    /// A running server: one life of a process.
    ServerId, "srv", "server"
);
id_type!(
    /// A webhook.
    WebhookId, "whk", "webhook"
);
id_type!(
    /// The delivery of an event to a webhook.
    DeliveryId, "dlv", "webhook delivery"
);
id_type!(
    /// A session: somebody who signed in by an identity provider (its record, not its token).
    SessionId, "ses", "session"
);
id_type!(
    /// A custom role.
    CustomRoleId, "rol", "custom role"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_prints_and_parses_back() {
        let id = ClusterId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string(), "clu_01920000000070008000000000000001");
        assert_eq!(id.to_string().parse::<ClusterId>().unwrap(), id);
    }

    #[test]
    fn other_kinds_and_other_spellings_are_refused() {
        let digits = "01920000000070008000000000000001";
        for text in [
            format!("job_{digits}"),
            digits.to_owned(),
            String::from("clu_"),
            format!("clu_{digits}0"),
            format!("clu_{}", "ABCDEF00000070008000000000000001"),
            format!("clu_{}", Uuid::nil()),
        ] {
            let error = text.parse::<ClusterId>().unwrap_err();
            assert!(error.to_string().contains("is not a cluster id"), "{error}");
        }
    }
}
