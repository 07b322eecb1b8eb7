//! Refusals: one shape for all of them, and what each error of the rooms below becomes.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use identity::{oidc::OidcError, workload::WorkloadError};
use session::{
    approve::VoteError,
    guard::{ApplyError, GovernError},
    possession::NotPossessed,
    providers::NotEntered,
    requests::RequestRefused,
    sign_in::SignInRefused,
    workloads::NotExchanged,
};
use store::StoreError;

use crate::types::Refusal;

/// A request that is not answered.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    refusal: Box<Refusal>,
}

impl Refused {
    /// What is said.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn message(&self) -> &str {
        &self.refusal.message
    }

    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            refusal: Box::new(Refusal {
                code: code.to_owned(),
                message: message.into(),
                hint: None,
                problems: Vec::new(),
                error: None,
                error_description: None,
            }),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.refusal.hint = Some(hint.into());
        self
    }

    /// Nobody is signed in, or no longer.
    pub(crate) fn nobody(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message).hint("Sign in with `countersign login NAME`.")
    }

    /// The caller may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// There is nothing of that name that the caller may see.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// The request is too large.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The caller has so much already that they get no more.
    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message)
    }

    /// A target or the store cannot be reached.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// What somebody presented is not believed: for those whose protocol wants 400 for that.
    pub(crate) fn not_believed(mut self) -> Self {
        if self.status == StatusCode::UNAUTHORIZED {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    /// The same in the words of RFC 6749 section 5.2, for those who ask for tokens. Only whoever could not show who they are is answered 401.
    pub(crate) fn in_oauth(mut self, error: &str) -> Self {
        self.status = match (error, self.status) {
            ("invalid_client", _) => StatusCode::UNAUTHORIZED,
            (_, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND) => StatusCode::BAD_REQUEST,
            (_, other) => other,
        };
        // That RFC's characters of a description.
        let plain = |c: char| match c {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => c,
            _ => '?',
        };
        self.refusal.error_description = Some(self.refusal.message.chars().map(plain).collect());
        self.refusal.error = Some(error.to_owned());
        self
    }

    /// We failed; why is in the log, not in the answer.
    pub(crate) fn failed(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request could not be answered");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the gateway failed to answer; its log says why")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.refusal).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer, DPoP algs=\"ES256 EdDSA RS256\""));
        }
        response
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the state store failed");
        Self::unavailable("the state store cannot be reached").hint("Try again; the gateway's log says more.")
    }
}

impl From<GovernError> for Refused {
    fn from(error: GovernError) -> Self {
        match error {
            GovernError::NotPermitted(message) => Self::forbidden(message),
            GovernError::NotFound(message) => Self::not_found(message),
            GovernError::Invalid(message) => Self::invalid(message),
            GovernError::State(error) => error.into(),
        }
    }
}

impl From<ApplyError> for Refused {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::NotPermitted(message) => Self::forbidden(message),
            ApplyError::Invalid(problems) => {
                let mut refused = Self::invalid(message).hint("`countersign check DIR` finds the same before you apply.");
                refused.refusal.problems = problems.iter().map(ToString::to_string).collect();
                refused
            }
            ApplyError::LockedOut => Self::invalid(message).hint("If that is meant: `countersign apply --lock-everybody-out`, which is recorded."),
            ApplyError::State(error) => error.into(),
            ApplyError::Failed => Self::failed(&message),
        }
    }
}

impl From<VoteError> for Refused {
    fn from(error: VoteError) -> Self {
        let message = error.to_string();
        match error {
            VoteError::NotFound(_) => Self::not_found(message),
            VoteError::Refused(_) => Self::forbidden(message),
            VoteError::State(error) => {
                tracing::error!(%error, "the state store failed");
                Self::unavailable(message)
            }
        }
    }
}

impl From<RequestRefused> for Refused {
    fn from(error: RequestRefused) -> Self {
        match error {
            RequestRefused::Govern(error) => error.into(),
            RequestRefused::Vote(refused) => Self::forbidden(refused.to_string()),
        }
    }
}

impl From<NotEntered> for Refused {
    fn from(error: NotEntered) -> Self {
        let message = error.to_string();
        let nobody = |message| Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message);
        match error {
            NotEntered::UnknownProvider { .. } => Self::not_found(message),
            NotEntered::Redirect => Self::invalid(message),
            NotEntered::TooMany => Self::too_many(message),
            NotEntered::NoSecret(_) | NotEntered::Provider(OidcError::Unreachable(..) | OidcError::NoRandomness) => Self::unavailable(message),
            NotEntered::Provider(OidcError::NotOffered(..)) => Self::invalid(message),
            NotEntered::Possession(error) => error.into(),
            NotEntered::Govern(error) => error.into(),
            NotEntered::Provider(OidcError::Odd(..) | OidcError::Refused(..) | OidcError::Token(..) | OidcError::NotHere(..))
            | NotEntered::UnknownFlow
            | NotEntered::Revoked(_)
            | NotEntered::Unlinked { .. }
            | NotEntered::NoName { .. }
            | NotEntered::Taken { .. }
            | NotEntered::Inactive(_) => nobody(message),
        }
    }
}

impl From<NotExchanged> for Refused {
    fn from(error: NotExchanged) -> Self {
        let message = error.to_string();
        match error {
            NotExchanged::Token(WorkloadError::Unreachable(..)) => Self::unavailable(message),
            NotExchanged::Several(_) => Self::invalid(message),
            NotExchanged::TooMany => Self::too_many(message),
            NotExchanged::Govern(error) => error.into(),
            NotExchanged::Possession(error) => error.into(),
            NotExchanged::Unnamed | NotExchanged::Statement => Self::invalid(message),
            NotExchanged::Target(_) => Self::not_found(message),
            NotExchanged::UnknownIssuer
            | NotExchanged::Revoked(_)
            | NotExchanged::Token(WorkloadError::Token(..))
            | NotExchanged::Nobody(_)
            | NotExchanged::Inactive(_)
            | NotExchanged::Assertion(_)
            | NotExchanged::UsedBefore
            | NotExchanged::MayNotAct(_)
            | NotExchanged::Undelegated(_) => Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message),
        }
    }
}

impl From<NotPossessed> for Refused {
    fn from(error: NotPossessed) -> Self {
        let message = error.to_string();
        match error {
            NotPossessed::State(error) => error.into(),
            NotPossessed::Unnamed => Self::invalid(message),
            NotPossessed::TooMany => Self::too_many(message),
            NotPossessed::Missing | NotPossessed::Proof(_) | NotPossessed::OtherKey | NotPossessed::UsedBefore => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
            }
        }
    }
}

impl From<SignInRefused> for Refused {
    fn from(error: SignInRefused) -> Self {
        match error {
            SignInRefused::Busy | SignInRefused::StateLost => Self::unavailable(error.to_string()),
            SignInRefused::Wrong(_)
            | SignInRefused::TooManyAttempts
            | SignInRefused::MalformedToken(_)
            | SignInRefused::Token(_)
            | SignInRefused::Inactive(_)
            | SignInRefused::TooManySessions(_) => Self::nobody(error.to_string()),
        }
    }
}
