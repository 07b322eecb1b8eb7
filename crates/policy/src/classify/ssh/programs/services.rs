//! Services, packages and containers: the first word says what is done.

use model::Action::{Define, Destroy, Read};

use super::{Call, Walk};
use crate::classify::ssh::{command::After, shell::Word};

const SYSTEMCTL: &str = "-q -l -a -f -n: -o: -p: -t: --no-pager --now --user --system --failed --type: --state: --property: --lines: --output: --quiet --all --full --plain --no-legend --value --force --no-block --no-wall --version --recursive --reverse";

pub(super) fn systemctl(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const LOOKS: &[&str] = &[
        "status",
        "is-active",
        "is-enabled",
        "is-failed",
        "is-system-running",
        "show",
        "cat",
        "help",
        "get-default",
        "show-environment",
        "list-units",
        "list-unit-files",
        "list-timers",
        "list-sockets",
        "list-dependencies",
        "list-jobs",
    ];
    const ENDS: &[&str] = &["poweroff", "reboot", "halt", "kexec", "exit", "rescue", "emergency", "suspend", "hibernate", "soft-reboot"];
    let Some(given) = walk.given(call, SYSTEMCTL) else { return walk.stays() };
    match given.operands.first().map(Word::text) {
        None => {}
        Some(Some(verb)) if LOOKS.contains(&verb) => {}
        Some(Some(verb)) if ENDS.contains(&verb) => walk.does(call, Destroy),
        Some(Some("set-environment" | "import-environment" | "edit")) => walk.found.doubt("what it changes is not known"),
        Some(Some(_)) => walk.does(call, Define),
        Some(None) => walk.found.doubt("what it does is known only when it runs"),
    }
    walk.stays()
}

pub(super) fn service(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "--status-all") else { return walk.stays() };
    match given.operands.iter().map(Word::text).collect::<Option<Vec<_>>>().as_deref() {
        Some([] | [_, "status"]) => {}
        Some([name, _]) if !name.contains('/') => walk.does(call, Define),
        _ => walk.found.doubt("what it does is not known"),
    }
    walk.stays()
}

/// Options of the programs that install others, as far as they only say how much is asked and shown, or which version is meant.
const PACKAGES: &str = "-y -q -v -f -s -u -n -i -l -L -S -Q -R -U -V -e -r:r -g -D -E -P -K -a -c -d -p -w -F -h --yes --assume-yes --quiet --no-install-recommends --install-recommends --only-upgrade --no-cache --update --upgrade --purge --fix-broken --fix-missing --dry-run --simulate --noconfirm --needed --force-yes --allow-downgrades --allow-releaseinfo-change --reinstall --auto-remove --autoremove --installed --upgradable --list --status --listfiles --search --install --remove --configure --get-selections --print-architecture --query --all --info --user --global --production --save --save-dev --no-audit --no-fund --ci --omit: --requirement:r --no-deps --no-cache-dir --upgrade-strategy: --version --help --virtual: --non-interactive --nogpgcheck --best --disable-pip-version-check --break-system-packages --no-dev --optimize-autoloader --no-interaction --no-scripts --prefer-dist --frozen-lockfile";

pub(super) fn packages(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const LOOKS: &[&str] = &[
        "list",
        "search",
        "show",
        "policy",
        "info",
        "view",
        "ls",
        "outdated",
        "freeze",
        "depends",
        "rdepends",
        "status",
        "check",
        "check-update",
        "madison",
        "repolist",
        "provides",
        "whatprovides",
        "audit",
        "help",
        "version",
        "showpkg",
        "dumpavail",
    ];
    // What they run is the package's own, as any program at the target is.
    const RUNS: &[&str] = &["run", "run-script", "start", "test", "stop", "restart", "build"];
    const RUNS_GIVEN: &[&str] = &["exec", "x", "explore", "dlx", "shell", "node", "config", "set", "edit", "create", "init"];
    let by_option = ["dpkg", "dpkg-query", "rpm", "pacman"].contains(&call.base);
    let Some(given) = walk.given(call, PACKAGES) else { return walk.stays() };
    let verb = given.operands.first().map(Word::text);
    match verb {
        _ if given.has(&["--version", "--help"]) => {}
        _ if by_option && only_asks(call.base, &given) => {}
        _ if by_option => {
            walk.does(call, Define);
            given.operands.iter().filter(|word| word.start().contains('/')).for_each(|word| walk.touch(word, &[Read]));
        }
        None if call.base == "apt-cache" => {}
        Some(Some(verb)) if LOOKS.contains(&verb) || call.base == "apt-cache" => {}
        Some(Some(verb)) if RUNS.contains(&verb) && ["npm", "yarn", "pnpm", "cargo", "composer"].contains(&call.base) => {}
        Some(Some(verb)) if RUNS_GIVEN.contains(&verb) => walk.found.doubt("it runs another program in a way that is not followed"),
        Some(Some(_)) | None => walk.does(call, Define),
        Some(None) => walk.found.doubt("what it does is known only when it runs"),
    }
    walk.stays()
}

fn only_asks(program: &str, given: &super::options::Given) -> bool {
    match program {
        "dpkg-query" => true,
        "dpkg" => {
            given.has(&["-l", "-s", "-L", "-S", "-p", "--list", "--status", "--listfiles", "--search", "--get-selections", "--print-architecture"])
                && !given.has(&["-i", "-r", "-P", "--install", "--remove", "--purge", "--configure"])
        }
        "rpm" => given.has(&["-q", "-V", "--query"]) && !given.has(&["-i", "-U", "-e", "-F", "--install", "--upgrade"]),
        _ => given.has(&["-Q"]) && !given.has(&["-S", "-R", "-U", "-D", "-F"]),
    }
}

pub(super) fn containers(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const LOOKS: &[&str] = &[
        "ps",
        "images",
        "logs",
        "inspect",
        "version",
        "info",
        "stats",
        "top",
        "port",
        "diff",
        "history",
        "events",
        "get",
        "describe",
        "explain",
        "api-resources",
        "api-versions",
        "cluster-info",
        "list",
        "status",
    ];
    let options = "-a -q -f -A -l: -n: -o: -t -w --all --quiet --namespace: --all-namespaces --output: --no-trunc --format: --filter: --tail: --since: --until: --timestamps --follow --no-stream --version";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    match given.operands.first().map(Word::text) {
        None => {}
        Some(Some(verb)) if LOOKS.contains(&verb) => {}
        _ => walk.found.doubt("what it does to containers is not known"),
    }
    walk.stays()
}

/// Lists what runs when; anything else hands over code that runs later.
pub(super) fn crontab(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match walk.given(call, "-l -u:") {
        Some(given) if given.has(&["-l"]) && given.operands.is_empty() => {}
        _ => walk.found.doubt("it hands over code that runs later"),
    }
    walk.stays()
}

/// The name of the machine: shown, or set.
pub(super) fn hostname(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-f -s -i -I -d -A -y --fqdn --short --long --ip-address --all-ip-addresses --domain") else {
        return walk.stays();
    };
    if !given.operands.is_empty() {
        walk.does(call, Define);
    }
    walk.stays()
}
