//! PostgreSQL's own source, and headers to build its test programs with: as Debian has them for the server that is
//! installed, by apt, without a change to the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Outcome,
    command::{cache_folder, capture, run},
    install::postgres_programs,
};

/// What was fetched.
pub(super) struct Source {
    folder: PathBuf,
    major: String,
}

impl Source {
    /// Fetches and unpacks it, once for a version.
    pub(super) fn fetch() -> Outcome<Self> {
        let programs = postgres_programs()?;
        let major = programs.parent().and_then(Path::file_name).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        let package = format!("postgresql-{major}");
        let version = capture(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", &package]))?;
        let folder = cache_folder("compare")?.join(format!("{package}-{version}"));
        let source = Self { folder, major };
        if !source.folder.is_dir() {
            println!("fetching the source of {package} {version}");
            let unfinished = cache_folder("compare")?.join("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            source.fetch_into(&unfinished, &package, &version)?;
            fs::rename(&unfinished, &source.folder).map_err(|error| format!("cannot rename {}: {error}", unfinished.display()))?;
        }
        Ok(source)
    }

    fn fetch_into(&self, folder: &Path, package: &str, version: &str) -> Outcome<()> {
        let apt = Apt::with_sources(&folder.join("apt"))?;
        apt.run(&["source", "--download-only", &format!("{package}={version}")])?;
        for package in [format!("postgresql-server-dev-{}={version}", self.major), "libpq-dev".to_owned()] {
            apt.run(&["download", &package])?;
        }
        let into = |folder: PathBuf| fs::create_dir_all(&folder).map(|()| folder).map_err(|error| format!("cannot make a folder: {error}"));
        let (source, packages) = (into(folder.join("source"))?, into(folder.join("packages"))?);
        for file in apt.fetched(|name| name.contains(".orig.tar."))? {
            run(Command::new("tar").args(["-x", "--strip-components=1", "-C"]).arg(&source).arg("-f").arg(file))?;
        }
        for file in apt.fetched(|name| name.ends_with(".deb"))? {
            run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&packages))?;
        }
        Ok(())
    }

    /// A file or folder of the source.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.folder.join("source").join(path)
    }

    /// Where what is built from it goes: the kit of the suites.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The C compiler, told where the headers are.
    pub(super) fn compiler(&self) -> Command {
        let headers = self.folder.join("packages/usr/include/postgresql");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-O1", "-w", "-I"])
            .arg(headers.join(&self.major).join("server"))
            .arg("-I")
            .arg(&headers)
            .arg("-I")
            .arg(headers.join("internal"));
        compiler
    }

    /// The libraries that clients of PostgreSQL's own are linked with.
    pub(super) fn client_libraries(&self) -> [String; 5] {
        let libraries = self.folder.join(format!("packages/usr/lib/postgresql/{}/lib", self.major));
        ["-L", &libraries.to_string_lossy(), "-l:libpq.so.5", "-lpgcommon", "-lpgport"].map(str::to_owned)
    }
}

/// apt with lists of its own, in which every configured source is one of source packages too.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn with_sources(folder: &Path) -> Outcome<Self> {
        let said = |error: std::io::Error| format!("cannot prepare {}: {error}", folder.display());
        for made in ["sources", "lists/partial", "fetched"] {
            fs::create_dir_all(folder.join(made)).map_err(said)?;
        }
        for file in configured() {
            let text = fs::read_to_string(&file).map_err(said)?;
            let name = file.file_name().unwrap_or_default();
            fs::write(folder.join("sources").join(name), with_sources(&text)).map_err(said)?;
        }
        let apt = Self { folder: folder.to_path_buf() };
        apt.run(&["update"])?;
        Ok(apt)
    }

    fn run(&self, arguments: &[&str]) -> Outcome<()> {
        let option = |name: &str, folder: &str| format!("--option={name}={}", self.folder.join(folder).display());
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "--option=Dir::Etc::SourceList=/dev/null", "--option=APT::Sandbox::User=root"]);
        apt.args([option("Dir::Etc::SourceParts", "sources"), option("Dir::State::Lists", "lists")]);
        capture(apt.args(arguments).current_dir(self.folder.join("fetched"))).map(drop)
    }

    /// The files it brought that have such a name.
    fn fetched(&self, such: impl Fn(&str) -> bool) -> Outcome<Vec<PathBuf>> {
        let files = files(&self.folder.join("fetched"));
        let found: Vec<PathBuf> = files.into_iter().filter(|file| file.file_name().is_some_and(|name| such(&name.to_string_lossy()))).collect();
        if found.is_empty() { Err("apt-get brought less than it was asked for".to_owned()) } else { Ok(found) }
    }
}

/// The files in which this machine's package sources are named.
fn configured() -> Vec<PathBuf> {
    let parts = files(Path::new("/etc/apt/sources.list.d"));
    let named = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "list" || ending == "sources");
    let all = parts.into_iter().filter(named).chain([PathBuf::from("/etc/apt/sources.list")]);
    all.filter(|file| file.is_file()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The same sources, of both kinds: in either form that apt reads.
fn with_sources(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_whitespace().next() {
        Some("Types:") => "Types: deb deb-src\n".to_owned(),
        Some("deb") => format!("{line}\n{}\n", line.replacen("deb", "deb-src", 1)),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_both_forms_are_asked_for_source_packages_too() {
        assert_eq!(with_sources("Types: deb\nURIs: http://a/\n"), "Types: deb deb-src\nURIs: http://a/\n");
        assert_eq!(with_sources("# x\ndeb http://a/debian b main\n"), "# x\ndeb http://a/debian b main\ndeb-src http://a/debian b main\n");
    }
}
