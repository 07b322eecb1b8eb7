//! Who can act through an identity: whoever can get at a credential of its, or acts in its name.

use model::{Actor, Identity, IdentityKind, IdentityName, SystemAction, Timestamp, token::TokenRow};
use store::state::{IdentityKey, TrustRule};

use crate::{guard::Guard, register};

/// Somebody who can act through an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// Who: an identity, or an issuer whose jobs come.
    pub who: String,
    /// In which way.
    pub how: Way,
    /// What lets them: the id of a token, rule or key.
    pub by: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// How somebody acts through an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They own it and mint its tokens.
    Owner,
    /// They administer and mint its tokens.
    Administrator,
    /// An agent that acts for it by a delegation.
    Agent,
    /// Jobs of a platform, by a trust rule.
    Platform,
    /// Whoever holds the private half of a key of its.
    Key,
    /// Somebody in whose name it acts, by a delegation.
    Person,
}

impl Way {
    /// For programs: `owner`, `administrator`, `agent`, `platform`, `key`, `person`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Administrator => "administrator",
            Self::Agent => "agent",
            Self::Platform => "platform",
            Self::Key => "key",
            Self::Person => "person",
        }
    }
}

/// What an identity can be acted through with: its own, whatever became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) tokens: &'a [TokenRow],
    pub(crate) rules: &'a [TrustRule],
    pub(crate) keys: &'a [IdentityKey],
}

impl Guard {
    /// Everybody who can act through `identity`, as far as `viewer` may see them; nobody through one that has ended. `all` are the identities of the register.
    pub(crate) fn through(&self, identity: &Identity, all: &[Identity], its: Credentials<'_>, viewer: &Actor, now: Timestamp) -> Vec<Through> {
        if !identity.is_active(now) {
            return Vec::new();
        }
        let mut through = Vec::new();
        if identity.kind != IdentityKind::User {
            let visible = all.iter().filter(|other| other.is_active(now) && other.id != identity.id && self.may_see_identity(other, viewer, now));
            through.extend(visible.filter_map(|other| self.mints_for(identity, other, now)));
            through.extend(its.rules.iter().filter(|rule| rule.revoked_at.is_none()).map(|rule| Through {
                who: rule.issuer.to_string(),
                how: Way::Platform,
                by: Some(rule.id.to_string()),
                until: identity.expires_at,
            }));
            through.extend(its.keys.iter().filter(|key| key.revoked_at.is_none() && now < key.expires_at).map(|key| Through {
                who: "whoever holds the key".to_owned(),
                how: Way::Key,
                by: Some(key.id.to_string()),
                until: Some(key.expires_at),
            }));
        }
        let live = |token: &&TokenRow| token.revoked_at.is_none() && token.spent_at.is_none() && token.expires_at > now && !token.actors.is_empty();
        through.extend(its.tokens.iter().filter(live).flat_map(|token| by_delegation(&identity.name, token)));
        through
    }

    /// As in minting itself: its owner and whoever administers.
    fn mints_for(&self, identity: &Identity, other: &Identity, now: Timestamp) -> Option<Through> {
        let owns = identity.owner.as_ref() == Some(&other.name) && other.kind == IdentityKind::User;
        let how = match owns {
            true => Way::Owner,
            false if self.may(&register::actor(other), SystemAction::Administer, now) => Way::Administrator,
            false => return None,
        };
        Some(Through { who: other.name.to_string(), how, by: None, until: identity.expires_at })
    }
}

/// The others in what somebody gave an agent.
fn by_delegation(name: &IdentityName, token: &TokenRow) -> Vec<Through> {
    let one = |who: &IdentityName, how| Through { who: who.to_string(), how, by: Some(token.id.to_string()), until: Some(token.expires_at) };
    let place = token.actors.iter().position(|actor| actor == name);
    let behind = place.map(|_| one(&token.subject, Way::Person));
    // Whoever acts after it acts through it too.
    let after = token.actors.iter().skip(place.map_or(0, |place| place + 1)).chain(&token.may_act);
    behind.into_iter().chain(after.map(|agent| one(agent, Way::Agent))).collect()
}
