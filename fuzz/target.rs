//! All fuzz targets in one program. Each is a function of the crate that owns it, which replays the target's corpus as a test; `COUNTERSIGN_FUZZ_TARGET`
//! names the one to run.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// The program `countersign` is no library: of it the configuration is compiled here once more.
#[path = "../crates/cli/src"]
#[allow(dead_code, unreachable_pub, reason = "the rest of the program uses what is not used here")]
mod cli {
    pub(crate) mod config;
    pub(crate) mod fuzzed;
}

/// What a statement may take.
mod limits;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("assertion", identity::fuzzed::assertion),
    ("authorization_details", api::fuzzed::authorization_details),
    ("caller_login", protocol::fuzzed::caller_login),
    ("caller_message", protocol::fuzzed::caller_message),
    ("claims", identity::fuzzed::claims),
    ("command", policy::fuzzed::command),
    ("config", cli::fuzzed::config),
    ("copy_rows", protocol::fuzzed::copy_rows),
    ("detect", policy::fuzzed::detect),
    ("dialogue", protocol::fuzzed::dialogue),
    ("facts", limits::facts),
    ("hostile_dialogue", protocol::fuzzed::hostile_dialogue),
    ("mask", policy::fuzzed::mask),
    ("output", policy::fuzzed::output),
    ("policy_files", policy::fuzzed::policy_files),
    ("proof", identity::fuzzed::proof),
    ("recording", evidence::fuzzed::recording),
    ("recording_lines", evidence::fuzzed::recording_lines),
    ("scram", protocol::fuzzed::scram),
    ("screen", evidence::fuzzed::screen),
    ("sftp", protocol::fuzzed::sftp),
    ("statement", policy::fuzzed::statement),
    ("target_login", protocol::fuzzed::target_login),
    ("target_message", protocol::fuzzed::target_message),
    ("token_form", api::fuzzed::token_form),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("COUNTERSIGN_FUZZ_TARGET").expect("COUNTERSIGN_FUZZ_TARGET names a target");
    TARGETS.iter().find(|(known, _)| *known == name).expect("COUNTERSIGN_FUZZ_TARGET names no target").1
});

fuzz_target!(|data: &[u8]| TARGET(data));
