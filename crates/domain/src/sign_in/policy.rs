//! Who is let in as whom.

use super::ProvenIdentity;
use crate::identity::User;
use crate::ids::UserId;
use serde::{Deserialize, Serialize};

/// What becomes of somebody who signs in for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    /// He is turned away: only those come in who came in before.
    Off,
    /// He comes in when there is a user with his verified address.
    Invitation,
    /// Besides, where there is no such user one is made, as a member of the organization.
    Members,
}

/// Who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInPolicy {
    /// What becomes of newcomers.
    pub provisioning: Provisioning,
    /// When there are any, only people with a verified address in one of these domains come in, each time.
    pub allowed_email_domains: Vec<String>,
    /// Whether an address counts as verified when the provider does not say. One that it calls unverified never does.
    pub silent_email_counts: bool,
}

/// Why somebody whom the provider vouches for is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    /// The provider tells no address.
    #[error("the identity provider tells no e-mail address; ask its administrator to share it with Milvault")]
    EmailMissing,
    /// The address is not verified.
    #[error("the identity provider has not verified your e-mail address; verify it there and sign in again")]
    EmailNotVerified,
    /// The address is in no domain that may come in.
    #[error(
        "people with an e-mail address of your domain may not sign in here; ask an owner of the organization"
    )]
    EmailDomain,
    /// Nobody here has that address.
    #[error("nobody has invited you yet; ask an owner of the organization to add you as a user")]
    UserUnknown,
    /// The user with that address belongs to another account of the provider.
    #[error(
        "your e-mail address belongs to a user who signs in by another account; ask an owner of the organization"
    )]
    UserBoundElsewhere,
    /// The user was shut out.
    #[error("your user is disabled; ask an owner of the organization")]
    UserDisabled,
}

impl SignInRefusal {
    /// How the audit log spells it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmailMissing => "EMAIL_MISSING",
            Self::EmailNotVerified => "EMAIL_NOT_VERIFIED",
            Self::EmailDomain => "EMAIL_DOMAIN_NOT_ALLOWED",
            Self::UserUnknown => "USER_UNKNOWN",
            Self::UserBoundElsewhere => "USER_BOUND_ELSEWHERE",
            Self::UserDisabled => "USER_DISABLED",
        }
    }
}

/// The user with the address that a provider vouches for.
#[derive(Debug, Clone, Copy)]
pub struct Invited<'a> {
    /// The user.
    pub user: &'a User,
    /// Whether he is bound to an account of this provider already.
    pub is_bound: bool,
}

/// As whom somebody is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// As the user that he was before.
    Enter(UserId),
    /// As this user, from now on for ever.
    Bind(UserId),
    /// As a new user with this address, from now on for ever.
    Create {
        /// The address.
        email: String,
    },
}

impl SignInPolicy {
    /// The address that somebody may be known by.
    ///
    /// # Errors
    /// There is none, it is not verified, or its domain may not come in.
    pub fn email_of<'a>(&self, identity: &'a ProvenIdentity) -> Result<&'a str, SignInRefusal> {
        let email = identity.email.as_ref().ok_or(SignInRefusal::EmailMissing)?;
        if !email.is_verified.unwrap_or(self.silent_email_counts) {
            return Err(SignInRefusal::EmailNotVerified);
        }
        let domain = email.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let is_allowed = self.allowed_email_domains.is_empty()
            || self.allowed_email_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain));
        if is_allowed { Ok(&email.address) } else { Err(SignInRefusal::EmailDomain) }
    }

    /// Decides about somebody whom the provider vouches for. `bound` is the user whom its account is bound to. A user
    /// keeps his account whatever addresses the two have later.
    ///
    /// # Errors
    /// He is not let in.
    pub fn judge(
        &self,
        identity: &ProvenIdentity,
        bound: Option<&User>,
        invited: Option<Invited<'_>>,
    ) -> Result<Admission, SignInRefusal> {
        let email = self.email_of(identity);
        if !self.allowed_email_domains.is_empty() {
            email?;
        }
        if let Some(user) = bound {
            return enabled(user).map(Admission::Enter);
        }
        if self.provisioning == Provisioning::Off {
            return Err(SignInRefusal::UserUnknown);
        }
        let email = email?;
        match invited {
            Some(Invited { is_bound: true, .. }) => Err(SignInRefusal::UserBoundElsewhere),
            Some(Invited { user, is_bound: false }) => enabled(user).map(Admission::Bind),
            None if self.provisioning == Provisioning::Members => {
                Ok(Admission::Create { email: email.to_owned() })
            }
            None => Err(SignInRefusal::UserUnknown),
        }
    }
}

fn enabled(user: &User) -> Result<UserId, SignInRefusal> {
    if user.disabled_at.is_none() { Ok(user.id) } else { Err(SignInRefusal::UserDisabled) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrganizationId;
    use crate::sign_in::ClaimedEmail;
    use chrono::DateTime;
    use uuid::Uuid;

    fn policy(provisioning: Provisioning) -> SignInPolicy {
        SignInPolicy { provisioning, allowed_email_domains: Vec::new(), silent_email_counts: false }
    }

    fn identity(address: &str, is_verified: Option<bool>) -> ProvenIdentity {
        ProvenIdentity {
            issuer: String::from("https://id.example"),
            subject: String::from("1"),
            email: Some(ClaimedEmail { address: address.to_owned(), is_verified }),
            name: None,
        }
    }

    fn user(number: u128) -> User {
        User {
            id: UserId::from_uuid(Uuid::from_u128(number)),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            name: String::from("Ada"),
            email: String::from("ada@example.com"),
            disabled_at: None,
            created_at: DateTime::UNIX_EPOCH,
            assignments: Vec::new(),
        }
    }

    #[test]
    fn newcomers_come_in_as_far_as_the_policy_goes() {
        let ada = identity("ada@example.com", Some(true));
        let known = user(1);
        let invited = || Some(Invited { user: &known, is_bound: false });
        let judge = |provisioning, invited| policy(provisioning).judge(&ada, None, invited);
        for provisioning in [Provisioning::Invitation, Provisioning::Members] {
            assert_eq!(judge(provisioning, invited()), Ok(Admission::Bind(known.id)));
        }
        assert_eq!(judge(Provisioning::Off, invited()), Err(SignInRefusal::UserUnknown));
        assert_eq!(judge(Provisioning::Invitation, None), Err(SignInRefusal::UserUnknown));
        let created = Admission::Create { email: String::from("ada@example.com") };
        assert_eq!(judge(Provisioning::Members, None), Ok(created));
    }

    #[test]
    fn an_address_that_is_not_verified_opens_nothing() {
        let known = user(1);
        for (claim, silent_counts, expected) in [
            (Some(true), false, Ok(Admission::Bind(known.id))),
            (Some(false), false, Err(SignInRefusal::EmailNotVerified)),
            (None, false, Err(SignInRefusal::EmailNotVerified)),
            (Some(false), true, Err(SignInRefusal::EmailNotVerified)),
            (None, true, Ok(Admission::Bind(known.id))),
        ] {
            let policy = SignInPolicy { silent_email_counts: silent_counts, ..policy(Provisioning::Members) };
            let invited = Some(Invited { user: &known, is_bound: false });
            assert_eq!(policy.judge(&identity("ada@example.com", claim), None, invited), expected);
        }
        let nameless = ProvenIdentity { email: None, ..identity("x", None) };
        let judged = policy(Provisioning::Members).judge(&nameless, None, None);
        assert_eq!(judged, Err(SignInRefusal::EmailMissing));
    }

    #[test]
    fn an_account_stays_with_its_user_and_a_user_with_his_account() {
        let (known, other) = (user(1), user(2));
        // Somebody else's address, or none that is verified, does not move the binding.
        for email in [identity("grace@example.com", Some(true)), identity("ada@example.com", Some(false))] {
            let invited = Some(Invited { user: &other, is_bound: false });
            let judged = policy(Provisioning::Off).judge(&email, Some(&known), invited);
            assert_eq!(judged, Ok(Admission::Enter(known.id)));
        }
        let taken_over = Some(Invited { user: &known, is_bound: true });
        let judged =
            policy(Provisioning::Members).judge(&identity("ada@example.com", Some(true)), None, taken_over);
        assert_eq!(judged, Err(SignInRefusal::UserBoundElsewhere));
    }

    #[test]
    fn disabled_users_and_foreign_domains_stay_outside() {
        let disabled = User { disabled_at: Some(DateTime::UNIX_EPOCH), ..user(1) };
        let ada = identity("ada@example.com", Some(true));
        let invitation = policy(Provisioning::Invitation);
        let invited = Some(Invited { user: &disabled, is_bound: false });
        assert_eq!(invitation.judge(&ada, Some(&disabled), None), Err(SignInRefusal::UserDisabled));
        assert_eq!(invitation.judge(&ada, None, invited), Err(SignInRefusal::UserDisabled));

        let domains = vec![String::from("Example.com")];
        let limited = SignInPolicy { allowed_email_domains: domains, ..policy(Provisioning::Members) };
        assert!(limited.judge(&ada, None, None).is_ok());
        for address in ["ada@example.com.evil", "ada@sub.example.com", "example.com", "ada@evil@", ""] {
            let judged = limited.judge(&identity(address, Some(true)), Some(&user(1)), None);
            assert_eq!(judged, Err(SignInRefusal::EmailDomain), "{address}");
        }
    }
}
