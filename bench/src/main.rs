//! What `cargo xtask bench` needs besides other people's programs: a relay that does nothing, and a client that reads as fast as it can.

mod relay;
mod stream;
mod tls;

use std::{io, path::Path, process::ExitCode};

use self::{stream::Login, tls::Tls};

const USAGE: &str = "\
usage: countersign-bench relay TARGET [TLS-FOLDER]
       PGPASSWORD=... countersign-bench stream ADDRESS USER DATABASE STATEMENT [TLS-FOLDER]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("countersign-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> io::Result<()> {
    let tls = |folder: &[&str]| folder.first().map(|folder| Tls::read(Path::new(folder))).transpose();
    match arguments {
        ["relay", target, folder @ ..] => relay::run(target, tls(folder)?).await,
        ["stream", address, user, database, statement, folder @ ..] => {
            let password = std::env::var("PGPASSWORD").map_err(io::Error::other)?;
            let login = Login { address, user, database, password: &password };
            stream::run(&login, statement, tls(folder)?).await
        }
        _ => Err(io::Error::other(USAGE)),
    }
}
