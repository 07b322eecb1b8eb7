//! `countersign who-can ACTION PLACE` and `countersign who-touched TABLE`.

use api::types::{Place, WhoCanAnswer, WhoTouchedAnswer};
use model::Action;

use super::{identity::joined, seconds};
use crate::{
    client::{Global, query},
    output::{maybe_moment, moment},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Can {
    /// What: read, write, destroy, …
    #[arg(value_parser = action)]
    action: Action,
    /// CONNECTION or CONNECTION/schema.table
    #[arg(value_name = "PLACE", value_parser = place)]
    on: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Touched {
    /// schema.table or CONNECTION/schema.table
    #[arg(value_name = "TABLE", value_parser = place)]
    on: String,
    /// How far back, such as 7d
    #[arg(long, value_name = "SPAN", value_parser = seconds, default_value = "30d")]
    since: u64,
}

fn action(text: &str) -> Result<Action, String> {
    let names = || Action::ALL.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("there are: {}", names()))
}

fn place(text: &str) -> Result<String, String> {
    text.parse::<Place>().map(|_| text.to_owned())
}

pub(crate) async fn can(global: &Global, args: Can) -> anyhow::Result<()> {
    let parts = query(&[("action", Some(args.action.to_string())), ("on", Some(args.on.clone()))]);
    let answer: WhoCanAnswer = global.client()?.get(&format!("/v1/who-can{parts}")).await?;
    global.output().show(&answer, |output| {
        let rows = answer.who.iter().map(|can| {
            vec![
                can.identity.to_string(),
                can.kind.as_str().to_owned(),
                can.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                if can.held { "after a signature" } else { "freely" }.to_owned(),
                joined(&can.policies),
                maybe_moment(can.last_used),
            ]
        });
        let nobody = format!("Nobody that you may see can {} {}.", args.action, args.on);
        output.table(&["who", "kind", "owner", "how", "by policies", "last there"], rows.collect(), &nobody)
    })
}

pub(crate) async fn touched(global: &Global, args: Touched) -> anyhow::Result<()> {
    let parts = query(&[("on", Some(args.on.clone())), ("since_s", Some(args.since.to_string()))]);
    let answer: WhoTouchedAnswer = global.client()?.get(&format!("/v1/who-touched{parts}")).await?;
    global.output().show(&answer, |output| {
        let rows = answer.touched.iter().map(|one| {
            let used = &one.used;
            vec![
                one.identity.to_string(),
                format!("{}/{}", used.connection, used.database),
                used.action.to_string(),
                used.count.to_string(),
                moment(used.last),
            ]
        });
        output.table(&["who", "connection", "action", "times", "last"], rows.collect(), &format!("Nobody that you may see touched {}.", args.on))
    })
}
