//! What the API looks like, for programs: made of the handlers' own descriptions and committed as `openapi.json`.

use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{
    handlers::{
        catalogs, connections, explain, holds, identities, oauth, providers, recordings, requests, search, second_factor, secrets, sessions, sign_in,
        ssh, status, tokens, versions, watch, who, workloads,
    },
    json::{Answer, Answered},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Countersign", description = "Everything the command line does. Authenticate with the token that POST /v1/login answers."),
    paths(
        serve,
        sign_in::login, sign_in::logout, sign_in::whoami, status::status, status::reindex, connections::list, catalogs::export, catalogs::classify, explain::statement,
        tokens::list, tokens::mint, tokens::revoke, ssh::register, ssh::certify, identities::list, identities::add, identities::show, identities::own, identities::renew, identities::groups,
        identities::password, identities::revoke, second_factor::offer, second_factor::accept, second_factor::remove, providers::list, providers::begin, providers::finish, providers::begin_device, providers::poll,
        providers::back_channel_logout, providers::link, providers::unlink, providers::standing, providers::revoke, providers::readmit, who::can, who::touched, oauth::token, oauth::revoke,
        oauth::introspection, oauth::metadata, oauth::jwks,
        workloads::trust,
        workloads::distrust, workloads::keys, workloads::add_key, workloads::revoke_key, holds::list, holds::show, holds::approve, holds::deny, watch::watch, watch::watching,
        requests::roles, requests::list, requests::ask, requests::show, requests::approve, requests::deny, requests::comment, requests::end,
        sessions::list, sessions::show, sessions::kill,
        recordings::records, recordings::tail, search::search, versions::list, versions::current, versions::apply, secrets::list, secrets::set,
        secrets::delete,
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// What the API looks like.
#[utoipa::path(get, path = "/v1/openapi.json", security(()), responses((status = 200, description = "The OpenAPI document", body = Object)))]
pub(crate) async fn serve() -> Answered<utoipa::openapi::OpenApi> {
    Ok(Answer(document()))
}
