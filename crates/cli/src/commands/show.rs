//! `countersign show ID`: all that happened in a session, or a held operation as its signers see it.

use anyhow::bail;
use api::types::{HoldView, RecordLine};
use model::{HoldId, SessionId};

use super::holds;
use crate::{
    client::{Client, Global, Reading},
    output::{Output, Tone},
    story::Story,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A session, s_…, or a held operation, h_…
    id: String,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    if let Ok(id) = args.id.parse::<HoldId>() {
        let hold: HoldView = client.get(&format!("/v1/holds/{id}")).await?;
        return output.show(&hold, |output| holds::whole(output, &hold));
    }
    match args.id.parse::<SessionId>() {
        Ok(id) => session(&client, output, id).await,
        Err(_) => {
            bail!("`{}` is neither a session (s_…) nor a held operation (h_…). `countersign sessions` and `countersign holds` list them.", args.id)
        }
    }
}

async fn session(client: &Client, output: Output, id: SessionId) -> anyhow::Result<()> {
    let mut story = Story::new(output);
    client
        .stream(&format!("/v1/sessions/{id}/records"), |line: RecordLine| {
            print(output, &mut story, &line)?;
            Ok(Reading::More)
        })
        .await
}

/// Prints one line of a recording's stream.
pub(crate) fn print(output: Output, story: &mut Story, line: &RecordLine) -> anyhow::Result<()> {
    if output.is_json() {
        return output.show_line(line, |_| String::new());
    }
    let told = match line {
        RecordLine::Record(record) => story.tell(record),
        RecordLine::End(end) => {
            let broken =
                end.broken.as_ref().map(|why| output.paint(Tone::Bad, &format!("the recording is damaged: {}", model::name::printable(why))));
            let told = [story.end(end.live), broken].into_iter().flatten().collect::<Vec<_>>().join("\n");
            (!told.is_empty()).then_some(told)
        }
    };
    told.map_or(Ok(()), |text| output.line(&text))
}
