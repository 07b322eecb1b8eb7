//! What a statement means and what policy says of it.

use std::sync::Arc;

use axum::extract::State;
use session::{
    explain::{Explanation, Masking, Question},
    guard::GovernError,
};

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body},
    refused::Refused,
    types::{ExplainAnswer, ExplainRequest, Refusal, SignersView},
};

/// What a statement means and what policy says of it; nothing of it is run.
#[utoipa::path(post, path = "/v1/explain-statement", request_body = ExplainRequest,
    responses((status = 200, description = "Explained", body = ExplainAnswer), (status = 404, description = "No such connection or identity", body = Refusal)))]
pub(crate) async fn statement(caller: Caller, State(api): State<Arc<Api>>, Body(request): Body<ExplainRequest>) -> Answered<ExplainAnswer> {
    let question = Question {
        identity: request.identity.as_ref().unwrap_or(&caller.actor.name),
        connection: &request.connection,
        database: request.database.as_deref(),
        statement: &request.statement,
    };
    let explained = api.guard.explain_statement(question, &caller.actor, caller.now).await;
    let explained = explained.map_err(|error| match (error, &request.identity) {
        (error @ GovernError::NotFound(_), None) => Refused::from(error).hint("You asked for yourself; --identity NAME asks for somebody else."),
        (error, _) => error.into(),
    })?;
    Ok(Answer(answer(explained)))
}

fn answer(explained: Explanation) -> ExplainAnswer {
    let signers =
        explained.signers.into_iter().map(|(requirement, people)| SignersView { policy: requirement.policy, count: requirement.count, people });
    ExplainAnswer {
        signers: signers.collect(),
        facts: explained.facts,
        outcome: explained.decision.outcome,
        policies: explained.decision.policies,
        reasons: explained.decision.reasons,
        version: explained.decision.version,
        masking: explained.masking.map(sentences).unwrap_or_default(),
    }
}

fn sentences(masking: Masking) -> Vec<String> {
    let mut sentences = vec!["it touches classified columns: their values come back masked, or withheld where their origin is not known".to_owned()];
    if masking.copy_refused {
        sentences.push("COPY of it is refused".to_owned());
    }
    if masking.generic_errors {
        sentences.push("errors and notices keep their code and get a general text, from here to the session's end".to_owned());
    }
    sentences
}
