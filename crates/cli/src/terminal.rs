//! Asking people: secrets without echo, yes or no. Secrets come from the terminal or from standard input, never from arguments.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use model::Secret;

/// Longest secret read from standard input, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Reads a secret: from the terminal without echo, or the first line of standard input when that is no terminal.
pub(crate) fn secret(prompt: &str) -> anyhow::Result<Secret> {
    let text = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{prompt}: ")).context("cannot read from the terminal")?
    } else {
        first_line(&mut std::io::stdin().lock())?
    };
    if text.is_empty() {
        bail!("nothing was given. Type the secret at the prompt, or pass it on standard input: `printf %s \"$SECRET\" | countersign …`");
    }
    Ok(Secret::from(text))
}

/// Asks for a secret that somebody may not have: nothing if there is no terminal, or nothing is typed.
pub(crate) fn maybe_secret(prompt: &str) -> anyhow::Result<Option<Secret>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let text = rpassword::prompt_password(format!("{prompt}: ")).context("cannot read from the terminal")?;
    Ok(if text.is_empty() { None } else { Some(Secret::from(text)) })
}

/// Like [`secret`], asked for twice on a terminal so that a slip is noticed.
pub(crate) fn new_secret(prompt: &str) -> anyhow::Result<Secret> {
    let first = secret(prompt)?;
    if std::io::stdin().is_terminal() && secret(&format!("{prompt}, again"))?.reveal() != first.reveal() {
        bail!("the two differ: nothing was changed");
    }
    Ok(first)
}

fn first_line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::Read::take(input, MAX_SECRET_BYTES as u64).read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// The terminal without echo and lines, until this is dropped. Nothing happens where there is none.
#[derive(Debug)]
pub(crate) struct RawTerminal(Option<rustix::termios::Termios>);

impl RawTerminal {
    pub(crate) fn begin() -> Self {
        use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}

/// Keys as they are pressed. None are where standard input is no terminal.
#[derive(Debug)]
pub(crate) struct Keys(Option<tokio::sync::mpsc::UnboundedReceiver<u8>>);

impl Keys {
    /// Reads them from now on, on a thread of its own, which nothing can wake: it ends with the process.
    pub(crate) fn read() -> Self {
        if !std::io::stdin().is_terminal() {
            return Self(None);
        }
        let (pressed, keys) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for byte in std::io::Read::bytes(std::io::stdin()).map_while(Result::ok) {
                if pressed.send(byte).is_err() {
                    return;
                }
            }
        });
        Self(Some(keys))
    }

    /// The next one; never, where there are none.
    pub(crate) async fn next(&mut self) -> Option<u8> {
        match &mut self.0 {
            Some(keys) => keys.recv().await,
            None => std::future::pending().await,
        }
    }
}

/// Reads a line from the terminal.
pub(crate) fn line(prompt: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("{prompt} is missing, and there is no terminal to ask at: give it as an argument");
    }
    eprint!("{prompt}: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks yes or no; only `y` and `yes` are yes. Without a terminal nobody can say yes.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this asks a question, and there is no terminal to ask at: add --yes once you have read what is above");
    }
    Ok(matches!(line(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        assert_eq!(first_line(&mut &b"hunter2\r\nmore"[..]).unwrap(), "hunter2");
        assert_eq!(first_line(&mut &b" spaces stay "[..]).unwrap(), " spaces stay ");
    }
}
