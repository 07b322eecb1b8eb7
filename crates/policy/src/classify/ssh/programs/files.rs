//! Programs that read, make, change and remove files, where their arguments have a grammar of their own.

use model::Action::{self, Define, Destroy, Privilege, Read, Write};

use super::{Call, Walk};
use crate::classify::ssh::{
    command::After,
    paths::{Place, Places},
    shell::{Piece, Word},
};

/// Pagers. `+` before an operand is a command of theirs, and that may be to run another.
pub(super) fn pager(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-R -r -S -N -F -X -i -I -M -m -n -E -e -s -f -q -#") else { return walk.stays() };
    for word in given.operands.iter().filter(|word| word.text() != Some("-")) {
        if word.start().starts_with('+') {
            walk.found.doubt("what it does first is not known");
        }
        walk.touch(word, &[Read]);
    }
    walk.stays()
}

pub(super) fn date(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = "-d: -u -R -I? -f:r -r:r -s: -j -n --date: --utc --universal --rfc-email --rfc-3339: --iso-8601? --file:r --reference:r --set:";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    if given.has(&["-s", "--set"]) || given.operands.iter().any(|word| !word.start().starts_with('+')) {
        walk.does(call, Define);
    }
    walk.stays()
}

const GREP: &str = "-a -b -c -E -F -G -h -H -i -I -l -L -n -o -P -q -r -R -s -T -U -v -w -x -y -Z -z -A: -B: -C: -d: -D: -e: -f:r -m: -# --after-context: --before-context: --context: --binary-files: --color? --colour? --count --exclude: --exclude-dir: --extended-regexp --file:r --files-with-matches --files-without-match --fixed-strings --ignore-case --include: --invert-match --line-buffered --line-number --line-regexp --max-count: --no-filename --no-messages --null --only-matching --perl-regexp --quiet --recursive --regexp: --silent --text --with-filename --word-regexp";

pub(super) fn grep(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, GREP) else { return walk.stays() };
    let pattern_is_operand = !given.has(&["-e", "-f", "--regexp", "--file"]);
    let files = given.operands.get(usize::from(pattern_is_operand)..).unwrap_or_default();
    if files.is_empty() && given.has(&["-r", "-R", "--recursive"]) {
        walk.touch_here(&[Read]);
    }
    files.iter().filter(|word| word.text() != Some("-")).for_each(|word| walk.touch(word, &[Read]));
    walk.stays()
}

/// Who owns a file: the first operand, unless another file says it.
pub(super) fn owner(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = "-c -f -h -H -L -P -R -v --changes --quiet --silent --verbose --recursive --dereference --no-dereference --from: --reference:r --preserve-root --no-preserve-root";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    let first = usize::from(!given.has(&["--reference"]));
    given.operands.get(first..).unwrap_or_default().iter().for_each(|word| walk.touch(word, &[Write]));
    walk.stays()
}

/// A mode may look like an option.
pub(super) fn chmod(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const OPTIONS: &[&str] = &[
        "-R",
        "-v",
        "-c",
        "-f",
        "-Rv",
        "-vR",
        "-Rf",
        "-fR",
        "-Rc",
        "--recursive",
        "--verbose",
        "--changes",
        "--quiet",
        "--silent",
        "--preserve-root",
        "--",
    ];
    let mut operands = vec![];
    let mut by_reference = false;
    for word in call.arguments {
        match word.start().strip_prefix("--reference=") {
            Some(_) => {
                by_reference = true;
                walk.touch(&word.without("--reference=".len()), &[Read]);
            }
            None if word.text().is_some_and(|text| OPTIONS.contains(&text)) => {}
            None => operands.push(word),
        }
    }
    let files = if by_reference { Some(operands.as_slice()) } else { operands.split_first().map(|(_, files)| files) };
    let mode = operands.first().filter(|_| !by_reference);
    let actions: &[Action] = match mode.map(|mode| mode.text()) {
        Some(Some(mode)) if is_mode(mode) => {
            if lends_rights(mode) {
                &[Privilege, Write]
            } else {
                &[Write]
            }
        }
        None => &[Privilege, Write],
        _ => return walk.doubted("an option in it is not known"),
    };
    for word in files.unwrap_or_default() {
        if word.start().starts_with('-') || matches!(word.pieces.first(), Some(Piece::Glob)) {
            return walk.doubted("an option in it is not known");
        }
        walk.touch(word, actions);
    }
    walk.stays()
}

fn is_mode(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(8) || "ugoa+-=rwxXst,".contains(c))
}

/// Whether who runs a file gets the rights of its owner or group.
fn lends_rights(mode: &str) -> bool {
    let digits = mode.trim_start_matches(['=', '+', '-']);
    let octal = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty();
    // Four digits, or more with zeros before them, have bits beside those of reading, writing and running.
    let special = octal && u32::from_str_radix(digits, 8).is_ok_and(|mode| mode & 0o6000 != 0);
    special || mode.contains('s') || (octal && digits.len() > 8)
}

pub(super) fn install(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = "-b -c -C -d -D -p -s -v -g: -m: -o: -t: -T --directory --group: --mode: --owner: --target-directory: --verbose --compare --preserve-timestamps";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    if given.has(&["-s"]) || given.values(&["-m", "--mode"]).any(|mode| mode.text().is_none_or(lends_rights)) {
        walk.found.doubt("an option in it is not known");
    }
    if given.has(&["-d", "--directory"]) {
        given.operands.iter().for_each(|word| walk.touch(word, &[Write]));
    } else {
        walk.copies(&given, &given.operands, &[Read], &[Write]);
    }
    walk.stays()
}

/// A link's target can be reached under the link's name from then on.
pub(super) fn link(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = "-b -d -f -F -h -i -L -n -P -r -s -S: -t: -T -v --backup? --force --interactive --no-dereference --no-target-directory --physical --relative --symbolic --suffix: --target-directory: --verbose";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    let named: Vec<Word> = given.values(&["-t", "--target-directory"]).cloned().collect();
    let (targets, at) = match (named.first(), given.operands.split_last()) {
        (Some(directory), _) => (given.operands.as_slice(), Some(directory)),
        (None, Some((last, rest))) if !rest.is_empty() => (rest, Some(last)),
        _ => (given.operands.as_slice(), None),
    };
    match at {
        Some(at) => walk.touch(at, &[Write]),
        None => walk.touch_here(&[Write]),
    }
    let symbolic = given.has(&["-s", "--symbolic"]) && !given.has(&["-r", "--relative"]);
    for target in targets {
        walk.linked(target, at.filter(|_| symbolic));
    }
    walk.stays()
}

impl Walk<'_> {
    /// What a link leads to. A symbolic one's target is from its own directory, or from the link itself where that is a directory already.
    fn linked(&mut self, target: &Word, at: Option<&Word>) {
        let relative = !target.start().starts_with('/') && target.pieces.first() != Some(&Piece::Home);
        let (Some(at), true) = (at, relative) else { return self.touch(target, &[Read, Write]) };
        match self.paths(at).and_then(|places| beside(&places)) {
            Err(why) => self.found.doubt(why),
            Ok(from) => {
                let places = std::mem::replace(&mut self.places, from);
                self.touch(target, &[Read, Write]);
                self.places = places;
            }
        }
    }
}

/// These directories, and those they are in.
fn beside(places: &[Place]) -> Result<Places, &'static str> {
    let above = places.iter().map(Place::directory).collect::<Result<Vec<_>, _>>()?;
    Ok(Places::at(above).or(&Places::at(places.to_vec())))
}

pub(super) fn dd(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const OTHERS: &[&str] = &["bs", "ibs", "obs", "cbs", "count", "skip", "seek", "iseek", "oseek", "conv", "status", "iflag", "oflag"];
    for word in call.arguments {
        let Some((name, _)) = word.start().split_once('=') else { return walk.doubted("an option in it is not known") };
        let value = word.without(name.len() + 1);
        match name {
            "if" => walk.touch(&value, &[Read]),
            "of" => walk.touch(&value, &[Write]),
            name if OTHERS.contains(&name) => {}
            _ => return walk.doubted("an option in it is not known"),
        }
    }
    walk.stays()
}

/// Programs that tell from their only or first operand what to read, and from the second where to write.
pub(super) fn in_out(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = match call.base {
        "uniq" => "-c -d -D -u -i -f: -s: -w: -z --count --repeated --unique --ignore-case --skip-fields: --skip-chars: --check-chars:",
        _ => "-a -b -c: -C -e -E -g: -i -l: -n: -o: -p -r -R: -s: -u",
    };
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    for (word, action) in given.operands.iter().zip([Read, Write, Write]).filter(|(word, _)| word.text() != Some("-")) {
        walk.touch(word, &[action]);
    }
    walk.stays()
}

/// What a program does to its operands where it may remove them.
pub(super) fn truncate(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-c -o -r:r -s: --no-create --io-blocks --reference:r --size:") else { return walk.stays() };
    given.operands.iter().for_each(|word| walk.touch(word, &[Destroy]));
    walk.stays()
}
