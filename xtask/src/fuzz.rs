//! `cargo xtask fuzz TARGET`: bytes of libFuzzer's choosing go into a codec, the login, the dialogue or a reader, beginning with those in
//! `fuzz/corpus/TARGET.hex`. What reached something new is written back there, one input a line in hexadecimal; `cargo test` replays it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Outcome,
    command::{self, cargo, workspace},
};

/// How long a target runs unless it is said, in seconds.
const DEFAULT_S: u64 = 60;

/// Of a corpus this much is kept in the repository, in bytes of the file.
const CORPUS_BYTES_MAX: usize = 96 << 10;

/// LLVM's coverage instrumentation as libFuzzer wants it (<https://clang.llvm.org/docs/SanitizerCoverage.html>). Stable Rust has it; the address
/// sanitizer, which it has not, would watch over `unsafe` code and this has none.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs one target. The second argument is for how many seconds. None if the arguments are others.
#[must_use]
pub fn run(arguments: &[&str]) -> Option<Outcome<()>> {
    let (target, seconds) = match arguments {
        [target] => (*target, DEFAULT_S),
        [target, seconds] => (*target, seconds.parse().ok()?),
        _ => return None,
    };
    Some(fuzz(target, seconds))
}

/// Gives every input of a target's corpus to the function that it is for, which panics where a promise does not hold; how many there are.
///
/// # Errors
/// There is no such corpus, or a line of it is not hexadecimal.
pub fn replay(target: &str, function: fn(&[u8])) -> Outcome<usize> {
    let known = corpus(target)?.1;
    known.lines().try_for_each(|line| bytes_of(line).map(|bytes| function(&bytes)))?;
    Ok(known.lines().count())
}

/// Where a target's corpus is kept, and its text.
fn corpus(target: &str) -> Outcome<(PathBuf, String)> {
    let corpus = workspace().join("fuzz/corpus").join(format!("{target}.hex"));
    let known = fs::read_to_string(&corpus).map_err(|error| format!("{target} is no target: {}: {error}", corpus.display()))?;
    Ok((corpus, known))
}

fn fuzz(target: &str, seconds: u64) -> Outcome<()> {
    let (corpus, known) = corpus(target)?;
    let program = build()?;
    let work = program.with_file_name(format!("fuzzing-{target}"));
    let (found, smaller) = (work.join("found"), work.join("smaller"));
    let _ = fs::remove_dir_all(&smaller);
    for folder in [&found, &smaller] {
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    for (number, line) in known.lines().enumerate() {
        write(&found.join(format!("known-{number}")), &bytes_of(line)?)?;
    }
    let libfuzzer = |arguments: &[String]| {
        let mut command = Command::new(&program);
        command.current_dir(&work).env("COUNTERSIGN_FUZZ_TARGET", target).args(arguments);
        command::run(&mut command)
    };
    let folder = |path: &Path| path.display().to_string();
    libfuzzer(&[format!("-max_total_time={seconds}"), "-timeout=20".to_owned(), "-max_len=4096".to_owned(), folder(&found)])?;
    libfuzzer(&["-set_cover_merge=1".to_owned(), folder(&smaller), folder(&found)])?;
    let mut lines = thinned(inputs(&smaller)?);
    lines.sort();
    write(&corpus, lines.concat().as_bytes())?;
    println!("{}: {} inputs", corpus.display(), lines.len());
    Ok(())
}

fn build() -> Outcome<PathBuf> {
    let host = host()?;
    let folder = workspace().join("fuzz");
    let mut build = cargo(&["build", "--release", "--target", &host]);
    command::run(build.current_dir(&folder).env("RUSTFLAGS", FLAGS))?;
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(folder.join(built).join(host).join("release/target"))
}

/// Flags for a named triple leave build scripts as they are.
fn host() -> Outcome<String> {
    let told = command::capture(Command::new("rustc").arg("-vV"))?;
    told.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or_else(|| "rustc does not say what it runs on".to_owned())
}

fn inputs(folder: &Path) -> Outcome<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let line = |path: PathBuf| {
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect())
    };
    entries.flatten().map(|entry| line(entry.path())).collect()
}

/// As many inputs as may be kept: all, or one in so many of the short and of the long ones alike.
fn thinned(mut lines: Vec<String>) -> Vec<String> {
    let whole: usize = lines.iter().map(String::len).sum();
    lines.sort_by_key(String::len);
    lines.into_iter().step_by(whole / CORPUS_BYTES_MAX + 1).collect()
}

fn bytes_of(line: &str) -> Outcome<Vec<u8>> {
    let digits = |at| line.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or_else(|| format!("not hexadecimal: {line}"));
    (0..line.len()).step_by(2).map(digits).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_corpus_is_bytes_or_refused() {
        assert_eq!(bytes_of("00ff7f"), Ok(vec![0, 255, 127]));
        assert!(bytes_of("0").is_err() && bytes_of("zz").is_err());
        let long = vec!["ff".repeat(1 << 10); 1_000];
        assert!((1..=CORPUS_BYTES_MAX).contains(&thinned(long).concat().len()));
        assert_eq!(thinned(vec!["ff".to_owned(), "0".to_owned()]).len(), 2);
        assert!(run(&[]).is_none() && run(&["dialogue", "long"]).is_none());
    }
}
