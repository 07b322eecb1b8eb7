//! What conditions do to the target's rows, and what several of them do together.

use std::{cmp::Ordering, collections::BTreeSet};

use super::{
    Test,
    values::{self, Kind, Own},
};
use crate::classify::postgres::constants::Constant;

/// What a condition does to the target's rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// Lets every row pass.
    Always,
    /// Lets none pass.
    Never,
    /// Nothing that is known to restrict.
    Open,
    /// Depends on the row.
    Restricts(Restriction),
    /// The target's rows that have a partner in another source; `same` if that may hold the very same rows.
    Linked { same: bool },
    /// Restricts another source.
    Others,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Restriction {
    /// Columns that equal something fixed.
    pub(super) fixed: BTreeSet<i16>,
    /// Whether the number of rows is bounded by a list or LIMIT.
    pub(super) bounded: bool,
    /// It leaves out some rows rather than choosing some: beside an alternative it may leave out none.
    pub(super) wide: bool,
    /// The test itself, if it is one comparison of a column with a constant (or something not known).
    pub(super) atom: Option<Atom>,
    /// It chooses one of a few values.
    pub(super) share: Option<Share>,
}

/// One comparison of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Atom {
    pub(super) column: i16,
    pub(super) kind: Kind,
    pub(super) test: Test,
    pub(super) value: Option<Constant>,
}

/// One of so few values of a column, or of something made of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Share {
    column: i16,
    kind: Kind,
    of: u32,
    value: Option<Constant>,
}

pub(super) fn restricts() -> Condition {
    Condition::Restricts(Restriction::default())
}

/// Restricts, by leaving out some rows where `wide`.
pub(super) fn restricts_by(wide: bool) -> Condition {
    Condition::Restricts(Restriction { wide, ..Restriction::default() })
}

/// A test of what is made of columns.
pub(super) fn atom(own: &Own, test: Test, value: Option<Constant>) -> Condition {
    let share = own.few.filter(|_| test == Test::Equal).map(|of| Share { column: own.column, kind: own.kind, of, value: value.clone() });
    if !own.is_column() {
        return Condition::Restricts(Restriction { wide: test.is_wide(), share, ..Restriction::default() });
    }
    let fixed = if test == Test::Equal { BTreeSet::from([own.column]) } else { BTreeSet::new() };
    let atom = Some(Atom { column: own.column, kind: own.kind, test, value });
    Condition::Restricts(Restriction { fixed, bounded: false, wide: test.is_wide(), atom, share })
}

/// The same where the value will be judged when it comes.
pub(super) fn atom_later(own: &Own, test: Test) -> Condition {
    match atom(own, test, None) {
        Condition::Restricts(restriction) => Condition::Restricts(Restriction { atom: None, share: None, ..restriction }),
        other => other,
    }
}

impl Condition {
    /// The same, its number of rows bounded by a list; a single column is no longer fixed to one value.
    pub(super) fn counted(self) -> Self {
        match self {
            Self::Restricts(restriction) => Self::Restricts(Restriction { bounded: true, fixed: BTreeSet::new(), atom: None, ..restriction }),
            other => other,
        }
    }
}

/// All of them hold.
pub(super) fn both(parts: Vec<Condition>) -> Condition {
    let mut merged: Option<Restriction> = None;
    let (mut linked, mut linked_same, mut others, mut open) = (false, false, false, false);
    for part in parts {
        match part {
            Condition::Never => return Condition::Never,
            Condition::Always => {}
            Condition::Open => open = true,
            Condition::Others => others = true,
            Condition::Linked { same } => {
                if same {
                    linked_same = true
                } else {
                    linked = true
                }
            }
            Condition::Restricts(restriction) => match &mut merged {
                None => merged = Some(restriction),
                Some(merged) => {
                    merged.fixed.extend(restriction.fixed);
                    merged.bounded |= restriction.bounded;
                    merged.wide &= restriction.wide;
                    merged.atom = None;
                    merged.share = None;
                }
            },
        }
    }
    match merged {
        Some(restriction) => Condition::Restricts(restriction),
        None if linked => Condition::Linked { same: false },
        None if linked_same => Condition::Linked { same: true },
        None if others => Condition::Others,
        None if open => Condition::Open,
        None => Condition::Always,
    }
}

/// One of them holds.
pub(super) fn either(parts: Vec<Condition>) -> Condition {
    if parts.contains(&Condition::Always) {
        return Condition::Always;
    }
    let parts: Vec<Condition> = parts.into_iter().filter(|part| *part != Condition::Never).collect();
    let mut restrictions = vec![];
    for part in &parts {
        match part {
            Condition::Restricts(restriction) => restrictions.push(restriction),
            Condition::Linked { same: false } if parts.len() > 1 => {
                restrictions.push(const { &Restriction { fixed: BTreeSet::new(), bounded: false, wide: false, atom: None, share: None } })
            }
            other => return if parts.len() == 1 { other.clone() } else { Condition::Open },
        }
    }
    match restrictions.as_slice() {
        [] => Condition::Never,
        [only] => Condition::Restricts((*only).clone()),
        several if covers_everything(several) => Condition::Always,
        several if chooses_all(several) => Condition::Open,
        // What one leaves out another may choose; of single comparisons it is known that they do not.
        several if several.iter().any(|one| one.wide && one.atom.is_none()) => Condition::Open,
        several => {
            let bounded = several.iter().all(|one| one.bounded || !one.fixed.is_empty());
            Condition::Restricts(Restriction { bounded, wide: several.iter().any(|one| one.wide), ..Restriction::default() })
        }
    }
}

/// Whether the tests, taken together, let every row pass: `a = 1 OR a <> 1`, `a > 0 OR a <= 5`. NULL does not save a condition here.
fn covers_everything(restrictions: &[&Restriction]) -> bool {
    // One pass over the pairs is enough for what people write; a list of thousands of equalities has no such pair, and is not searched for one.
    let atoms: Vec<&Atom> = restrictions.iter().filter_map(|one| one.atom.as_ref()).collect();
    let telling: Vec<_> = atoms.iter().filter(|atom| atom.test != Test::Equal).take(64).collect();
    telling.iter().any(|one| atoms.iter().take(4_096).any(|other| complementary(one, other, &atoms)))
}

/// Whether they choose each of the few values there are.
fn chooses_all(restrictions: &[&Restriction]) -> bool {
    let shares: Vec<&Share> = restrictions.iter().filter_map(|one| one.share.as_ref()).take(4_096).collect();
    shares.iter().enumerate().any(|(at, first)| {
        let alike = |other: &&&Share| (other.column, other.of) == (first.column, first.of);
        let begins = !shares.iter().take(at).any(|earlier| alike(&earlier));
        let enough = usize::try_from(first.of).unwrap_or(usize::MAX);
        // The values are looked at only where there are enough of them.
        if !begins || shares.iter().filter(alike).take(enough).count() < enough {
            return false;
        }
        let mut chosen: Vec<&Share> = vec![];
        for share in shares.iter().filter(alike) {
            if !chosen.iter().any(|known| is_same(known, share)) {
                chosen.push(share);
            }
            if chosen.len() >= enough {
                return true;
            }
        }
        false
    })
}

fn is_same(one: &Share, other: &Share) -> bool {
    let (Some(one_value), Some(other_value)) = (&one.value, &other.value) else { return false };
    values::same(one.kind, one_value.value(), other_value.value()) == Some(true)
}

fn complementary(one: &Atom, other: &Atom, atoms: &[&Atom]) -> bool {
    if one.column != other.column || std::ptr::eq(one, other) {
        return false;
    }
    // None: it cannot be told.
    let same = |other: &Atom| match (&one.value, &other.value) {
        (Some(a), Some(b)) => values::same(one.kind, a.value(), b.value()),
        (None, None) => Some(true),
        _ => None,
    };
    match (one.test, other.test) {
        (Test::Null, Test::NotNull) => true,
        (Test::Unequal, Test::Equal) | (Test::NotLike, Test::Like) => same(other) != Some(false),
        (Test::Unequal, Test::Unequal) => same(other) != Some(true),
        (Test::Unequal, Test::Less | Test::AtMost | Test::More | Test::AtLeast) => true,
        (Test::More | Test::AtLeast, Test::Less | Test::AtMost) => {
            let order = match (&one.value, &other.value) {
                (Some(a), Some(b)) => values::in_order(one.kind, a.value(), b.value()),
                (None, None) => Some(Ordering::Equal),
                _ => None,
            };
            match order {
                Some(Ordering::Greater) => false,
                Some(Ordering::Equal) => {
                    let middle = |atom: &&Atom| atom.column == one.column && atom.test == Test::Equal && same(atom) != Some(false);
                    one.test == Test::AtLeast || other.test == Test::AtMost || atoms.iter().any(middle)
                }
                Some(Ordering::Less) | None => true,
            }
        }
        _ => false,
    }
}
