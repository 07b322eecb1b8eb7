//! `countersign search QUERY`.

use api::types::{HitView, SearchAnswer};

use crate::{
    client::{Global, query},
    output::{Output, moment},
    story::rows_word,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "A query is words and filters, all of which must fit:
  identity:alice connection:prod-pg table:public.payments action:destroy risk:>=4
  decision:allowed|held|signed|refused|masked masked:email signer:bob error:42501
  function:public.f since:2h until:2026-11-01 limit:50

Words are looked for in statements. Literals are not stored, but a whole literal is found by its value.")]
pub(crate) struct Args {
    /// Words and filters
    #[arg(required = true)]
    query: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let answer: SearchAnswer = global.client()?.get(&format!("/v1/search{}", query(&[("q", Some(args.query.join(" ")))]))).await?;
    global.output().show(&answer, |output| table(output, &answer.hits))
}

fn table(output: &Output, hits: &[HitView]) -> String {
    let rows = hits.iter().map(|hit| {
        let outcome = match (&hit.error, hit.rows) {
            (Some(error), _) => format!("error {error}"),
            (None, Some(rows)) => rows_word(rows),
            (None, None) => "-".to_owned(),
        };
        let signed = if hit.signers.is_empty() { String::new() } else { format!(" by {}", super::identity::joined(&hit.signers)) };
        vec![
            moment(hit.at),
            hit.chain.clone(),
            hit.connection.to_string(),
            format!("{}#{}", hit.session, hit.op),
            format!("{}{signed}", hit.decision),
            super::identity::joined(&hit.policies),
            hit.risk.to_string(),
            outcome,
            hit.statement.split_whitespace().collect::<Vec<_>>().join(" "),
        ]
    });
    let header = ["when", "who", "connection", "operation", "decision", "policies", "risk", "outcome", "statement"];
    output.table(&header, rows.collect(), "Nothing found that you may see.")
}
