//! The one pass over the bytes.

use super::blocks::{self, BLOCK_BYTES};
use super::classes::{self, BEYOND_HEX, DIGIT, LETTERS, LOWER, UPPER, at, back, class, escaped, is_digit, is_word, part, run, work};
use super::entity::{Entities, Entity};
use super::hints::{Ear, Hints};
use super::keys::{self, Block};
use super::prefixes::{PREFIXES, Prefixes, Rule, is_joined};
use super::{Finding, crypto, dates, emails, hints, national, network, numbers, weak};

/// No match but a private key block and a token of JSON looks further than this from where it begins.
pub const MAX_MATCH_BYTES: usize = 4096;

/// No rule looks further back than this from the token it is tried at.
pub(super) const LOOK_BACK_BYTES: usize = 640;

/// A longer run of letters and digits is looked at from its beginning only.
const MAX_TOKEN_BYTES: usize = 256;

/// A word without digits is no key of a provider unless it is as long as this.
const MIN_LETTERS: usize = 20;

/// What rules see: the bytes around the token they are tried at, the same however the text was cut.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) text: &'a [u8],
    /// Where the window begins in the whole text.
    pub(super) base: u64,
}

/// A run of letters and digits in a window.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The classes of its bytes; of a token longer than [`MAX_KNOWN_BYTES`] those of letters may be there together though only one is.
    pub(super) classes: u8,
}

/// Up to this length it matters which letters a token has.
const MAX_KNOWN_BYTES: usize = 16;

impl Token {
    pub(super) fn len(self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_hex(self) -> bool {
        self.classes & BEYOND_HEX == 0
    }
}

/// A finding in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) entity: Entity,
    pub(super) rule: &'static str,
    pub(super) checked: bool,
}

#[derive(Clone)]
pub(super) struct Pass {
    on: Entities,
    prefixes: &'static Prefixes,
    ear: Ear,
    open: Option<Block>,
}

/// What a step needs besides the text.
pub(super) struct Scene<'a> {
    pub(super) window: Window<'a>,
    pub(super) on: Entities,
    pub(super) ear: &'a mut Ear,
}

impl Pass {
    /// Where the block begins whose end has not been seen.
    pub(super) fn open_since(&self) -> Option<u64> {
        self.open.as_ref().map(Block::start)
    }

    pub(super) fn new(on: Entities, hints: Hints) -> Self {
        Self { on, prefixes: &PREFIXES, ear: Ear::new(hints), open: None }
    }

    /// Looks through `text`, which begins at `base` of the whole, from `position` on. Unless it is the last piece, stops where a rule
    /// might want to see bytes that have not come. Returns where it stopped.
    pub(super) fn run(&mut self, text: &[u8], base: u64, position: usize, last: bool, found: &mut Vec<Finding>, floor: usize) -> usize {
        let limit = if last { text.len() } else { text.len().saturating_sub(MAX_MATCH_BYTES) };
        let mut position = position;
        loop {
            if let Some(block) = self.open.take() {
                match block.follow(text, base, position, last) {
                    keys::Followed::Ended { finding, resume } => {
                        finding.into_iter().for_each(|finding| add(found, floor, finding));
                        position = resume;
                    }
                    keys::Followed::Open { block, resume } => {
                        self.open = Some(block);
                        return resume;
                    }
                }
            }
            position = self.tokens(text, base, position, limit, found, floor);
            if self.open.is_none() {
                return position;
            }
        }
    }

    /// From token to token, until the limit or the beginning of a block.
    fn tokens(&mut self, text: &[u8], base: u64, position: usize, limit: usize, found: &mut Vec<Finding>, floor: usize) -> usize {
        let mut block = position;
        let mut done = position;
        while block < limit {
            let events = blocks::events(text, block, self.prefixes);
            let mut places = events.places;
            let mut next = block + BLOCK_BYTES;
            while places != 0 {
                let index = places.trailing_zeros();
                let place = block + index as usize;
                if place >= limit {
                    return limit.max(done);
                }
                done = self.event(text, base, place, events.token(index), found, floor);
                if self.open.is_some() {
                    return done;
                }
                if done - block >= BLOCK_BYTES {
                    next = done;
                    break;
                }
                places &= u64::MAX << (done - block);
            }
            block = next;
        }
        limit.max(done)
    }

    /// An `@`, or the beginning of a token, whose length and classes are known if it ends within the block. What is of interest is decided by
    /// the text alone, never by where a block begins.
    #[inline(always)]
    fn event(&mut self, text: &[u8], base: u64, place: usize, known: Option<(usize, u8)>, found: &mut Vec<Finding>, floor: usize) -> usize {
        let token = match known {
            Some((length, LETTERS)) if !self.is_word_of_interest(text, place, length) => return place + length,
            Some((length, classes)) => known_token(text, Token { start: place, end: place + length, classes }),
            None if at(text, place) == b'@' => return self.at_sign(text, base, place, found, floor),
            None => token(text, place),
        };
        let dull = match token.classes {
            DIGIT => self.dull(text, token),
            classes if classes & DIGIT == 0 => None,
            _ => self.dull_mixed(text, token),
        };
        if let Some(end) = dull {
            return end;
        }
        let wanted = known.is_some() || token.classes & DIGIT != 0 || self.is_word_of_interest(text, token.start, token.len());
        if wanted { self.step(text, base, token, found, floor) } else { place + 1 }
    }

    /// Of a word without digits: it begins like a rule, is short enough for an address or a number of Spain, or goes on.
    #[inline(always)]
    fn is_word_of_interest(&self, text: &[u8], start: usize, length: usize) -> bool {
        let joined = match at(text, start + length) {
            b':' => length <= 4,
            b'-' | b'_' | b'+' | b'/' => length <= 2 || self.may_be_keyless(text, start),
            _ => false,
        };
        joined || self.prefixes.begins(text, start)
    }

    /// Where a number ends that is none of ours at first sight: a short one, a decimal, a time by the clock.
    #[inline(always)]
    fn dull(&self, text: &[u8], token: Token) -> Option<usize> {
        let (next, second) = (at(text, token.end), at(text, token.end + 1));
        if token.len() >= 7 {
            return self.is_silent_number(text, token).then_some(token.end);
        }
        if back(text, token.start, 1) == b':' && back(text, token.start, 2) == b':' {
            return None;
        }
        match next {
            0 | b'\t' | b'\n' | b',' | b'"' | b'|' | b'}' | b']' if second != b' ' => Some(token.end),
            b' ' if token.len() > 2 && !matches!(second, b'0'..=b'9' | b'(' | b'-' | b'/') => Some(token.end),
            b'.' if is_digit(second) => {
                let end = token.end + 1 + run(text, token.end + 1, MAX_TOKEN_BYTES, is_digit);
                let alone =
                    matches!(at(text, end), 0 | b'\t' | b'\n' | b',' | b'"' | b'|' | b'}') || (at(text, end) == b' ' && !is_digit(at(text, end + 1)));
                alone.then_some(end)
            }
            b'-' | b':' if self.ear.hinted() & Entity::DateOfBirth.bit() == 0 => dates::timestamp(text, token),
            _ => None,
        }
    }

    /// A longer number by itself, which no check digit makes a card's, in a text that says nothing before it.
    #[inline(always)]
    fn is_silent_number(&self, text: &[u8], token: Token) -> bool {
        let alone =
            matches!(at(text, token.end), 0 | b'\t' | b'\n' | b',' | b'"' | b'|' | b'}') && !matches!(back(text, token.start, 1), b'+' | b'(' | b' ');
        let possible = token.len() == 11 || (token.len() >= 12 && numbers::luhn_of_text(part(text, token.start, token.end)));
        alone && !possible && self.ear.hinted() == 0 && hints::is_wordless(text, token.start)
    }

    /// A short number with a unit, as in `4919ms`.
    #[inline(always)]
    fn dull_mixed(&self, text: &[u8], token: Token) -> Option<usize> {
        if token.len() >= 8 {
            return None;
        }
        let ends = matches!(at(text, token.end), 0 | b' ' | b',' | b'"' | b'\n' | b'\t' | b';' | b')');
        let number = is_digit(at(text, token.start)) && is_digit(at(text, token.start + 2));
        let short = token.classes & LOWER != 0 && ends && number;
        (short && self.ear.hinted() == 0 && !self.prefixes.begins(text, token.start)).then_some(token.end)
    }

    /// Whether the bytes half way and at the end of the shortest token without prefix may be part of one.
    #[inline(always)]
    fn may_be_keyless(&self, text: &[u8], start: usize) -> bool {
        let least = self.prefixes.shortest_keyless;
        self.on.has(Entity::Credential) && is_joined(at(text, start + least / 2)) && is_joined(at(text, start + least - 1))
    }

    fn at_sign(&mut self, text: &[u8], base: u64, position: usize, found: &mut Vec<Finding>, floor: usize) -> usize {
        if !self.on.has(Entity::Email) {
            return position + 1;
        }
        let (window, from) = window(text, base, position);
        match emails::around(window.text, position - from) {
            Some(email) => {
                add(found, floor, finding(window, email));
                from + email.end
            }
            None => position + 1,
        }
    }

    #[inline(never)]
    fn step(&mut self, text: &[u8], base: u64, token: Token, found: &mut Vec<Finding>, floor: usize) -> usize {
        let (window, from) = window(text, base, token.start);
        let token = Token { start: token.start - from, end: token.end - from, classes: token.classes };
        let resume = self.rules(window, token, found, floor);
        from + resume.max(token.start + 1)
    }

    /// The rules in order of how sure they are; the first that finds something ends the step.
    fn rules(&mut self, window: Window<'_>, token: Token, found: &mut Vec<Finding>, floor: usize) -> usize {
        let text = window.text;
        if self.prefixes.begins(text, token.start)
            && let Some(resume) = self.prefixed(window, token, found, floor)
        {
            return resume;
        }
        let joins = matches!(at(text, token.end), b'-' | b'_' | b'+' | b'/' | b'.' | b'~' | b':');
        if token.classes & DIGIT == 0 && !joins && token.len() < MIN_LETTERS {
            return token.end;
        }
        let mut scene = Scene { window, on: self.on, ear: &mut self.ear };
        if token.len() <= 4
            && let Some(hit) = network::colons(&mut scene, token)
        {
            add(found, floor, finding(window, hit));
            return hit.end;
        }
        let uuid = uuid(text, token);
        if scene.on.has(Entity::Credential)
            && let Some(hit) = keyless(&mut scene, self.prefixes, token, uuid)
        {
            add(found, floor, finding(window, hit));
            return hit.end;
        }
        if let Some(end) = uuid {
            return end;
        }
        if national::may_begin_code(text, token)
            && let Some(hit) = mixed(&mut scene, token)
        {
            add(found, floor, finding(window, hit));
            return hit.end;
        }
        if class(at(text, token.start)) != DIGIT {
            return token.end;
        }
        numbers::cluster(&mut scene, token, |hit| add(found, floor, finding(window, hit)))
    }

    fn prefixed(&mut self, window: Window<'_>, token: Token, found: &mut Vec<Finding>, floor: usize) -> Option<usize> {
        let mut best: Option<Match> = None;
        for rule in self.prefixes.rules(window.text, token.start) {
            let hit = match rule {
                Rule::Credential { format, near, lead } => {
                    let start = token.start.checked_sub(*lead);
                    let hit = start.filter(|_| self.on.has(Entity::Credential)).and_then(|start| credential(window.text, format, start));
                    hit.filter(|hit| near.is_none_or(|near| self.ear.asked(window.text, window.base, hit.start).has(near)))
                }
                Rule::AgeKey => crypto::age_key(window.text, token.start).filter(|_| self.on.has(Entity::PrivateKey)),
                Rule::PassportLines => national::passport_lines(window.text, token.start).filter(|_| self.on.has(Entity::Passport)),
                Rule::Jwt | Rule::PemKey | Rule::PuttyKey => {
                    self.open = self.open.take().or_else(|| self.block(window, rule, token.start));
                    None
                }
            };
            best = [best, hit].into_iter().flatten().max_by_key(|hit| (hit.checked, hit.end, hit.entity != Entity::Credential));
        }
        if let Some(block) = &self.open {
            return Some(usize::try_from(block.body() - window.base).unwrap_or(token.end));
        }
        best.map(|hit| {
            add(found, floor, finding(window, hit));
            // What is inside may be of a form that says more: a token of JSON after `Bearer`.
            if hit.entity == Entity::Credential { token.end } else { hit.end }
        })
    }

    fn block(&self, window: Window<'_>, rule: &Rule, start: usize) -> Option<Block> {
        match rule {
            Rule::Jwt if self.on.has(Entity::Jwt) => keys::jwt(window, start),
            Rule::PemKey if self.on.has(Entity::PrivateKey) => keys::pem(window, start),
            Rule::PuttyKey if self.on.has(Entity::PrivateKey) => keys::putty(window, start),
            _ => None,
        }
    }
}

fn window(text: &[u8], base: u64, position: usize) -> (Window<'_>, usize) {
    let from = position.saturating_sub(LOOK_BACK_BYTES);
    (Window { text: part(text, from, position.saturating_add(MAX_MATCH_BYTES)), base: base + from as u64 }, from)
}

/// The token that begins there.
#[inline]
fn token(text: &[u8], start: usize) -> Token {
    let mut token = Token { start, end: start, classes: 0 };
    while token.len() < MAX_TOKEN_BYTES {
        let (length, classes) = classes::token(part(text, token.end, start + MAX_TOKEN_BYTES));
        token.end += length;
        token.classes |= classes;
        if length < classes::LANES {
            break;
        }
    }
    known_token(text, token)
}

/// A token whose end is known, and whether it has digits and letters: which letters.
#[inline(always)]
fn known_token(text: &[u8], token: Token) -> Token {
    if token.classes == DIGIT {
        return token;
    }
    let classes = match token.len() {
        ..=MAX_KNOWN_BYTES => part(text, token.start, token.end).iter().fold(0, |classes, byte| classes | class(*byte)),
        _ => token.classes,
    };
    let token = Token { classes, ..token };
    if matches!(back(text, token.start, 1), b'[' | b';') { control(text, token) } else { token }
}

/// The parameters of a terminal's control sequence are a token of their own: what follows its letter is another.
fn control(text: &[u8], token: Token) -> Token {
    let letter = token.start + run(text, token.start, token.len(), is_digit);
    let cut = letter < token.end && letter > token.start && escaped(text, letter);
    if cut { Token { end: letter, classes: DIGIT, ..token } } else { token }
}

fn finding(window: Window<'_>, hit: Match) -> Finding {
    Finding { start: window.base + hit.start as u64, end: window.base + hit.end as u64, entity: hit.entity, rule: hit.rule, checked: hit.checked }
}

/// Keeps findings in order and apart; those before `floor` are not ours.
fn add(found: &mut Vec<Finding>, floor: usize, new: Finding) {
    let ours = found.get(floor..).unwrap_or_default();
    let after = ours.iter().rev().take_while(|old| old.start >= new.end).count();
    let apart = ours.iter().rev().skip(after).take_while(|old| old.end > new.start).count();
    let to = found.len() - after;
    let overlapped = to - apart..to;
    if found.get(overlapped.clone()).is_some_and(|old| old.iter().all(|old| beats(&new, old))) {
        found.splice(overlapped, [new]);
    }
}

/// A token of JSON is that, and not the credential of some header.
fn beats(new: &Finding, old: &Finding) -> bool {
    let known = matches!(new.entity, Entity::Jwt | Entity::PrivateKey) && old.entity == Entity::Credential && old.start < new.start;
    known || rank(new) > rank(old)
}

fn rank(finding: &Finding) -> (bool, u64) {
    (finding.checked, finding.end - finding.start)
}

fn credential(text: &[u8], format: &super::format::Format, start: usize) -> Option<Match> {
    let end = super::format::matches(format, text, start)?;
    let value = super::format::assigned(format, text, start);
    Some(Match { start: value.unwrap_or(start), end, entity: Entity::Credential, rule: format.name, checked: value.is_none() })
}

/// A credential that words near it give away. The words come first: hardly any token has them, and many have one of the forms.
fn keyless(scene: &mut Scene<'_>, prefixes: &Prefixes, token: Token, uuid: Option<usize>) -> Option<Match> {
    let text = scene.window.text;
    let goes_on = matches!(at(text, token.end), b'-' | b'_' | b'+' | b'/' | b'.' | b'~');
    if (token.len() < prefixes.shortest_keyless || token.classes == DIGIT) && !goes_on {
        return None;
    }
    let joined = matches!(back(text, token.start, 1), b'-' | b'_' | b'+' | b'/') && is_word(back(text, token.start, 2));
    let length = match uuid {
        Some(end) => end - token.start,
        None if goes_on && !joined => run(text, token.start, MAX_TOKEN_BYTES, is_joined),
        None => token.len(),
    };
    work::count(length);
    if joined || length < prefixes.shortest_keyless || (uuid.is_none() && !is_random(part(text, token.start, token.start + length))) {
        return None;
    }
    let asked = scene.ear.asked(text, scene.window.base, token.start);
    if asked.is_none() {
        return None;
    }
    let possible = prefixes.keyless.iter().filter(|keyless| keyless.least <= length && asked.has(keyless.near));
    possible.filter_map(|keyless| credential(text, keyless.format, token.start)).max_by_key(|hit| hit.end)
}

/// Whether a run may be a key: it has a digit, or capitals and small letters; and where it has the `/` of base64, a capital and a digit.
fn is_random(run: &[u8]) -> bool {
    let classes = run.iter().fold(0, |classes, byte| classes | class(*byte));
    let slash = run.contains(&b'/');
    let (digit, capital, small) = (classes & DIGIT != 0, classes & UPPER != 0, classes & LOWER != 0);
    if slash { digit && capital } else { digit || (capital && small) }
}

/// A UUID (RFC 9562) is no number of anybody: it is stepped over.
fn uuid(text: &[u8], token: Token) -> Option<usize> {
    if token.len() != 8 || !token.is_hex() || at(text, token.end) != b'-' {
        return None;
    }
    let end = token.start + 36;
    let rest: &[u8; 27] = text.get(token.start + 9..end)?.first_chunk()?;
    let hyphens = [4, 9, 14].iter().all(|index| at(rest, *index) == b'-');
    let digits = rest.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    (hyphens && digits == 24 && !is_word(at(text, end))).then_some(end)
}

/// Tokens of letters and digits. Most are of no length, and begin with nothing, that a rule asks for.
#[inline(always)]
fn mixed(scene: &mut Scene<'_>, token: Token) -> Option<Match> {
    let (text, length) = (scene.window.text, token.len());
    let mut found = None;
    if is_digit(at(text, token.start + 2)) && is_digit(at(text, token.start + 3)) {
        found = super::iban::begins(scene, token);
    }
    if found.is_none() && (matches!(length, 1 | 2 | 8 | 9 | 13 | 16 | 28..) || at(text, token.end) == b'<') {
        found = national::codes(scene, token);
    }
    if found.is_none() && length >= crypto::SHORTEST_BYTES {
        found = crypto::address(scene, token).or_else(|| crypto::cash_address(scene, token));
    }
    if found.is_none() && (weak::SHORT.contains(&length) || weak::LONG.contains(&length)) { weak::mixed(scene, token) } else { found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding(start: u64, end: u64, checked: bool) -> Finding {
        Finding { start, end, entity: Entity::Phone, rule: "test", checked }
    }

    fn kept(all: &[(u64, u64, bool)]) -> Vec<(u64, u64)> {
        let mut found = vec![finding(0, 100, true)];
        all.iter().for_each(|(start, end, checked)| add(&mut found, 1, finding(*start, *end, *checked)));
        found[1..].iter().map(|finding| (finding.start, finding.end)).collect()
    }

    proptest! {
        /// Whether the end of a token is found in a block or by steps, it is where the first byte stands that is no letter or digit.
        #[test]
        fn a_token_ends_where_its_letters_and_digits_end(before in "[ =+/-]{0,70}", word in "[a-zA-Z0-9]{1,300}", after in "[ .,:=é-][a-z0-9 ]{0,80}") {
            let text = [before.as_bytes(), word.as_bytes(), after.as_bytes()].concat();
            let length = word.len().min(MAX_TOKEN_BYTES);
            let classes = word.bytes().take(length).fold(0, |classes, byte| classes | class(byte));
            let known = if length <= MAX_KNOWN_BYTES || classes == DIGIT { classes } else { classes & DIGIT | LETTERS };
            let found = token(&text, before.len());
            prop_assert_eq!((found.start, found.len(), found.classes), (before.len(), length, known));
            let events = blocks::events(&text, before.len() / 64 * 64, &PREFIXES);
            if let Some((length, classes)) = events.token((before.len() % 64) as u32) {
                let found = known_token(&text, Token { start: before.len(), end: before.len() + length, classes });
                prop_assert_eq!((found.len(), found.classes), (word.len(), known));
            }
        }
    }

    #[test]
    fn findings_stay_in_order_and_apart() {
        assert_eq!(kept(&[(0, 5, false), (5, 9, false)]), [(0, 5), (5, 9)]);
        assert_eq!(kept(&[(5, 9, false), (0, 5, false)]), [(0, 5), (5, 9)]);
        assert_eq!(kept(&[(0, 5, false), (4, 9, true)]), [(4, 9)]);
        assert_eq!(kept(&[(0, 5, true), (4, 12, false)]), [(0, 5)]);
        assert_eq!(kept(&[(0, 5, false), (6, 9, false), (2, 20, false)]), [(2, 20)]);
        assert_eq!(kept(&[(0, 5, true), (6, 9, false), (2, 20, false)]), [(0, 5), (6, 9)]);
        assert_eq!(kept(&[(0, 5, false), (0, 5, false)]), [(0, 5)]);
    }
}
