//! Where tokens are given out to whoever shows who they are, ended and looked at: RFC 6749 with RFC 7009, RFC 7523, RFC 7662, RFC 8414 and RFC 8693.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
};
use identity::{GatewayUrl, client_key, dpop};
use model::{
    ConnectionName, IdentityName, Secret, Timestamp,
    token::{TokenRow, TokenUse},
};
use serde::Deserialize;
use serde_json::Value;
use session::{
    introspect,
    possession::NotPossessed,
    workloads::{Exchange, NotExchanged, Proof, Shape},
};

use crate::{
    Api,
    caller::{Caller, DpopProof, Peer},
    json::{Answer, Answered},
    refused::Refused,
    types::{ExchangeAnswer, IntrospectionAnswer, Refusal, SecretText, ServerMetadata},
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const CLIENT_CREDENTIALS: &str = "client_credentials";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What a client's assertion is called: RFC 7523 section 2.2.
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What a platform's token may be called: RFC 8693 section 3.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// What an agent passes on: of this gateway alone, so that it has a name of its own.
const DELEGATION: &str = "urn:countersign:token-type:delegation";

/// A token asked for: RFC 6749 section 4.4, RFC 7523 section 2, RFC 8693 section 2.1.
#[derive(Default, utoipa::ToSchema)]
pub(crate) struct TokenForm {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`, `client_credentials` or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: Option<String>,
    /// For an exchange: the token of the run; or, for an agent that acts for somebody, what they, or the agent before it, gave it.
    subject_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`; `…:access_token` for what somebody gave an agent.
    subject_token_type: Option<String>,
    /// The token of the agent's run, or its assertion, if it acts for somebody.
    actor_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`.
    actor_token_type: Option<String>,
    /// For `client_credentials`: what the workload or agent signed with its key.
    client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// Its name, if anything: the assertion says it too.
    client_id: Option<String>,
    /// For `jwt-bearer`: what the workload or agent signed with its key, or the token of its run.
    assertion: Option<String>,
    /// The connections to open, with spaces between, or the parameter several times.
    audience: Vec<String>,
    /// The same, one in each: a connection's name, or its URL, which is what the gateway is called in tokens and `/connections/NAME`.
    resource: Vec<String>,
    /// For one statement, once: `[{"type": "countersign_statement", "locations": ["CONNECTION"], "statement": "SQL"}]`.
    authorization_details: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token`, if anything, `urn:ietf:params:oauth:token-type:jwt` for one that others can read, or
    /// `urn:countersign:token-type:delegation` for what opens nothing and is passed on.
    requested_token_type: Option<String>,
    /// Not of the RFCs: the agent that may act with it next, which exchanges it with a token or assertion of its own.
    may_act: Option<String>,
    /// Not of the RFCs: how long the token is to work, in seconds.
    expires_in: Option<String>,
    /// Not of the RFCs: which workload is meant, where the token could be several's.
    workload: Option<String>,
}

/// How a token is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grant {
    Exchange,
    Client,
    Bearer,
}

impl Grant {
    /// What it is called when what was shown is not believed: RFC 8693 section 2.2.2, RFC 7523 section 3.1 and 3.2.
    const fn disbelieved(self) -> &'static str {
        match self {
            Self::Exchange => "invalid_request",
            Self::Client => "invalid_client",
            Self::Bearer => "invalid_grant",
        }
    }
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused::invalid(message).in_oauth("invalid_request")
}

impl TokenForm {
    /// Reads parameters: none twice but those that may be (RFC 6749 section 3.2), and none that is not known, which could have been meant as a restriction.
    pub(crate) fn read(pairs: Vec<(String, String)>) -> Result<Self, Refused> {
        let mut form = Self::default();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "audience" => {
                    form.audience.push(value);
                    continue;
                }
                "resource" => {
                    form.resource.push(value);
                    continue;
                }
                "authorization_details" => &mut form.authorization_details,
                "grant_type" => &mut form.grant_type,
                "subject_token" => &mut form.subject_token,
                "subject_token_type" => &mut form.subject_token_type,
                "actor_token" => &mut form.actor_token,
                "actor_token_type" => &mut form.actor_token_type,
                "client_assertion" => &mut form.client_assertion,
                "client_assertion_type" => &mut form.client_assertion_type,
                "client_id" => &mut form.client_id,
                "assertion" => &mut form.assertion,
                "requested_token_type" => &mut form.requested_token_type,
                "expires_in" => &mut form.expires_in,
                "workload" => &mut form.workload,
                "may_act" => &mut form.may_act,
                // Without a value it is as if it were not there.
                "scope" if value.is_empty() => continue,
                "scope" => return Err(Refused::invalid("there are no scopes here: policy says what a token may do").in_oauth("invalid_scope")),
                other => return Err(invalid(format!("there is no parameter `{}` here", model::name::printable(other)))),
            };
            if !value.is_empty() && place.replace(value).is_some() {
                return Err(invalid(format!("the parameter `{name}` is there twice")));
            }
        }
        Ok(form)
    }

    /// How it is asked for, by what shown, and for whom.
    pub(crate) fn shown(&self) -> Result<(Grant, Proof<'_>, Behind<'_>), Refused> {
        match self.grant_type.as_deref() {
            Some(EXCHANGE) => self.exchanged().map(|(proof, behind)| (Grant::Exchange, proof, behind)),
            Some(CLIENT_CREDENTIALS) => {
                let assertion = self.client_assertion.as_deref().filter(|_| self.client_assertion_type.as_deref() == Some(CLIENT_ASSERTION));
                let assertion = assertion.ok_or_else(|| {
                    Refused::invalid(format!("a client shows who it is by `client_assertion`, and `client_assertion_type` {CLIENT_ASSERTION}"))
                        .in_oauth("invalid_client")
                })?;
                let named = client_key::claimed(assertion);
                if self.client_id.as_ref().is_some_and(|id| named.is_none_or(|name| name.as_str() != id)) {
                    return Err(Refused::invalid("`client_id` is not whom the assertion names").in_oauth("invalid_client"));
                }
                Ok((Grant::Client, Proof::Assertion(assertion), Behind::Nobody))
            }
            Some(JWT_BEARER) => {
                let assertion = self.assertion.as_deref().ok_or_else(|| invalid("`assertion` is missing"))?;
                Ok((Grant::Bearer, Proof::Either(assertion), Behind::Nobody))
            }
            _ => {
                let known = format!("what there is as grant_type: {EXCHANGE}, {CLIENT_CREDENTIALS}, {JWT_BEARER}");
                Err(Refused::invalid(known).in_oauth(if self.grant_type.is_some() { "unsupported_grant_type" } else { "invalid_request" }))
            }
        }
    }

    /// Who acts in an exchange, and for whom.
    fn exchanged(&self) -> Result<(Proof<'_>, Behind<'_>), Refused> {
        let kind = |kind: &Option<String>| match kind.as_deref() {
            Some(JWT | ID_TOKEN) => Kind::Signed,
            Some(ACCESS_TOKEN) => Kind::Ours,
            Some(_) => Kind::Other,
            None => Kind::Missing,
        };
        let (subject, actor) = (kind(&self.subject_token_type), kind(&self.actor_token_type));
        match (&self.subject_token, subject, &self.actor_token, actor) {
            (Some(token), Kind::Signed, None, Kind::Missing) => Ok((Proof::Either(token), Behind::Nobody)),
            (Some(given), Kind::Ours, Some(token), Kind::Signed) => Ok((Proof::Either(token), Behind::Person(Secret::from(given.clone())))),
            (Some(run), Kind::Signed, Some(token), Kind::Signed) => Ok((Proof::Assertion(token), Behind::Run(run))),
            _ => Err(invalid(format!(
                "a run's token is {JWT} or {ID_TOKEN}, and the subject's; an agent that acts for somebody gives it, or its assertion, as actor_token, and \
                 as subject_token what they gave it, which is {ACCESS_TOKEN}"
            ))),
        }
    }

    /// The connections to open, and the one statement to run there.
    pub(crate) fn target(&self, url: Option<&GatewayUrl>) -> Result<(Vec<ConnectionName>, Option<String>), Refused> {
        let named = self.audience.iter().flat_map(|names| names.split_whitespace()).chain(self.resource.iter().map(String::as_str));
        let mut named: Vec<ConnectionName> = named.map(|name| connection(name, url)).collect::<Result<_, _>>()?;
        named.sort();
        named.dedup();
        let Some(details) = &self.authorization_details else { return Ok((named, None)) };
        let wrong = |why: String| Refused::invalid(why).in_oauth("invalid_authorization_details");
        let odd = |why: &str| wrong(format!("`authorization_details` is a list with one object, of `type`, `locations` and `statement`: {why}"));
        // What is a list in place of an object would be read by the order of its members.
        if details.trim_start().strip_prefix('[').is_none_or(|first| first.trim_start().starts_with('[')) {
            return Err(odd("its member is no object"));
        }
        let details: Vec<Detail> = serde_json::from_str(details).map_err(|error| odd(&model::name::printable(&error.to_string())))?;
        let Ok([detail]) = <[Detail; 1]>::try_from(details) else {
            return Err(wrong("`authorization_details` has one member: a token is for one statement".to_owned()));
        };
        if detail.kind != introspect::STATEMENT {
            return Err(wrong(format!("the only type of `authorization_details` here is {}", introspect::STATEMENT)));
        }
        let located = detail.locations.iter().map(|name| connection(name, url)).collect::<Result<_, _>>();
        let mut located: Vec<ConnectionName> = located.map_err(|refused| refused.in_oauth("invalid_authorization_details"))?;
        located.sort();
        located.dedup();
        if located.is_empty() {
            return Err(wrong("`locations` says on which connection".to_owned()));
        }
        if !named.is_empty() && named != located {
            return Err(Refused::invalid("`locations` are other connections than `audience` and `resource`").in_oauth("invalid_target"));
        }
        Ok((located, Some(detail.statement)))
    }
}

/// A connection, by its name or as a resource of this gateway.
fn connection(named: &str, url: Option<&GatewayUrl>) -> Result<ConnectionName, Refused> {
    let name = url.and_then(|url| url.name_in(named)).unwrap_or(named);
    name.parse().map_err(|error: model::NameError| Refused::invalid(error.to_string()).in_oauth("invalid_target"))
}

/// What one statement is to be permitted: RFC 9396 section 2.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    locations: Vec<String>,
    statement: String,
}

/// Whom somebody acts for.
pub(crate) enum Behind<'a> {
    Nobody,
    /// Whoever gave them this.
    Person(Secret),
    /// The run with this token, which says so itself.
    Run(&'a str),
}

/// What sort of token one is said to be.
enum Kind {
    Signed,
    Ours,
    Other,
    Missing,
}

/// Give out a token that opens connections: for the token that a platform gave a run, for what a workload or agent signed with its key, and for what somebody
/// gave an agent. With a proof in the header `DPoP` the token is bound to the key of that.
#[utoipa::path(post, path = "/v1/token", security(()), request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Given out", body = ExchangeAnswer), (status = 400, description = "No token", body = Refusal), (status = 401, description = "The client is not believed", body = Refusal)))]
pub(crate) async fn token(
    State(api): State<Arc<Api>>,
    Peer(peer): Peer,
    DpopProof(proof_of_key): DpopProof,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Answered<ExchangeAnswer> {
    let Form(pairs) = form.map_err(|error| invalid(format!("this takes a form: {}", error.body_text())))?;
    let form = TokenForm::read(pairs)?;
    let (grant, proof, behind) = form.shown()?;
    let (shape, issued) = match form.requested_token_type.as_deref() {
        None | Some(ACCESS_TOKEN) => (Shape::Opaque, ACCESS_TOKEN),
        Some(JWT) => (Shape::Jwt, JWT),
        Some(DELEGATION) => (Shape::Delegation, DELEGATION),
        Some(_) => return Err(invalid(format!("what is given out is {ACCESS_TOKEN}, {JWT} or {DELEGATION}"))),
    };
    let named = |text: &Option<String>| -> Result<Option<IdentityName>, Refused> {
        text.as_deref().map(str::parse).transpose().map_err(|error: model::NameError| invalid(error.to_string()))
    };
    let (workload, next) = (named(&form.workload)?, named(&form.may_act)?);
    let expires_in_s = form.expires_in.as_deref().map(str::parse).transpose().map_err(|_| invalid("`expires_in` is a number of seconds"))?;
    let (connections, statement) = form.target(api.guard.url())?;
    let wanted = Exchange {
        proof,
        delegation: if let Behind::Person(given) = &behind { Some(given) } else { None },
        next: next.as_ref(),
        run: if let Behind::Run(token) = &behind { Some(*token) } else { None },
        connections: &connections,
        statement: statement.as_deref(),
        workload: workload.as_ref(),
        expires_in_s,
        shape,
        possession: proof_of_key.as_ref().map(|proof| proof.of("POST", "/v1/token")),
        peer,
    };
    let now = Timestamp::now();
    let (secret, row) = api.guard.exchange_token(&wanted, now).await.map_err(|error| refused(error, grant))?;
    Ok(Answer(ExchangeAnswer {
        access_token: SecretText(secret),
        issued_token_type: issued.to_owned(),
        token_type: if row.bound_to.is_some() { "DPoP" } else { "N_A" }.to_owned(),
        expires_in: row.expires_at.as_second().saturating_sub(now.as_second()),
        authorization_details: introspect::authorization_details(&row),
        identity: row.subject,
    }))
}

/// Why not, as RFC 6749 says it.
fn refused(error: NotExchanged, grant: Grant) -> Refused {
    let called = match &error {
        NotExchanged::Target(_) => "invalid_target",
        NotExchanged::Statement => "invalid_authorization_details",
        NotExchanged::Possession(NotPossessed::State(_)) => "temporarily_unavailable",
        NotExchanged::Possession(_) => "invalid_dpop_proof",
        NotExchanged::UnknownIssuer
        | NotExchanged::Revoked(_)
        | NotExchanged::Token(identity::workload::WorkloadError::Token(..))
        | NotExchanged::Nobody(_)
        | NotExchanged::Assertion(_)
        | NotExchanged::UsedBefore
        | NotExchanged::Inactive(_) => grant.disbelieved(),
        NotExchanged::TooMany
        | NotExchanged::Token(identity::workload::WorkloadError::Unreachable(..))
        | NotExchanged::Govern(session::guard::GovernError::State(_)) => "temporarily_unavailable",
        NotExchanged::Several(_) | NotExchanged::Undelegated(_) | NotExchanged::MayNotAct(_) | NotExchanged::Unnamed | NotExchanged::Govern(_) => {
            "invalid_request"
        }
    };
    Refused::from(error).in_oauth(called)
}

/// A token that is shown: RFC 7009 section 2.1, RFC 7662 section 2.1.
#[derive(utoipa::ToSchema)]
pub(crate) struct ShownForm {
    /// The token.
    #[schema(value_type = String)]
    token: Secret,
    /// What it might be, if anything; it is looked for everywhere.
    #[expect(dead_code, reason = "it is for the document")]
    token_type_hint: Option<String>,
}

impl ShownForm {
    fn read(form: Result<Form<Vec<(String, String)>>, FormRejection>) -> Result<Self, Refused> {
        let Form(pairs) = form.map_err(|error| invalid(format!("this takes a form: {}", error.body_text())))?;
        let mut tokens = pairs.into_iter().filter(|(name, _)| name == "token").map(|(_, token)| Secret::from(token));
        match (tokens.next(), tokens.next()) {
            (Some(token), None) => Ok(Self { token, token_type_hint: None }),
            _ => Err(invalid("`token` is to be there, once")),
        }
    }
}

/// End the token that is shown, and what it opened. One that is unknown is as good as ended.
#[utoipa::path(post, path = "/v1/token/revoke", security(()), request_body(content = ShownForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It works no more"), (status = 400, description = "None was shown", body = Refusal)))]
pub(crate) async fn revoke(State(api): State<Arc<Api>>, Peer(peer): Peer, form: Result<Form<Vec<(String, String)>>, FormRejection>) -> Answered<()> {
    let shown = ShownForm::read(form)?;
    let ended = api.guard.revoke_shown(&shown.token, peer, Timestamp::now()).await;
    ended.map_err(|error| refused(error, Grant::Exchange))?;
    Ok(Answer(()))
}

/// What a token is: told to whom it speaks for, whoever owns or minted it, and auditors. To others it is unknown.
#[utoipa::path(post, path = "/v1/token/introspect", request_body(content = ShownForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What it is, if it works", body = IntrospectionAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn introspection(
    caller: Caller,
    State(api): State<Arc<Api>>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Answered<IntrospectionAnswer> {
    let shown = ShownForm::read(form)?;
    let row = api.guard.introspect(&shown.token, &caller.actor, caller.now).await?;
    Ok(Answer(row.map_or_else(IntrospectionAnswer::default, |row| told(&api, row))))
}

fn told(api: &Api, row: TokenRow) -> IntrospectionAnswer {
    let details = introspect::authorization_details(&row);
    let (act, may_act) = (introspect::act(row.acting()), introspect::may_act(&row));
    let kind = match (&row.bound_to, row.purpose) {
        (Some(_), _) => "DPoP",
        (None, TokenUse::Api) => "Bearer",
        (None, _) => "N_A",
    };
    IntrospectionAnswer {
        active: true,
        iss: api.guard.url().map(ToString::to_string),
        jti: Some(row.id),
        client_id: Some(row.actors.last().unwrap_or(&row.subject).clone()),
        token_type: Some(kind.to_owned()),
        cnf: introspect::confirmation(&row),
        aud: api.guard.audience(&row.connections),
        iat: Some(row.created_at.as_second()),
        nbf: Some(row.not_before.as_second()),
        exp: Some(row.expires_at.as_second()),
        act,
        may_act,
        authorization_details: details,
        sub: Some(row.subject),
    }
}

/// The key that access tokens are signed with, so that others can read them: RFC 7517.
#[utoipa::path(get, path = "/v1/jwks", security(()), responses((status = 200, description = "The keys", body = Object)))]
pub(crate) async fn jwks(State(api): State<Arc<Api>>) -> Answered<Value> {
    let signer = api.guard.signer().ok_or_else(|| Refused::unavailable("there is no key"))?;
    Ok(Answer(signer.jwks()))
}

/// Where tokens are given out, and for what: RFC 8414.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", security(()),
    responses((status = 200, description = "Where and how", body = ServerMetadata), (status = 404, description = "This gateway has no name in tokens", body = Refusal)))]
pub(crate) async fn metadata(State(api): State<Arc<Api>>) -> Answered<ServerMetadata> {
    let url = api.guard.url().ok_or_else(|| Refused::not_found(NotExchanged::Unnamed.to_string()))?;
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Ok(Answer(ServerMetadata {
        issuer: url.to_string(),
        token_endpoint: url.token_endpoint(),
        jwks_uri: url.at("/v1/jwks"),
        revocation_endpoint: url.at("/v1/token/revoke"),
        introspection_endpoint: url.at("/v1/token/introspect"),
        grant_types_supported: owned(&[EXCHANGE, CLIENT_CREDENTIALS, JWT_BEARER]),
        token_endpoint_auth_methods_supported: owned(&["private_key_jwt", "none"]),
        token_endpoint_auth_signing_alg_values_supported: owned(&["ES256", "EdDSA", "RS256"]),
        authorization_details_types_supported: owned(&[introspect::STATEMENT]),
        dpop_signing_alg_values_supported: owned(&dpop::ALGORITHMS),
        response_types_supported: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TokenForm, Refused> {
        TokenForm::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_parameter_is_known_and_there_once() {
        assert!(read(&[("grant_type", EXCHANGE), ("audience", "a"), ("audience", "b c"), ("client_id", ""), ("scope", "")]).is_ok());
        for wrong in [
            [("subject_token", "a"), ("subject_token", "b")],
            [("grant_type", "x"), ("authorization_detail", "[]")],
            [("scope", "all"), ("audience", "a")],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
        let form = read(&[("audience", "prod-pg"), ("audience", "staging-pg dev-pg"), ("resource", "prod-pg")]).unwrap();
        let names: Vec<String> = form.target(None).unwrap().0.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["dev-pg", "prod-pg", "staging-pg"]);
    }

    #[test]
    fn a_resource_is_a_connection_of_this_gateway() {
        let url: GatewayUrl = "https://gw.example".parse().unwrap();
        let target = |resource: &str| read(&[("resource", resource)]).unwrap().target(Some(&url));
        assert_eq!(target("https://gw.example/connections/prod-pg").unwrap().0, ["prod-pg".parse().unwrap()]);
        assert_eq!(target("prod-pg").unwrap().0, ["prod-pg".parse().unwrap()]);
        for wrong in [
            "https://other.example/connections/prod-pg",
            "https://gw.example/connections/prod-pg#x",
            "https://gw.example/connections/",
            "https://gw.example",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert!(read(&[("resource", "https://gw.example/connections/prod-pg")]).unwrap().target(None).is_err(), "it has no name");
    }

    #[test]
    fn details_are_for_one_statement_and_nothing_unknown() {
        let target = |details: &str, audience: &str| read(&[("authorization_details", details), ("audience", audience)]).unwrap().target(None);
        let good = r#"[{"type":"countersign_statement","locations":["prod-pg"],"statement":"select 1"}]"#;
        for audience in ["", "prod-pg"] {
            let (connections, statement) = target(good, audience).unwrap();
            assert_eq!((connections.as_slice(), statement.as_deref()), (["prod-pg".parse().unwrap()].as_slice(), Some("select 1")));
        }
        // Nor wider by the other parameter.
        assert!(target(good, "prod-pg staging-pg").is_err() && target(good, "staging-pg").is_err());
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for wrong in [
            "",
            "[]",
            "{}",
            "null",
            r#"[{"type":"other","locations":["prod-pg"],"statement":"select 1"}]"#,
            r#"[{"type":"countersign_statement","locations":[],"statement":"select 1"}]"#,
            r#"[{"type":"countersign_statement","locations":["not a name"],"statement":"select 1"}]"#,
            r#"[{"type":"countersign_statement","statement":"select 1"}]"#,
            r#"[{"type":"countersign_statement","locations":["prod-pg"]}]"#,
            r#"[["countersign_statement",["prod-pg"],"select 1"]]"#,
            r#" [ ["countersign_statement",["prod-pg"],"select 1"]]"#,
            r#"[{"type":"countersign_statement","locations":["prod-pg"],"statement":"select 1","times":2}]"#,
            r#"[{"type":"countersign_statement","locations":["prod-pg"],"statement":"select 1","statement":"select 2"}]"#,
            r#"[{"type":"countersign_statement","locations":["prod-pg"],"statement":"a"},{"type":"countersign_statement","locations":["prod-pg"],"statement":"b"}]"#,
            &deep,
        ] {
            // A parameter without a value is as good as none, and then there is no connection.
            let none = wrong.is_empty() && target(wrong, "").is_ok_and(|(connections, _)| connections.is_empty());
            assert!(none || target(wrong, "").is_err(), "{wrong}");
        }
    }
}
