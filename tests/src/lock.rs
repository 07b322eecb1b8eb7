//! The loss of a state store in files: another process holds it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::gateway::Gateway;

/// Another process that holds everything readers and writers of the state store must lock, as long as this lives.
#[derive(Debug)]
pub struct Lock(Child);

impl Lock {
    /// Bytes 120 to 127 of the WAL index: writing, checkpoints, recovery and the five places of readers.
    /// <https://www.sqlite.org/walformat.html#locks>
    const PROGRAM: &str = "import fcntl, sys\n\
        index = open(sys.argv[1], 'r+b')\n\
        fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)\n\
        print('locked', flush=True)\n\
        sys.stdin.read()\n";

    /// Holds that of this gateway, which has it in files.
    ///
    /// # Errors
    /// It is not there, or cannot be locked.
    pub fn state(gateway: &Gateway) -> Result<Self> {
        let index = gateway.setup().file("data/state.db-shm");
        let mut child = Command::new("python3").args(["-c", Self::PROGRAM]).arg(index).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut said)?;
        ensure!(said == "locked\n", "the state store could not be locked");
        Ok(Self(child))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
