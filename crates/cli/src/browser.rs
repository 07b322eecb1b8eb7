//! The person's browser: opening it, and the port of this machine that the provider sends it back to (RFC 8252 section 7.3).

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use model::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use url::{Url, form_urlencoded};

/// How long the person has.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Requests answered at once.
const MAX_REQUESTS: usize = 32;
/// Longest head of a request, in bytes: codes of some providers are long.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Opens a page, if there is something to open it with. That it cannot is not told: the address stands on the terminal. What is no page is not opened:
/// programs that open anything would.
pub(crate) fn open(url: &str) {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return;
    }
    let program = std::env::var_os("BROWSER").filter(|value| !value.is_empty()).unwrap_or_else(|| "xdg-open".into());
    let started = Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    drop(started);
}

/// A port of this machine that waits for a provider's answer.
pub(crate) struct Waiting {
    listener: TcpListener,
    port: u16,
}

/// What the provider answered.
pub(crate) struct Answer {
    pub(crate) state: String,
    pub(crate) code: Secret,
    pub(crate) iss: Option<String>,
}

impl Waiting {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port of this machine can be had for the answer: try --device")?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(crate) fn redirect_uri(&self, host: &str) -> String {
        format!("http://{host}:{}/callback", self.port)
    }

    /// Waits for the browser with the answer to this sign-in. Whatever else comes to the port is told that there is nothing, several at a time.
    pub(crate) async fn answer(self, state: &str) -> anyhow::Result<Answer> {
        let wait = async {
            let mut requests = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = self.listener.accept() => {
                        let (stream, state) = (accepted?.0, state.to_owned());
                        if requests.len() < MAX_REQUESTS {
                            requests.spawn(timeout(REQUEST, serve(stream, state)));
                        }
                    }
                    Some(done) = requests.join_next() => if let Ok(Ok(Ok(Some(answered)))) = done {
                        return answered;
                    },
                }
            }
        };
        timeout(PATIENCE, wait).await.context("nobody signed in within ten minutes: begin again")?
    }
}

/// The `state` of the authorization request, which the answer must have.
pub(crate) fn state_of(url: &str) -> anyhow::Result<String> {
    let url: Url = url.parse().context("the gateway named no page to sign in at")?;
    let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
    state.context("the gateway named no page to sign in at")
}

/// Answers one request; something if it was the provider's answer.
async fn serve(mut stream: TcpStream, expected: String) -> std::io::Result<Option<anyhow::Result<Answer>>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let read = read(&String::from_utf8_lossy(&head), &expected);
    let (status, sentence) = match &read {
        Some(Ok(_)) => ("200 OK", "You are signed in as far as your provider goes. You can close this page; the terminal says the rest."),
        Some(Err(_)) => ("200 OK", "You are not signed in. The terminal says why; you can close this page."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Countersign</title><p>{sentence}</p>\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(read)
}

/// The provider's answer in the head of a request, if it is one (RFC 6749 section 4.1.2).
fn read(head: &str, expected: &str) -> Option<anyhow::Result<Answer>> {
    let target = head.lines().next()?.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix("/callback?")?;
    let (mut state, mut code, mut iss, mut error, mut why) = (None, None, None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match name.as_ref() {
            "state" => &mut state,
            "code" => &mut code,
            "iss" => &mut iss,
            "error" => &mut error,
            "error_description" => &mut why,
            _ => continue,
        };
        *place = Some(value.into_owned());
    }
    // Any page can send a browser here: only the provider knows the state.
    let state = state.filter(|state| state == expected)?;
    if let Some(error) = error {
        return Some(refused(&error, why.as_deref()));
    }
    let code = code?;
    Some(Ok(Answer { state, code: Secret::from(code), iss }))
}

fn refused(error: &str, why: Option<&str>) -> anyhow::Result<Answer> {
    let said = why.map_or_else(|| error.to_owned(), |why| format!("{why} ({error})"));
    bail!("the provider refused: {}", model::name::printable(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_from_the_request() {
        let answer = read("GET /callback?state=s%201&code=c%2B&iss=https%3A%2F%2Fidp HTTP/1.1\r\nHost: x\r\n\r\n", "s 1").unwrap().unwrap();
        assert_eq!((answer.state.as_str(), answer.code.reveal(), answer.iss.as_deref()), ("s 1", b"c+".as_slice(), Some("https://idp")));
        let refused =
            read("GET /callback?error=access_denied&error_description=no%1b[2J&state=s HTTP/1.1\r\n\r\n", "s").unwrap().err().unwrap().to_string();
        assert_eq!(refused, "the provider refused: no\\u{1b}[2J (access_denied)");
    }

    #[test]
    fn what_is_no_answer_is_nothing() {
        for head in [
            "",
            "GET /favicon.ico HTTP/1.1\r\n\r\n",
            "GET /callback HTTP/1.1\r\n\r\n",
            "GET /callback?state=s HTTP/1.1\r\n\r\n",
            "POST /callback?state=s&code=c HTTP/1.1\r\n\r\n",
            "GET /callback?state=other&code=c HTTP/1.1\r\n\r\n",
            "GET /callback?error=access_denied HTTP/1.1\r\n\r\n",
        ] {
            assert!(read(head, "s").is_none(), "{head}");
        }
    }
}
