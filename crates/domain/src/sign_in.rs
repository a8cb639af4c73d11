//! Sign-in of people by an identity provider: attempts, who is let in as whom, and sessions.

mod policy;

pub use policy::{Admission, Invited, Provisioning, SignInPolicy, SignInRefusal};

use crate::access::{KeyUser, RoleGrant};
use crate::error::{InvalidInput, NAME_CHARS_MAX, is_invisible};
use crate::identity::is_reserved_name;
use crate::ids::{OrganizationId, SessionId, UserId};
use chrono::{DateTime, TimeDelta, Utc};

/// How long somebody may take at the provider.
pub const ATTEMPT_LIFE: TimeDelta = TimeDelta::minutes(10);
/// Most attempts that are kept; the oldest make room for new ones.
pub const ATTEMPTS_MAX: u32 = 10_000;
/// Most sessions of a user; the oldest ends when there is one more.
pub const SESSIONS_PER_USER_MAX: u32 = 20;
/// Longest path to return to, in bytes.
const RETURN_TO_BYTES_MAX: usize = 1_024;
/// Where the routes of signing in begin.
const OWN_ROUTES: &str = "/auth/";
/// The one of them that one may come back to.
const STATUS: &str = "/auth/status";

/// A sign-in that was begun. Only hashes are kept: what the browser holds cannot be made from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInAttempt {
    /// Hash of the `state` that goes to the provider and comes back.
    pub state_hash: [u8; 32],
    /// Hash of what the browser got in a cookie, from which nonce and PKCE verifier are derived.
    pub browser_hash: [u8; 32],
    /// Where to go afterwards: a path of this server.
    pub return_to: String,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// From when on it is worth nothing.
    pub expires_at: DateTime<Utc>,
}

/// An e-mail address as a provider tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEmail {
    /// The address.
    pub address: String,
    /// Whether the provider has verified it; `None` when it does not say.
    pub is_verified: Option<bool>,
}

/// Somebody whom a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenIdentity {
    /// The provider.
    pub issuer: String,
    /// Who it is there, for ever.
    pub subject: String,
    /// His address there, now.
    pub email: Option<ClaimedEmail>,
    /// His name there.
    pub name: Option<String>,
}

impl ProvenIdentity {
    /// The name of a user to be made: the one at the provider as far as it can be a name here, else the part of the
    /// address before the `@`.
    #[must_use]
    pub fn user_name(&self, email: &str) -> String {
        let local_part = email.split('@').next().unwrap_or_default();
        [self.name.as_deref().unwrap_or_default(), local_part]
            .into_iter()
            .map(as_name)
            .find(|name| !name.is_empty() && !is_reserved_name(name))
            .unwrap_or_else(|| String::from("user"))
    }
}

fn as_name(text: &str) -> String {
    let plain: String =
        text.chars().filter(|letter| !letter.is_control() && !is_invisible(*letter)).collect();
    let cut: String = plain.trim().chars().take(NAME_CHARS_MAX).collect();
    cut.trim_end().to_owned()
}

/// A sign-in that the provider has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Organization that is entered.
    pub organization_id: OrganizationId,
    /// Who enters.
    pub identity: ProvenIdentity,
    /// Who may.
    pub policy: SignInPolicy,
    /// Id of the user, should one have to be made.
    pub new_user_id: UserId,
    /// Id of the session.
    pub session_id: SessionId,
    /// Hash of the session's token.
    pub token_hash: [u8; 32],
    /// Now.
    pub now: DateTime<Utc>,
    /// When the session ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// Address of the other side.
    pub remote_address: Option<String>,
    /// What the browser says it is.
    pub user_agent: Option<String>,
}

/// A session as lists show it: neither its token nor the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub user_id: UserId,
    /// The provider that vouched for him.
    pub issuer: String,
    /// When he signed in.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute or so.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// When it was ended before that.
    pub ended_at: Option<DateTime<Utc>>,
    /// Address that he signed in from.
    pub remote_address: Option<String>,
    /// What his browser said it was.
    pub user_agent: Option<String>,
}

/// What makes a session good, besides its own times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRules {
    /// The provider in use; sessions that another one vouched for are over.
    pub issuer: String,
    /// How long a session may lie unused.
    pub idle: TimeDelta,
}

impl Session {
    /// When it ends if it is not used any more.
    #[must_use]
    pub fn ends_at(&self, rules: &SessionRules) -> DateTime<Utc> {
        let idle_end = self.last_used_at.checked_add_signed(rules.idle);
        idle_end.map_or(self.expires_at, |idle_end| idle_end.min(self.expires_at))
    }

    /// Whether it is good at that moment, whatever has become of its user.
    #[must_use]
    pub fn is_live_at(&self, now: DateTime<Utc>, rules: &SessionRules) -> bool {
        self.ended_at.is_none() && self.issuer == rules.issuer && now < self.ends_at(rules)
    }
}

/// A session with what it opens, at the moment it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionAccess {
    /// The session.
    pub session: Session,
    /// Its user.
    pub user: KeyUser,
    /// The roles that he has now.
    pub grants: Vec<RoleGrant>,
}

/// Who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// His session.
    pub session: Session,
    /// His name.
    pub user_name: String,
    /// Whether his account was made by this sign-in.
    pub is_new_user: bool,
}

/// Lets a path through that leads to a page of this server, whatever a browser makes of it.
///
/// # Errors
/// Says what such a path looks like.
pub fn check_return_to(path: &str) -> Result<(), InvalidInput> {
    let leads_in_circles = path.starts_with(OWN_ROUTES) && path != STATUS;
    let is_own = path.starts_with('/') && !path.starts_with("//") && !leads_in_circles;
    // Browsers take a backslash for a slash, and leave white space out.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own && is_plain && path.len() <= RETURN_TO_BYTES_MAX {
        return Ok(());
    }
    Err(InvalidInput::new(
        "return_to",
        format!(
            "must be a path of this server outside {OWN_ROUTES}, such as `/graphql`, of at most {RETURN_TO_BYTES_MAX} bytes"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::check_name;
    use uuid::Uuid;

    #[test]
    fn only_paths_of_this_server_are_returned_to() {
        for path in
            ["/", "/graphql", "/graphql?query=%7B%7D&x=1#a", "/a/b", "/a//b", "/authors", "/auth/status"]
        {
            assert_eq!(check_return_to(path), Ok(()), "{path}");
        }
        let long = format!("/{}", "a".repeat(RETURN_TO_BYTES_MAX));
        for path in [
            "",
            "graphql",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/ /evil",
            " //evil",
            "/a\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/auth/login",
            "/ä",
            &long,
        ] {
            assert!(check_return_to(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_new_user_gets_a_name_that_can_be_one() {
        let named = |name: Option<&str>| {
            let name = name.map(str::to_owned);
            ProvenIdentity { issuer: String::new(), subject: String::new(), email: None, name }
                .user_name("ada@example.com")
        };
        let long = "a".repeat(100);
        for (name, expected) in [
            (Some("Ada Lovelace"), "Ada Lovelace"),
            (Some(" Ada\r\n "), "Ada"),
            (Some(" \t"), "ada"),
            (None, "ada"),
            (Some(long.as_str()), &long[..NAME_CHARS_MAX]),
        ] {
            assert_eq!(named(name), expected);
            assert_eq!(check_name("name", expected), Ok(()));
        }
    }

    #[test]
    fn a_session_ends_by_time_by_disuse_by_hand_and_with_its_provider() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let session = Session {
            id: SessionId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            user_id: UserId::from_uuid(Uuid::nil()),
            issuer: String::from("https://id.example"),
            created_at: at(0),
            last_used_at: at(0),
            expires_at: at(1_000),
            ended_at: None,
            remote_address: None,
            user_agent: None,
        };
        let rules = SessionRules { issuer: session.issuer.clone(), idle: TimeDelta::seconds(300) };
        assert!(session.is_live_at(at(299), &rules) && !session.is_live_at(at(300), &rules));
        let used = Session { last_used_at: at(900), ..session.clone() };
        assert!(used.is_live_at(at(999), &rules) && !used.is_live_at(at(1_000), &rules));
        let ended = Session { ended_at: Some(at(1)), ..session.clone() };
        assert!(!ended.is_live_at(at(0), &rules));
        let elsewhere = SessionRules { issuer: String::from("https://other.example"), ..rules };
        assert!(!session.is_live_at(at(0), &elsewhere));
    }
}
