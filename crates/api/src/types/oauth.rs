//! What the gateway says of itself to programs that ask for tokens.

use model::{IdentityName, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Where tokens are given out, and for what: RFC 8414 section 2.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ServerMetadata {
    /// What the gateway is called in tokens.
    pub issuer: String,
    /// Where tokens are given out.
    pub token_endpoint: String,
    /// The key that those are signed with which others can read.
    pub jwks_uri: String,
    /// Where whoever holds one ends it.
    pub revocation_endpoint: String,
    /// Where those it concerns ask what one is.
    pub introspection_endpoint: String,
    /// How to ask for them.
    pub grant_types_supported: Vec<String>,
    /// How to show who asks.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// What it may be signed with.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// What a token can be restricted to: RFC 9396.
    pub authorization_details_types_supported: Vec<String>,
    /// What proofs of possession may be signed with: RFC 9449.
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// None: nobody is sent here in a browser.
    pub response_types_supported: Vec<String>,
}

/// What a token is: RFC 7662 section 2.2. All but `active` is there only if it works and concerns whoever asks.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct IntrospectionAnswer {
    /// Whether it works.
    pub active: bool,
    /// Who gave it out: what this gateway is called in tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iss: Option<String>,
    /// Its id, t_….
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jti: Option<TokenId>,
    /// Whom it speaks for.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sub: Option<IdentityName>,
    /// Who uses it: whoever acts in the end.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<IdentityName>,
    /// `DPoP` if it is bound to a key; otherwise `Bearer` for the API, `N_A` for connections and for what an agent acts with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token_type: Option<String>,
    /// What it is for: connections, or the API.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub aud: Vec<String>,
    /// When it was minted, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iat: Option<i64>,
    /// From when it works.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nbf: Option<i64>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exp: Option<i64>,
    /// The key that whoever uses it must have: RFC 9449 section 6.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cnf: Option<Value>,
    /// Who acts for the subject: RFC 8693 section 4.1.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Value>,
    /// Who may act for the subject with what they are given for it: section 4.4.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub may_act: Option<Value>,
    /// The one statement it may run: RFC 9396.
    #[schema(value_type = Option<Vec<Object>>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authorization_details: Option<Value>,
}
