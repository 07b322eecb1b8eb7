//! `rsync` and `scp`, at either end.

use model::Action::{Destroy, Export, Read, Write};

use super::{Call, Walk, forwards};
use crate::classify::ssh::{command::After, shell::Word};

/// Options of the far end that change only how things are sent.
const SERVER_FLAGS: &[&str] = &[
    "--append",
    "--append-verify",
    "--block-size",
    "--bwlimit",
    "--checksum",
    "--checksum-choice",
    "--compress-choice",
    "--compress-level",
    "--copy-unsafe-links",
    "--debug",
    "--delay-updates",
    "--existing",
    "--force",
    "--from0",
    "--fsync",
    "--fuzzy",
    "--group",
    "--iconv",
    "--ignore-errors",
    "--ignore-existing",
    "--ignore-missing-args",
    "--info",
    "--inplace",
    "--list-only",
    "--log-format",
    "--max-delete",
    "--max-size",
    "--min-size",
    "--modify-window",
    "--msgs2stderr",
    "--new-compress",
    "--no-implied-dirs",
    "--no-r",
    "--no-relative",
    "--no-whole-file",
    "--numeric-ids",
    "--old-args",
    "--old-compress",
    "--one-file-system",
    "--open-noatime",
    "--owner",
    "--partial",
    "--preallocate",
    "--prune-empty-dirs",
    "--safe-links",
    "--size-only",
    "--skip-compress",
    "--specials",
    "--stats",
    "--timeout",
    "--use-qsort",
    "--whole-file",
    "--zc",
    "--zl",
];

pub(super) fn rsync(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    if call.arguments.first().and_then(Word::text) == Some("--server") { walk.rsync_server(call) } else { walk.rsync_client(call) }
}

#[derive(Debug, Default)]
struct Server {
    sends: bool,
    recursive: bool,
    removes: bool,
}

impl Walk<'_> {
    /// What a client's rsync asks for at the other end: options, a dot, paths.
    fn rsync_server(&mut self, call: &Call<'_>) -> After {
        let mut words = call.arguments.iter();
        let mut server = Server::default();
        for word in words.by_ref() {
            let Some(text) = word.text() else { return self.doubted("what an argument is, is known only when it runs") };
            if text == "." {
                break;
            }
            if let Err(why) = self.server_option(text, &mut server) {
                return self.doubted(why);
            }
        }
        let paths = words.as_slice();
        if paths.is_empty() {
            self.rsync_path(&Word::of("."), &server);
        }
        paths.iter().for_each(|path| self.rsync_path(path, &server));
        self.stays()
    }

    fn server_option(&mut self, text: &str, server: &mut Server) -> Result<(), &'static str> {
        const UNKNOWN: &str = "an option in it is not known";
        if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.starts_with('-')) {
            // After `e` stands what the client can do, not what it wants.
            let own = letters.split('e').next().unwrap_or_default();
            server.recursive |= own.contains('r');
            let known = own.chars().all(|letter| "vlogDtprnHAXzchkKLOJSRuxiIWdbmyqUN0CT.".contains(letter) || letter.is_ascii_digit());
            return if known { Ok(()) } else { Err(UNKNOWN) };
        }
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("--server", None) => {}
            ("--sender", None) => server.sends = true,
            (
                "--remove-source-files"
                | "--delete"
                | "--delete-before"
                | "--delete-during"
                | "--delete-after"
                | "--delete-delay"
                | "--delete-excluded",
                None,
            ) => server.removes = true,
            ("--backup-dir" | "--partial-dir" | "--temp-dir", Some(path)) => self.touch(&Word::of(path), &[Write]),
            ("--compare-dest" | "--copy-dest" | "--link-dest", Some(path)) => self.touch(&Word::of(path), &[Read]),
            (name, _) if SERVER_FLAGS.contains(&name) => {}
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn rsync_path(&mut self, path: &Word, server: &Server) {
        self.touch(path, if server.sends { &[Read] } else { &[Write] });
        if server.sends && server.recursive {
            self.touch(path, &[Export]);
        }
        if server.removes {
            self.touch(path, &[Destroy]);
        }
    }

    /// One that is begun at the target.
    fn rsync_client(&mut self, call: &Call<'_>) -> After {
        let options = "-a -v -z -r -l -p -t -g -o -D -n -P -h -H -A -X -u -c -q -R -S -x -i -C -W -d -k -L -b -m --delete --delete-after --delete-before --delete-during --delete-excluded --remove-source-files --exclude: --include: --progress --partial --stats --archive --verbose --compress --dry-run --inplace --numeric-ids --chmod: --chown: --bwlimit: --timeout: --ignore-existing --update --checksum --recursive --links --perms --times --info: --no-perms --no-owner --no-group --human-readable --quiet --link-dest:r";
        let Some(given) = self.given(call, options) else { return self.stays() };
        let removes = given.options.iter().any(|(name, _)| name.starts_with("--delete") || name == "--remove-source-files");
        self.between(&given.operands, removes);
        self.stays()
    }

    /// Files go from all operands to the last; with a colon in its first part one is at another host.
    fn between(&mut self, operands: &[Word], removes: bool) {
        let Some((last, sources)) = operands.split_last() else { return };
        for source in sources {
            self.end(source, &[Read]);
        }
        self.end(last, if sources.is_empty() { &[Read] } else { &[Write] });
        if removes {
            operands.iter().filter(|word| host(word).is_none()).for_each(|word| self.touch(word, &[Destroy]));
        }
    }

    fn end(&mut self, word: &Word, actions: &[model::Action]) {
        match host(word) {
            Some(host) => self.escape(forwards::address(host, 22)),
            None => self.touch(word, actions),
        }
    }
}

/// The host an operand names.
fn host(word: &Word) -> Option<&str> {
    let first = word.start().split('/').next()?;
    let (host, _) = first.split_once(':')?;
    Some(host.rsplit('@').next().unwrap_or(host))
}

pub(super) fn scp(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-t -f -r -p -d -v -q -B -C -3 -4 -6 -O -T -P: -l: -c: -i:r") else { return walk.stays() };
    match (given.has(&["-t"]), given.has(&["-f"])) {
        (true, false) => given.operands.iter().for_each(|word| walk.touch(word, &[Write])),
        (false, true) => {
            let actions: &[model::Action] = if given.has(&["-r"]) { &[Read, Export] } else { &[Read] };
            given.operands.iter().for_each(|word| walk.touch(word, actions));
        }
        (true, true) => return walk.doubted("it sends and takes at once"),
        (false, false) => walk.between(&given.operands, false),
    }
    walk.stays()
}
