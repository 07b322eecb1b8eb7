//! Every path there is, once: the router and the list of what it answers are made of the same lines.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    http::{HeaderValue, Method, header},
    middleware,
    response::Response,
    routing::{self, MethodFilter},
};

use crate::{
    Api, caller,
    handlers::{
        catalogs, connections, explain, holds, identities, oauth, providers, recordings, requests, search, second_factor, secrets, sessions, sign_in,
        ssh, status, tokens, versions, watch, who, workloads,
    },
    refused::Refused,
};

/// What is answered to anybody: signing in and asking for tokens, what providers say of those who did, and what the API looks like.
pub const PUBLIC: [(&str, &str); 12] = [
    ("POST", "/v1/login"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/v1/providers"),
    ("POST", "/v1/sign-in/browser"),
    ("POST", "/v1/sign-in/finish"),
    ("POST", "/v1/sign-in/device"),
    ("POST", "/v1/sign-in/poll"),
    ("POST", "/v1/back-channel-logout"),
    ("POST", "/v1/token"),
    ("POST", "/v1/token/revoke"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/v1/jwks"),
];
/// Longest body of a request, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 2 << 20;
/// Longest body that holds policy files, in bytes.
pub(crate) const MAX_FILES_BYTES: usize = 32 << 20;

/// A router that remembers what was put into it.
struct Routes {
    router: Router<Arc<Api>>,
    listed: Vec<(Method, &'static str)>,
}

impl Routes {
    fn on<H: Handler<T, Arc<Api>>, T: 'static>(mut self, method: Method, path: &'static str, handler: H) -> Self {
        if let Ok(filter) = MethodFilter::try_from(method.clone()) {
            self.router = self.router.route(path, routing::on(filter, handler));
            self.listed.push((method, path));
        }
        self
    }
}

fn routes() -> Routes {
    let routes = Routes { router: Router::new(), listed: Vec::new() };
    let routes = routes
        .on(Method::GET, "/v1/openapi.json", crate::openapi::serve)
        .on(Method::POST, "/v1/login", sign_in::login)
        .on(Method::GET, "/v1/providers", providers::list)
        .on(Method::GET, "/v1/providers/standing", providers::standing)
        .on(Method::POST, "/v1/providers/{provider}/revoke", providers::revoke)
        .on(Method::POST, "/v1/providers/{provider}/allow", providers::readmit)
        .on(Method::POST, "/v1/sign-in/browser", providers::begin)
        .on(Method::POST, "/v1/sign-in/finish", providers::finish)
        .on(Method::POST, "/v1/sign-in/device", providers::begin_device)
        .on(Method::POST, "/v1/sign-in/poll", providers::poll)
        .on(Method::POST, "/v1/back-channel-logout", providers::back_channel_logout)
        .on(Method::POST, "/v1/token", oauth::token)
        .on(Method::POST, "/v1/token/revoke", oauth::revoke)
        .on(Method::POST, "/v1/token/introspect", oauth::introspection)
        .on(Method::GET, "/.well-known/oauth-authorization-server", oauth::metadata)
        .on(Method::GET, "/v1/jwks", oauth::jwks)
        .on(Method::POST, "/v1/logout", sign_in::logout)
        .on(Method::GET, "/v1/whoami", sign_in::whoami)
        .on(Method::GET, "/v1/status", status::status)
        .on(Method::POST, "/v1/reindex", status::reindex)
        .on(Method::GET, "/v1/connections", connections::list)
        .on(Method::GET, "/v1/connections/{connection}/catalog", catalogs::export)
        .on(Method::POST, "/v1/connections/{connection}/classify", catalogs::classify)
        .on(Method::POST, "/v1/explain-statement", explain::statement)
        .on(Method::GET, "/v1/tokens", tokens::list)
        .on(Method::POST, "/v1/tokens", tokens::mint)
        .on(Method::DELETE, "/v1/tokens/{id}", tokens::revoke)
        .on(Method::POST, "/v1/ssh/keys", ssh::register)
        .on(Method::POST, "/v1/ssh/certificates", ssh::certify)
        .on(Method::GET, "/v1/identities", identities::list)
        .on(Method::POST, "/v1/identities", identities::add)
        .on(Method::GET, "/v1/identities/{name}", identities::show)
        .on(Method::PUT, "/v1/identities/{name}/owner", identities::own)
        .on(Method::PUT, "/v1/identities/{name}/expiry", identities::renew)
        .on(Method::PUT, "/v1/identities/{name}/groups", identities::groups)
        .on(Method::PUT, "/v1/identities/{name}/password", identities::password)
        .on(Method::POST, "/v1/identities/{name}/second-factor", second_factor::offer)
        .on(Method::PUT, "/v1/identities/{name}/second-factor", second_factor::accept)
        .on(Method::DELETE, "/v1/identities/{name}/second-factor", second_factor::remove)
        .on(Method::PUT, "/v1/identities/{name}/accounts", providers::link)
        .on(Method::DELETE, "/v1/identities/{name}/accounts", providers::unlink)
        .on(Method::POST, "/v1/identities/{name}/trust", workloads::trust)
        .on(Method::DELETE, "/v1/identities/{name}/trust/{id}", workloads::distrust)
        .on(Method::GET, "/v1/identities/{name}/keys", workloads::keys)
        .on(Method::POST, "/v1/identities/{name}/keys", workloads::add_key)
        .on(Method::DELETE, "/v1/identities/{name}/keys/{id}", workloads::revoke_key)
        .on(Method::POST, "/v1/identities/{name}/revoke", identities::revoke);
    routes
        .on(Method::GET, "/v1/holds", holds::list)
        .on(Method::GET, "/v1/holds/{id}", holds::show)
        .on(Method::POST, "/v1/holds/{id}/approve", holds::approve)
        .on(Method::POST, "/v1/holds/{id}/deny", holds::deny)
        .on(Method::GET, "/v1/holds/{id}/watch", watch::watch)
        .on(Method::POST, "/v1/holds/{id}/watching", watch::watching)
        .on(Method::GET, "/v1/roles", requests::roles)
        .on(Method::GET, "/v1/requests", requests::list)
        .on(Method::POST, "/v1/requests", requests::ask)
        .on(Method::GET, "/v1/requests/{id}", requests::show)
        .on(Method::POST, "/v1/requests/{id}/approve", requests::approve)
        .on(Method::POST, "/v1/requests/{id}/deny", requests::deny)
        .on(Method::POST, "/v1/requests/{id}/comment", requests::comment)
        .on(Method::POST, "/v1/requests/{id}/end", requests::end)
        .on(Method::GET, "/v1/sessions", sessions::list)
        .on(Method::GET, "/v1/sessions/{id}", sessions::show)
        .on(Method::POST, "/v1/sessions/{id}/kill", sessions::kill)
        .on(Method::GET, "/v1/sessions/{id}/records", recordings::records)
        .on(Method::GET, "/v1/tail", recordings::tail)
        .on(Method::GET, "/v1/search", search::search)
        .on(Method::GET, "/v1/who-can", who::can)
        .on(Method::GET, "/v1/who-touched", who::touched)
        .on(Method::GET, "/v1/versions", versions::list)
        .on(Method::GET, "/v1/versions/current", versions::current)
        .on(Method::GET, "/v1/secrets", secrets::list)
        .on(Method::PUT, "/v1/secrets/{name}", secrets::set)
        .on(Method::DELETE, "/v1/secrets/{name}", secrets::delete)
}

/// The whole API. Requests must carry the address they came from; [`listen`](crate::listen) sees to it.
pub fn router(api: Arc<Api>) -> Router {
    let files = Router::new().route("/v1/versions", routing::post(versions::apply)).layer(DefaultBodyLimit::max(MAX_FILES_BYTES));
    routes()
        .router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .merge(files)
        .fallback(|| async { Refused::not_found("there is nothing at this path").hint("GET /v1/openapi.json lists what there is.") })
        .method_not_allowed_fallback(|| async {
            Refused::not_found("this path does not take this method").hint("GET /v1/openapi.json lists what there is.")
        })
        .layer(middleware::from_fn_with_state(api.clone(), caller::authenticate))
        .layer(middleware::map_response(harden))
        .with_state(api)
}

/// Every path and method, as the router has them.
#[cfg(test)]
pub(crate) fn listed() -> Vec<(Method, &'static str)> {
    let mut listed = routes().listed;
    listed.push((Method::POST, "/v1/versions"));
    listed
}

/// Answers are for programs: no browser may run, frame or guess at them.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
