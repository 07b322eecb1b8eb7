//! Groups of digits that belong together, such as `4111 1111 1111 1111` or `(020) 7946 0958`, and the order in which rules read them.

use super::classes::{WORD, at, back, is_digit, is_word, letter_after, letter_before, part, run, work};
use super::dates;
use super::entity::Entity;
use super::hints::Context;
use super::pass::{Match, Scene, Token};
use super::{cards, national, network, phones, weak};

/// How many groups are read together.
const MAX_GROUPS: usize = 12;

/// How many digits one group may have.
const MAX_GROUP_DIGITS: usize = 24;

/// How many digits are read together.
const MAX_DIGITS: usize = 48;

/// The bytes between two groups, as one.
pub(super) const NONE: u8 = 0;
pub(super) const SPACE: u8 = b' ';
pub(super) const HYPHEN: u8 = b'-';
pub(super) const DOT: u8 = b'.';
pub(super) const SLASH: u8 = b'/';
/// A bracket without anything else.
pub(super) const BRACKET: u8 = b'(';

#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    /// Where its first digit is, in the window.
    pub(super) at: usize,
    pub(super) len: usize,
    /// What separates it from the group before.
    pub(super) lead: u8,
    /// Whether a bracket opens before it.
    pub(super) opened: bool,
    /// Whether a bracket closes after it.
    pub(super) closed: bool,
    /// Which of all digits is its first.
    pub(super) first: usize,
}

/// A group as it is kept: small, since a cluster is made for every number.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// Its distance from the beginning of the cluster.
    at: u16,
    len: u8,
    lead: u8,
    opened: bool,
    closed: bool,
    first: u8,
}

impl Group {
    pub(super) fn end(&self) -> usize {
        self.at + self.len
    }
}

/// Groups of digits in a window.
pub(super) struct Cluster<'a> {
    pub(super) text: &'a [u8],
    start: usize,
    groups: [Kept; MAX_GROUPS],
    pub(super) count: usize,
    digits: [u8; MAX_DIGITS],
    /// Whether there were more groups than are read together.
    full: bool,
}

/// How a number stands in its surroundings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// By itself.
    Free,
    /// Joined to a word, as in `tel-555-0100` or `/orders/5550100`.
    Joined,
    /// The middle of something longer.
    Within,
}

impl<'a> Cluster<'a> {
    fn read(text: &'a [u8], start: usize) -> Self {
        let mut cluster = Self { text, start, groups: [Kept::default(); MAX_GROUPS], count: 0, digits: [0; MAX_DIGITS], full: false };
        let mut next = Some(Separator { length: 0, kind: NONE, opens: opened_before(text, start), closes: false });
        let (mut index, mut total) = (start, 0);
        while let Some(separator) = next {
            let from = index + separator.length;
            let length = run(text, from, MAX_GROUP_DIGITS + 1, is_digit);
            if length > MAX_GROUP_DIGITS || total + length > MAX_DIGITS || cluster.count == MAX_GROUPS {
                cluster.full = true;
                break;
            }
            cluster
                .push(Group { at: from, len: length, lead: separator.kind, opened: separator.opens, closed: false, first: total }, separator.closes);
            total += length;
            index = from + length;
            next = separator_at(text, index);
        }
        if let Some(last) = cluster.last_mut() {
            last.closed = at(text, index) == b')';
        }
        work::count(index - start + 1);
        cluster
    }

    fn push(&mut self, group: Group, closes: bool) {
        if let Some(last) = self.last_mut() {
            last.closed = closes;
        }
        let digits = self.digits.get_mut(group.first..group.first + group.len).unwrap_or_default();
        let from = self.text.get(group.at..group.end()).unwrap_or_default();
        digits.iter_mut().zip(from).for_each(|(to, from)| *to = from & 15);
        if let Some(place) = self.groups.get_mut(self.count) {
            let (at, len, first) = ((group.at - self.start) as u16, group.len as u8, group.first as u8);
            *place = Kept { at, len, lead: group.lead, opened: group.opened, closed: false, first };
            self.count += 1;
        }
    }

    fn last_mut(&mut self) -> Option<&mut Kept> {
        self.count.checked_sub(1).and_then(|last| self.groups.get_mut(last))
    }

    /// The group there, or one without digits.
    pub(super) fn group(&self, index: usize) -> Group {
        let kept = self.groups.get(index).copied().unwrap_or_default();
        let at = self.start + usize::from(kept.at);
        Group { at, len: usize::from(kept.len), lead: kept.lead, opened: kept.opened, closed: kept.closed, first: usize::from(kept.first) }
    }

    /// The digits of groups `from..=to`, each 0 to 9.
    pub(super) fn digits(&self, from: usize, to: usize) -> &[u8] {
        let (first, last) = (self.group(from), self.group(to));
        self.digits.get(first.first..last.first + last.len).unwrap_or_default()
    }

    /// The digits of a group as a number.
    pub(super) fn value(&self, index: usize) -> u64 {
        self.digits(index, index).iter().fold(0_u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
    }

    /// Whether groups `from + 1..=to` are all led by this.
    pub(super) fn joined_by(&self, from: usize, to: usize, separator: u8) -> bool {
        (from + 1..=to).all(|index| self.group(index).lead == separator)
    }

    /// Whether the groups from `from` on have these lengths.
    pub(super) fn has_lengths(&self, from: usize, lengths: &[usize]) -> bool {
        from + lengths.len() <= self.count && lengths.iter().enumerate().all(|(index, length)| self.group(from + index).len == *length)
    }

    /// Whether something may end with this group.
    pub(super) fn ends(&self, index: usize) -> bool {
        if index + 1 < self.count {
            let next = self.group(index + 1);
            return next.lead == SPACE || (next.lead == BRACKET && next.opened);
        }
        !self.full && self.is_free_after(index)
    }

    fn is_free_after(&self, index: usize) -> bool {
        let end = self.group(index).end();
        let (next, second) = (at(self.text, end), at(self.text, end + 1));
        if letter_after(self.text, end) {
            return false;
        }
        match next {
            b'-' | b'_' => !letter_after(self.text, end + 1) || begins_word(self.text, end + 1),
            b':' | b'.' | b',' => !is_digit(second),
            b'%' | b'<' if next == b'<' => second != b'<',
            _ => true,
        }
    }

    /// Whether something may begin with this group.
    pub(super) fn begins(&self, index: usize) -> Left {
        let group = self.group(index);
        if index > 0 {
            let free = group.lead == SPACE || group.opened;
            return if free { Left::Free } else { Left::Within };
        }
        left_of(self.text, group.at - usize::from(group.opened))
    }

    /// Whether this is all there is.
    pub(super) fn is_all(&self, from: usize, to: usize) -> bool {
        from == 0 && to + 1 == self.count && !self.full
    }
}

fn left_of(text: &[u8], start: usize) -> Left {
    let (last, second) = (back(text, start, 1), back(text, start, 2));
    match last {
        b'.' | b'-' | b'_' | b':' | b'/' | b',' if is_digit(second) => Left::Within,
        b'-' | b'_' | b'.' | b'/' if is_word(second) => Left::Joined,
        b'+' if letter_before(text, start - 1) => Left::Within,
        b'$' | b'@' | b'<' if last != b'<' || second == b'<' => Left::Within,
        _ if letter_before(text, start) => Left::Within,
        _ => Left::Free,
    }
}

/// `555-0100-Office`: a word, and no part of a code.
fn begins_word(text: &[u8], start: usize) -> bool {
    let letters = run(text, start, 24, |byte| byte.is_ascii_alphabetic());
    let plain = part(text, start, start + letters).iter().any(|byte| !byte.is_ascii_hexdigit());
    (3..24).contains(&letters) && plain && !is_word(at(text, start + letters))
}

struct Separator {
    length: usize,
    kind: u8,
    opens: bool,
    closes: bool,
}

fn opened_before(text: &[u8], start: usize) -> bool {
    back(text, start, 1) == b'(' || (back(text, start, 1) == b'+' && back(text, start, 2) == b'(')
}

/// What separates two groups of digits: a closing bracket, a space, hyphen, dot or slash, an opening bracket, each at most once.
#[inline]
fn separator_at(text: &[u8], index: usize) -> Option<Separator> {
    let (byte, next) = (at(text, index), at(text, index + 1));
    let plain = matches!(byte, SPACE | HYPHEN | DOT | SLASH);
    if plain && is_digit(next) {
        return Some(Separator { length: 1, kind: byte, opens: false, closes: false });
    }
    if plain || matches!(byte, b'(' | b')' | 0xC2 | 0xE2) { odd_separator(text, index) } else { None }
}

fn odd_separator(text: &[u8], index: usize) -> Option<Separator> {
    let closes = at(text, index) == b')';
    let mut end = index + usize::from(closes);
    let (length, kind) = filler(text, end);
    end += length;
    let opens = at(text, end) == b'(';
    end += usize::from(opens);
    let kind = if kind == NONE { BRACKET } else { kind };
    (is_digit(at(text, end)) && end > index).then_some(Separator { length: end - index, kind, opens, closes })
}

/// Spaces and hyphens in ASCII or not, and a slash or hyphen between spaces.
fn filler(text: &[u8], index: usize) -> (usize, u8) {
    match (at(text, index), at(text, index + 1), at(text, index + 2)) {
        (b' ', middle @ (b'/' | b'-'), b' ') => (3, middle),
        (byte @ (SPACE | HYPHEN | DOT | SLASH), ..) => (1, byte),
        (0xC2, 0xA0, _) => (2, SPACE),
        (0xE2, 0x80, 0xAF | 0x89) => (3, SPACE),
        (0xE2, 0x80, 0x90..=0x93) | (0xE2, 0x88, 0x92) => (3, HYPHEN),
        _ => (0, NONE),
    }
}

/// What can be read of the cluster without keeping it.
struct Shape {
    digits: usize,
    groups: usize,
    dots: usize,
    end: usize,
}

fn shape(text: &[u8], token: Token) -> Shape {
    let first = run(text, token.start, MAX_GROUP_DIGITS + 1, is_digit);
    let mut shape = Shape { digits: first, groups: 1, dots: 0, end: token.start + first };
    while shape.groups < MAX_GROUPS && shape.digits <= MAX_DIGITS {
        let Some(separator) = separator_at(text, shape.end) else { break };
        let from = shape.end + separator.length;
        let length = run(text, from, MAX_GROUP_DIGITS + 1, is_digit);
        shape.dots += usize::from(separator.kind == DOT);
        shape.digits += length;
        shape.groups += 1;
        shape.end = from + length;
    }
    shape
}

/// Reads the cluster that begins with the token. Returns where to go on.
pub(super) fn cluster(scene: &mut Scene<'_>, token: Token, mut found: impl FnMut(Match)) -> usize {
    let text = scene.window.text;
    let shape = shape(text, token);
    if shape.groups == 1 && shape.digits == token.len() && is_alone(scene, token) {
        return token.end;
    }
    let decimal = shape.groups == 2 && shape.dots == 1;
    let pairs = shape.digits == 6 && shape.groups == 3 && shape.dots == 0;
    if ((shape.digits < 7 && !pairs) || decimal)
        && shape.dots != 3
        && !(scene.on.has(Entity::DateOfBirth) && dates::is_conceivable(text, token, shape.groups))
    {
        return resume(text, token, shape.end);
    }
    let cluster = Cluster::read(text, token.start);
    if cluster.count == 0 {
        return token.end;
    }
    let most = if cluster.full { cluster.count.div_ceil(2) } else { cluster.count };
    let mut index = 0;
    while index < most {
        match read(scene, &cluster, index) {
            Some((hit, next)) => {
                found(hit);
                index = next;
            }
            None => index += 1,
        }
    }
    if index < cluster.count {
        return cluster.group(index).at.max(token.end.min(cluster.group(index).end()));
    }
    resume(text, token, cluster.group(cluster.count - 1).end())
}

/// Whether one group of digits can be nothing: no card by its check digit, not eleven digits, and nothing is said of it.
fn is_alone(scene: &mut Scene<'_>, token: Token) -> bool {
    let text = scene.window.text;
    let signed = matches!(back(text, token.start, 1), b'+' | b'(') || back(text, token.start, 2) == b'+';
    let proven = match token.len() {
        0..7 => return false,
        11 => true,
        12..=19 => luhn_of_text(part(text, token.start, token.end)),
        _ => false,
    };
    !signed && !proven && scene.ear.context(text, scene.window.base, token.start).kinds == 0
}

pub(super) fn luhn_of_text(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().rev().enumerate().map(|(index, digit)| luhn_part(index, digit & 15)).sum();
    sum.is_multiple_of(10)
}

/// After the cluster, unless its last digits begin a token of letters and digits.
fn resume(text: &[u8], token: Token, end: usize) -> usize {
    if super::classes::class(at(text, end)) & WORD == 0 {
        return end.max(token.end);
    }
    let digits = (1..=MAX_GROUP_DIGITS).take_while(|distance| is_digit(back(text, end, *distance))).count();
    (end - digits).max(token.end)
}

/// The strongest reading of what begins with the group, and the group after it.
fn read(scene: &mut Scene<'_>, cluster: &Cluster<'_>, index: usize) -> Option<(Match, usize)> {
    let left = cluster.begins(index);
    if left == Left::Within {
        return None;
    }
    let mut look = Look { scene, cluster, index, left, context: None };
    if phones::has_plus(&look) {
        return phones::read(&mut look);
    }
    network::v4(&mut look)
        .or_else(|| cards::read(&mut look))
        .or_else(|| national::read(&mut look))
        .or_else(|| phones::read(&mut look))
        .or_else(|| dates::read(&mut look))
        .or_else(|| weak::read(&mut look))
}

/// A reading of a cluster from one of its groups on.
pub(super) struct Look<'a, 'b, 'c> {
    scene: &'a mut Scene<'b>,
    pub(super) cluster: &'a Cluster<'c>,
    pub(super) index: usize,
    pub(super) left: Left,
    context: Option<Context>,
}

impl Look<'_, '_, '_> {
    pub(super) fn on(&self, entity: Entity) -> bool {
        self.scene.on.has(entity)
    }

    /// What is said of the value; looked up when first asked for.
    pub(super) fn context(&mut self) -> Context {
        if let Some(context) = self.context {
            return context;
        }
        let start = self.start();
        let context = self.scene.ear.context(self.scene.window.text, self.scene.window.base, start);
        self.context = Some(context);
        context
    }

    pub(super) fn says(&mut self, entity: Entity) -> bool {
        self.context().says(entity)
    }

    pub(super) fn found_birth(&mut self, end: usize) {
        self.scene.ear.found_birth(self.scene.window.base + end as u64);
    }

    /// Whether the form is enough by itself: it stands free, or a word it is joined to speaks of it.
    pub(super) fn stands(&mut self, entity: Entity) -> bool {
        self.left == Left::Free || self.says(entity)
    }

    pub(super) fn start(&self) -> usize {
        let group = self.cluster.group(self.index);
        group.at - usize::from(group.opened && back(self.cluster.text, group.at, 1) == b'(')
    }

    /// A match of the groups up to and with `last`.
    pub(super) fn hit(&self, last: usize, entity: Entity, rule: &'static str, checked: bool) -> (Match, usize) {
        let start = self.cluster.group(self.index).at;
        (Match { start, end: self.cluster.group(last).end(), entity, rule, checked }, last + 1)
    }
}

/// ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().rev().enumerate().map(|(index, digit)| luhn_part(index, *digit)).sum();
    sum.is_multiple_of(10)
}

fn luhn_part(index: usize, digit: u8) -> u32 {
    let digit = u32::from(digit);
    match (index % 2, digit) {
        (0, _) => digit,
        (_, 5..) => digit * 2 - 9,
        _ => digit * 2,
    }
}
