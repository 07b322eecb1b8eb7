//! `countersign show ID`: all that happened in a session, or a held operation or a request as its signers see it.

use anyhow::bail;
use api::types::{HoldView, RecordLine, RequestView};
use model::{HoldId, RequestId, SessionId};

use super::{holds, requests};
use crate::{
    client::{Client, Global, Reading},
    output::{Output, Tone},
    story::Story,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A session, s_…, a held operation, h_…, or a request, q_…
    id: String,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    if let Ok(id) = args.id.parse::<HoldId>() {
        let hold: HoldView = client.get(&format!("/v1/holds/{id}")).await?;
        return output.show(&hold, |output| holds::whole(output, &hold));
    }
    if let Ok(id) = args.id.parse::<RequestId>() {
        let request: RequestView = client.get(&format!("/v1/requests/{id}")).await?;
        return output.show(&request, |output| requests::whole(output, &request));
    }
    match args.id.parse::<SessionId>() {
        Ok(id) => session(&client, output, id).await,
        Err(_) => {
            let words = "is no session (s_…), held operation (h_…) or request (q_…): `countersign sessions`, `holds` and `requests` list them";
            bail!("`{}` {words}", args.id)
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
