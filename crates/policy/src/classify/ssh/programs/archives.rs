//! Archives: what goes into them, and where it comes out.

use model::Action::{Destroy, Export, Read, Write};

use super::{
    Call, Walk,
    options::{self, Given},
};
use crate::classify::ssh::{command::After, paths::Places, shell::Word};

const TAR: &str = "-c -x -t -r -u -d -f: -z -j -J -a -v -p -k -h -l -m -n -o -O -P -S -w -W -B -b: -C: -N: -V: -X:r --create --extract --get --list --append --update --file: --gzip --gunzip --ungzip --bzip2 --xz --zstd --auto-compress --verbose --directory: --exclude: --exclude-vcs --strip-components: --preserve-permissions --same-owner --no-same-owner --no-same-permissions --numeric-owner --owner: --group: --mode: --one-file-system --keep-old-files --overwrite --touch --to-stdout --dereference --sparse --warning: --ignore-failed-read --totals --format: --sort: --mtime: --no-recursion --exclude-from:r --acls --xattrs --selinux --no-acls --no-xattrs --no-selinux --wildcards --anchored --delete --absolute-names --force-local";

pub(super) fn tar(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let arguments = with_dashes(call.arguments);
    let Some(given) = walk.given(&Call { arguments: &arguments, ..*call }, TAR) else { return walk.stays() };
    walk.apart(|walk| {
        let archives: Vec<&Word> = given.values(&["-f", "--file"]).collect();
        let directories: Vec<&Word> = given.values(&["-C", "--directory"]).collect();
        if archives.len() > 1 || directories.len() > 1 || archives.iter().any(|archive| archive.text().is_none_or(|name| name.contains(':'))) {
            return walk.doubted("where its archive is, is not known");
        }
        let archive = archives.first().copied().filter(|archive| archive.text() != Some("-"));
        walk.packed(&given, archive, directories.first().copied())
    })
}

impl Walk<'_> {
    fn packed(&mut self, given: &Given, archive: Option<&Word>, directory: Option<&Word>) -> After {
        let packs = given.has(&["-c", "--create"]);
        let adds = given.has(&["-r", "-u", "--append", "--update", "--delete"]);
        let unpacks = given.has(&["-x", "--extract", "--get"]);
        if let Some(archive) = archive {
            self.touch(
                archive,
                if adds {
                    &[Read, Write]
                } else if packs {
                    &[Write]
                } else {
                    &[Read]
                },
            );
        }
        if let Some(directory) = directory {
            self.places = self.paths(directory).map_or_else(|_| Places::unknown(), Places::at);
        }
        if unpacks && !given.has(&["-O", "--to-stdout"]) {
            if given.has(&["-P", "--absolute-names"]) {
                return self.doubted("where it unpacks to is not known");
            }
            self.touch_here(&[Write]);
        }
        if packs || adds {
            let leaves = archive.is_none();
            given.operands.iter().for_each(|word| self.touch(word, if leaves { &[Read, Export] } else { &[Read] }));
        }
        if !(packs || adds || unpacks || given.has(&["-t", "-d", "--list"])) {
            return self.doubted("what it does with its archive is not known");
        }
        self.stays()
    }
}

/// `tar xzf a` is `tar -x -z -f a`: values come in the order of the letters.
fn with_dashes(arguments: &[Word]) -> Vec<Word> {
    let letters =
        arguments.first().and_then(Word::text).filter(|first| !first.starts_with('-') && first.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let (Some(letters), Some(rest)) = (letters, arguments.get(1..)) else { return arguments.to_vec() };
    let (mut words, mut rest) = (vec![], rest.iter());
    for letter in letters.chars() {
        words.push(Word::of(&format!("-{letter}")));
        if options::takes_value(TAR, &format!("-{letter}")) {
            words.extend(rest.next().cloned());
        }
    }
    words.extend(rest.cloned());
    words
}

pub(super) fn zip(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-r -q -v -# -j -m -u -f -g -y -x: -i: -P: -e -X -D") else { return walk.stays() };
    let Some((archive, files)) = given.operands.split_first() else { return walk.stays() };
    let leaves = archive.text() == Some("-");
    if !leaves {
        walk.touch(archive, &[Read, Write]);
    }
    for word in files.iter().filter(|word| word.text() != Some("-")) {
        walk.touch(word, if leaves { &[Read, Export] } else { &[Read] });
        if given.has(&["-m"]) {
            walk.touch(word, &[Destroy]);
        }
    }
    walk.stays()
}

pub(super) fn unzip(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-o -q -l -t -n -j -p -c -u -v -Z -L -a -d: -P: -x:") else { return walk.stays() };
    let Some(archive) = given.operands.first() else { return walk.stays() };
    walk.touch(archive, &[Read]);
    if !given.has(&["-l", "-t", "-p", "-c", "-v", "-Z"]) {
        let directory: Vec<Word> = given.values(&["-d"]).cloned().collect();
        match directory.first() {
            Some(directory) => walk.touch(directory, &[Write]),
            None => walk.touch_here(&[Write]),
        }
    }
    walk.stays()
}
