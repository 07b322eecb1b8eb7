//! `countersign whoami`.

use api::types::WhoamiAnswer;

use crate::{client::Global, output::maybe_moment};

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer: WhoamiAnswer = global.client()?.get("/v1/whoami").await?;
    global.output().show(&answer, |output| {
        let identity = &answer.identity;
        let may = answer.may.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut fields = vec![
            ("name", identity.name.to_string()),
            ("kind", identity.kind.as_str().to_owned()),
            ("groups", super::identity::joined(&identity.groups)),
            ("may", if may.is_empty() { "use connections".to_owned() } else { format!("use connections; {may}") }),
            ("signed in until", maybe_moment(answer.expires_at)),
        ];
        fields.extend(super::identity::ends(&answer.ending, &answer.ending_keys));
        output.fields(&fields)
    })
}
