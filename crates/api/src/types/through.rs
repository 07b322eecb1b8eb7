//! Who can act through an identity, and the change that made it.

use model::{IdentityName, Timestamp};
use serde::{Deserialize, Serialize};
use session::through::Through;
use store::state::EventRow;
use utoipa::ToSchema;

/// A change of the register, as it was written down.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ChangeView {
    /// Its number among all events.
    pub number: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who made it: for people of a provider, its name.
    #[schema(value_type = String)]
    pub actor: IdentityName,
    /// What it was: `identity.added`.
    pub kind: String,
    /// As what it was entered.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

impl From<EventRow> for ChangeView {
    fn from(row: EventRow) -> Self {
        Self { number: row.number, at: row.event.at, actor: row.event.actor, kind: row.event.kind, detail: row.event.detail }
    }
}

/// Somebody who can act through an identity.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ThroughView {
    /// Who: an identity, or an issuer whose jobs come.
    pub who: String,
    /// `owner` and `administrator` mint its tokens, an `agent` acts for it, a `platform`'s jobs get its tokens, so does whoever holds a `key` of its, it acts in a `person`'s name.
    pub how: String,
    /// What lets them: the id of a token, rule or key.
    pub by: Option<String>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl From<Through> for ThroughView {
    fn from(through: Through) -> Self {
        Self { who: through.who, how: through.how.as_str().to_owned(), by: through.by, until: through.until }
    }
}
