//! `git`: the programs that serve a repository to a client, and the commands that people give at the target.

use model::{
    Action::{self, Destroy, Escape, Export, Read, Write},
    Object,
};

use super::{Call, Walk, network};
use crate::classify::ssh::{command::After, paths::Places, shell::Word};

/// Options that say how much is shown or which commits are meant, and run nothing.
const OPTIONS: &str = "-q -v -s -b -a -f -d -x -A -p -n: -m: -# --quiet --verbose --short --oneline --abbrev-ref --abbrev-commit --tags --always --hard --soft --mixed --force --depth: --branch: --ff-only --no-ff --prune --all --no-edit --message: --name-only --name-status --stat --cached --staged --show-current --is-inside-work-tree --show-toplevel --verify --porcelain? --no-pager --detach --single-branch --bare --recursive --dirty --long --exact-match --count --left-right --no-color --max-count: --format: --pretty? --hard --keep";

const LOOKS: &[&str] = &[
    "status",
    "log",
    "show",
    "diff",
    "rev-parse",
    "describe",
    "branch",
    "ls-files",
    "rev-list",
    "shortlog",
    "blame",
    "cat-file",
    "ls-tree",
    "version",
    "tag",
];
const CHANGES: &[&str] = &[
    "add",
    "commit",
    "checkout",
    "switch",
    "restore",
    "reset",
    "merge",
    "stash",
    "init",
    "mv",
    "gc",
    "branch",
    "tag",
    "cherry-pick",
    "revert",
    "apply",
    "am",
];
const REMOVES: &[&str] = &["clean", "rm"];
const TALKS: &[&str] = &["fetch", "pull", "push", "clone", "ls-remote"];

pub(super) fn git(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let served = call.base.strip_prefix("git-").map(|verb| (verb, call.arguments));
    let verb = || call.arguments.split_first().and_then(|(verb, rest)| verb.text().map(|verb| (verb, rest)));
    match served.or_else(verb) {
        Some((verb @ ("upload-pack" | "upload-archive" | "receive-pack"), rest)) => walk.serves(call, verb, rest),
        _ => walk.git_command(call),
    }
}

impl Walk<'_> {
    fn serves(&mut self, call: &Call<'_>, verb: &str, arguments: &[Word]) -> After {
        let options = "--strict --no-strict --timeout: --stateless-rpc --advertise-refs --http-backend-info-refs";
        let Some(given) = self.given(&Call { arguments, ..*call }, options) else { return self.stays() };
        let actions: &[Action] = if verb == "receive-pack" { &[Read, Write] } else { &[Read, Export] };
        match given.operands.as_slice() {
            [repository] => self.touch(repository, actions),
            _ => self.found.doubt("which repository it serves is not known"),
        }
        self.stays()
    }

    fn git_command(&mut self, call: &Call<'_>) -> After {
        self.apart(|walk| {
            let mut rest = call.arguments;
            while let Some((word, others)) = rest.split_first() {
                match (word.text(), others.split_first()) {
                    (Some("-C"), Some((directory, others))) => {
                        walk.places = walk.paths(directory).map_or_else(|_| Places::unknown(), Places::at);
                        rest = others;
                    }
                    (Some("--no-pager" | "--version" | "--help"), _) => rest = others,
                    (Some(verb), _) if !verb.starts_with('-') => return walk.git_verb(&Call { arguments: others, ..*call }, verb),
                    _ => return walk.doubted("an option in it is not known"),
                }
            }
            walk.stays()
        })
    }

    fn git_verb(&mut self, call: &Call<'_>, verb: &str) -> After {
        let among = |verbs: &[&str]| verbs.contains(&verb);
        if !(among(LOOKS) || among(CHANGES) || among(REMOVES) || among(TALKS)) {
            return self.doubted("what this command of git does is not known");
        }
        let Some(given) = self.given(call, OPTIONS) else { return self.stays() };
        self.touch_here(&[Read]);
        if among(CHANGES) || among(TALKS) {
            self.touch_here(&[Write]);
        }
        if among(REMOVES) || given.has(&["--hard"]) {
            self.touch_here(&[Destroy]);
        }
        if verb == "clone" {
            given.operands.get(1..).unwrap_or_default().iter().for_each(|directory| self.touch(directory, &[Write]));
        }
        if among(TALKS) {
            self.talks(&given.operands);
        }
        self.stays()
    }

    /// The address it is given, or what the repository calls by a name.
    fn talks(&mut self, operands: &[Word]) {
        match operands.first().map(|word| word.text()) {
            Some(Some(address)) if address.contains("://") => self.escape(network::host_of(address)),
            Some(Some(address)) if address.contains(':') => self.found.doubt("where it leads is not understood"),
            Some(None) => self.found.doubt("where it leads is not understood"),
            _ => self.found.pair(Escape, Object::Connection),
        }
    }
}
