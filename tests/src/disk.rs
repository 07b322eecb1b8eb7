//! A disk of one's own, whose file system becomes full, or read-only as one does whose device fails: files that are open for writing are no exception.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::postgres::PATIENCE;

/// Room for some recordings; a file system with a journal needs a few of these.
const SIZE_BYTES: u64 = 64 << 20;

/// Unmounts when its standard input ends: when the disk is dropped, or the process that holds it ends in whatever way.
const KEEPER: &str = "trap '' INT TERM HUP; cat > /dev/null; umount --lazy \"$1\"";

/// An ext4 file system in a file. It is gone with this value, or with the process.
#[derive(Debug)]
pub struct Disk {
    keeper: Child,
    folder: TempDir,
}

impl Disk {
    /// Makes one and mounts it. None, with a word on standard output, where this process may not mount: it must be root's, in no container that
    /// forbids it, and there must be loop devices.
    ///
    /// # Errors
    /// There is no `mkfs.ext4`, or it fails.
    pub fn mounted() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        File::create(folder.path().join("image"))?.set_len(SIZE_BYTES)?;
        fs::create_dir(folder.path().join("disk"))?;
        let keeper = Command::new("/bin/sh").args(["-c", KEEPER, "keeper"]).arg(folder.path().join("disk")).stdin(Stdio::piped()).spawn()?;
        let disk = Self { keeper, folder };
        run("mkfs.ext4", ["-q", "-F"].map(OsStr::new).into_iter().chain([disk.image().as_os_str()]))?;
        if let Err(error) = disk.mount() {
            println!("NOT TESTED: nothing can be mounted here, so that no file system can become full or read-only: {error:#}");
            return Ok(None);
        }
        Ok(Some(disk))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// From now on no write succeeds, as after an error of the device (`errors=remount-ro` of ext4(5)). What the device has not got by then is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn goes_read_only(&self) -> Result<()> {
        run("mount", ["-o", "remount,abort"].map(OsStr::new).into_iter().chain([self.path().as_os_str()]))
    }

    /// Mounts it anew, as it must be after an error. Nobody may have anything of it open by then: it is waited for.
    ///
    /// # Errors
    /// It is still in use after a minute, or cannot be mounted.
    pub fn is_mended(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = run("umount", [self.path().as_os_str()].into_iter()) {
            ensure!(Instant::now() < end, "{error:#}");
        }
        self.mount()
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    /// It cannot be written for another reason.
    pub fn is_filled(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        // Until not even a byte fits: at last a block is as large as what is left.
        for size in [1 << 20, 4 << 10, 1] {
            let bytes = vec![1; size];
            loop {
                match filler.write_all(&bytes).and_then(|()| if size > 1 { Ok(()) } else { filler.sync_all() }) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("it cannot be filled"),
                }
            }
        }
        Ok(())
    }

    /// There is room again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) -> Result<()> {
        let options = ["-o", "loop,errors=remount-ro"].map(OsStr::new);
        run("mount", options.into_iter().chain([self.image().as_os_str(), self.path().as_os_str()]))?;
        Ok(fs::set_permissions(self.path(), Permissions::from_mode(0o700))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// On `PATH`, or where Debian puts what is root's.
fn run<'a>(program: &str, arguments: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let there = Path::new("/usr/sbin").join(program);
    let program = if there.is_file() { there } else { program.into() };
    let output = Command::new(&program).args(arguments).output().with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
