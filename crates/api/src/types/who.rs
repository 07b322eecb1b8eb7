//! Who can do something, and who did.

use model::{ConnectionName, IdentityKind, IdentityName, PolicyId, Timestamp};
use serde::{Deserialize, Serialize};
use session::who::Can;
use utoipa::ToSchema;

use super::UseView;

/// Who can do something.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct WhoCanAnswer {
    /// By name.
    pub who: Vec<CanView>,
}

/// Somebody who can.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct CanView {
    /// Who.
    #[schema(value_type = String)]
    pub identity: IdentityName,
    /// `user`, `workload` or `agent`.
    #[schema(value_type = String)]
    pub kind: IdentityKind,
    /// Who answers for it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<IdentityName>,
    /// Whether it waits for signatures.
    pub held: bool,
    /// The policies that permit or hold it.
    #[schema(value_type = Vec<String>)]
    pub policies: Vec<PolicyId>,
    /// When it was last there at all.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
}

impl From<Can> for CanView {
    fn from(can: Can) -> Self {
        Self { identity: can.identity, kind: can.kind, owner: can.owner, held: can.held, policies: can.policies, last_used: can.last_used }
    }
}

/// Who touched something.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct WhoTouchedAnswer {
    /// By identity and connection.
    pub touched: Vec<TouchedView>,
}

/// What somebody did to it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct TouchedView {
    /// Who took part, as the subject or acting for it.
    #[schema(value_type = String)]
    pub identity: IdentityName,
    /// What, where, how often and when last.
    #[serde(flatten)]
    pub used: UseView,
}

/// Where something is: `CONNECTION`, `CONNECTION/schema.table` or `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The connection.
    pub connection: Option<ConnectionName>,
    /// Schema and table.
    pub relation: Option<(String, String)>,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` names nothing: write CONNECTION, CONNECTION/schema.table or schema.table", model::name::printable(text));
        let relation = |text: &str| {
            let (schema, table) = text.split_once('.').ok_or_else(wrong)?;
            if schema.is_empty() || table.is_empty() { Err(wrong()) } else { Ok((schema.to_owned(), table.to_owned())) }
        };
        match text.split_once('/') {
            Some((connection, table)) => Ok(Self { connection: Some(connection.parse().map_err(|_| wrong())?), relation: Some(relation(table)?) }),
            None if text.contains('.') => Ok(Self { connection: None, relation: Some(relation(text)?) }),
            None => Ok(Self { connection: Some(text.parse().map_err(|_| wrong())?), relation: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_connection_a_table_or_both() {
        let place = |connection: Option<&str>, relation: Option<(&str, &str)>| Place {
            connection: connection.map(|name| name.parse().unwrap()),
            relation: relation.map(|(schema, table)| (schema.to_owned(), table.to_owned())),
        };
        assert_eq!("prod-pg".parse(), Ok(place(Some("prod-pg"), None)));
        assert_eq!("prod-pg/public.orders".parse(), Ok(place(Some("prod-pg"), Some(("public", "orders")))));
        assert_eq!("public.orders".parse(), Ok(place(None, Some(("public", "orders")))));
        for wrong in ["", "prod-pg/orders", "prod-pg/", "/public.orders", ".orders", "public.", "a b"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
