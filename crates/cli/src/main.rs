//! The `countersign` program: the server (`serve`) and everything people type.
//!
//! One file per command in `commands/`. Secrets never come from arguments; errors say what to do next.

mod browser;
mod cast;
mod certificates;
mod client;
mod commands;
mod config;
mod credentials;
#[cfg(test)]
mod fuzzed;
mod local_port;
mod output;
mod player;
mod policy_files;
mod ssh;
mod story;
mod supervisor;
mod telemetry;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("countersign: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each once; what peers sent is in it, so nothing in it may move the cursor.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    model::name::printable_block(&told)
}
