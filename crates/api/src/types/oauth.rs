//! What the gateway says of itself to programs that ask for tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where tokens are given out, and for what: RFC 8414 section 2.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ServerMetadata {
    /// What the gateway is called in tokens.
    pub issuer: String,
    /// Where tokens are given out.
    pub token_endpoint: String,
    /// How to ask for them.
    pub grant_types_supported: Vec<String>,
    /// How to show who asks.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// What it may be signed with.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// None: nobody is sent here in a browser.
    pub response_types_supported: Vec<String>,
}
