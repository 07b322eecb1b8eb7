//! Tokens as the state store and the listings know them: never the secret part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, IdentityKeyId, IdentityName, RequestId, Run, SignInId, Timestamp, TokenId, TrustId};

/// What a token may be used for. One class never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenUse {
    /// Opening sessions on connections.
    Connect,
    /// Calling the HTTP API.
    Api,
    /// Nothing by itself: an agent exchanges it, with a proof of its own, for one that opens connections on behalf of its subject.
    Delegate,
    /// Opening sessions over SSH for whoever has a key that was registered. There is no text of it: what it is bound to is shown.
    #[serde(rename = "ssh-key")]
    SshKey,
    /// The same for a key over which the gateway's own authority made a certificate.
    #[serde(rename = "ssh-certificate")]
    SshCertificate,
}

impl TokenUse {
    /// Whether it is a key that is shown, and not a text.
    #[must_use]
    pub const fn is_of_ssh(self) -> bool {
        matches!(self, Self::SshKey | Self::SshCertificate)
    }
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Who it speaks for.
    pub subject: IdentityName,
    /// What it may be used for.
    pub purpose: TokenUse,
    /// The connections it opens, or lets be opened; empty for API tokens, and for keys of SSH that open whatever policy lets their subject open.
    pub connections: Vec<ConnectionName>,
    /// The one statement it may run, if it is for a single operation.
    pub statement: Option<String>,
    /// Who minted it.
    pub minted_by: IdentityName,
    /// When.
    pub created_at: Timestamp,
    /// From when it works.
    pub not_before: Timestamp,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// When it last opened a session.
    pub last_used: Option<Timestamp>,
    /// When its one statement was let run, if that was.
    pub spent_at: Option<Timestamp>,
    /// When and by whom it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    pub revoked_by: Option<IdentityName>,
    /// The sign-in at a provider it was minted in, if it was: it ends with it.
    pub sign_in: Option<SignInId>,
    /// The run of the workload that it was exchanged for, if it was.
    pub run: Option<Run>,
    /// The rule by which it was.
    pub trust: Option<TrustId>,
    /// The key of a workload or agent that it was asked for with, if it was: it ends with it.
    pub key: Option<IdentityKeyId>,
    /// The thumbprint of the key that whoever uses it must have, if it is bound to one.
    pub bound_to: Option<String>,
    /// Who acts for the subject, nearest first; empty when the subject acts alone. The last of a delegation is whom it was given to.
    pub actors: Vec<IdentityName>,
    /// The runs of those in the chain whose links came before this one, by name.
    pub earlier_runs: BTreeMap<IdentityName, Run>,
    /// The agent that may act next with what opens connections itself: it exchanges it as it would a delegation.
    pub may_act: Option<IdentityName>,
    /// What it was exchanged for, the link before it in the chain: it ends with it.
    pub parent: Option<TokenId>,
    /// The request for its one statement that was granted: what was granted counts where it is used.
    pub request: Option<RequestId>,
}

/// How many agents may stand between a subject and a connection. Each is asked by policy about each operation, and each is one more that can be deceived.
pub const MAX_ACTORS: usize = 4;

impl TokenRow {
    /// Who acts with it or gave it on, nearest to the subject first: not the agent a delegation was given to, which does not act yet.
    #[must_use]
    pub fn acting(&self) -> &[IdentityName] {
        match (self.purpose, self.actors.split_last()) {
            (TokenUse::Delegate, Some((_, before))) => before,
            _ => &self.actors,
        }
    }

    /// The one agent that may act with it next: RFC 8693 section 4.4. Without one it is passed on to nobody.
    #[must_use]
    pub fn next(&self) -> Option<&IdentityName> {
        match self.purpose {
            TokenUse::Delegate => self.actors.last(),
            TokenUse::Connect | TokenUse::Api => self.may_act.as_ref(),
            TokenUse::SshKey | TokenUse::SshCertificate => None,
        }
    }

    /// The run that a member of the chain came with, if they came with one.
    #[must_use]
    pub fn run_of(&self, member: &IdentityName) -> Option<&Run> {
        // Whoever asked for it by a key of their own is no run, but may act for one, which is the subject then.
        let whose = if self.key.is_some() { &self.subject } else { &self.minted_by };
        let own = self.run.as_ref().filter(|_| whose == member);
        own.or_else(|| self.earlier_runs.get(member))
    }
}
