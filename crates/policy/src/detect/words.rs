//! The words that speak of values, in the languages of the entities, and those that credential formats ask for.

use std::sync::LazyLock;

use super::classes::{LOWER, UPPER, WORD, at, back, class, gather, part, within};
use super::credentials::FORMATS;
use super::entity::Entity;
use super::format::Format;

/// How many credential formats may ask for words, in blocks of 64.
const NEAR_BLOCKS: usize = 8;

/// The credential formats for which a word they ask for has been seen, by their place among those that ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked([u64; NEAR_BLOCKS]);

impl Asked {
    pub(super) const NONE: Self = Self([0; NEAR_BLOCKS]);

    fn by(format: usize) -> Self {
        let mut asked = Self::default();
        if let Some(block) = asked.0.get_mut(format / 64) {
            *block |= 1 << (format % 64);
        }
        asked
    }

    #[must_use]
    pub(super) fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(block, other)| *block |= other);
        self
    }

    pub(super) fn is_none(self) -> bool {
        self.0.iter().all(|block| *block == 0)
    }

    pub(super) fn has(self, format: usize) -> bool {
        self.0.get(format / 64).is_some_and(|block| block >> (format % 64) & 1 == 1)
    }
}

/// The formats that ask for words.
pub(super) fn asking() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|format| !format.near.is_empty())
}

/// A word and what it speaks of.
pub(super) struct Entry {
    /// Lower case; a space stands for nothing or up to two bytes that separate words.
    text: &'static [u8],
    /// Whether the word must end there.
    whole: bool,
    pub(super) kinds: u32,
    pub(super) near: Asked,
}

impl Entry {
    fn ends(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let mut index = from;
        for byte in self.text {
            if *byte == b' ' {
                index += (0..2).take_while(|ahead| matches!(at(text, index + ahead), b' ' | b'_' | b'-' | b'.' | b'/' | b'\'' | b':')).count();
            } else if at(text, index).to_ascii_lowercase() == *byte {
                index += 1;
            } else {
                return None;
            }
        }
        let next = at(text, index);
        let goes_on = class(next) & WORD != 0 || next >= 0x80;
        let camel = class(next) & UPPER != 0 && class(back(text, index, 1)) & LOWER != 0;
        (index <= to && !(self.whole && goes_on && !camel)).then_some(index)
    }
}

const SLOTS: usize = 1024;

/// So many bytes are searched for beginnings of words at once.
const STEP_BYTES: usize = 16;

/// All words, by their first two bytes.
pub(super) struct Dictionary {
    slots: Vec<Vec<Entry>>,
    /// A bit for the hash of the first three bytes of each word that has so many before a space.
    threes: [u64; 1 << 8],
    /// A bit for each slot with another word.
    shorter: [u64; SLOTS / 64],
}

pub(super) static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(Dictionary::new);

impl Dictionary {
    fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        let mut dictionary = Self { slots, threes: [0; 1 << 8], shorter: [0; SLOTS / 64] };
        for (word, kinds) in WORDS {
            let text = word.strip_suffix('$').unwrap_or(word).as_bytes();
            dictionary.add(text, word.ends_with('$'), *kinds, Asked::default());
        }
        for (index, format) in asking().enumerate() {
            format.near.iter().for_each(|word| dictionary.add(word.as_bytes(), false, 0, Asked::by(index)));
        }
        dictionary
    }

    /// Adds to what a word speaks of.
    fn add(&mut self, text: &'static [u8], whole: bool, kinds: u32, near: Asked) {
        let slot = slot(at(text, 0), at(text, 1));
        match text.first_chunk::<3>() {
            Some(three) if !three.contains(&b' ') => set(&mut self.threes, hash(*three)),
            _ => set(&mut self.shorter, slot),
        }
        let Some(entries) = self.slots.get_mut(slot) else { return };
        match entries.iter_mut().find(|entry| entry.text == text && entry.whole == whole) {
            Some(entry) => {
                entry.kinds |= kinds;
                entry.near = entry.near.with(near);
            }
            None => entries.push(Entry { text, whole, kinds, near }),
        }
    }

    /// Calls `hear` with the beginning of each known word that lies within `from..to`.
    pub(super) fn words(&'static self, text: &[u8], from: usize, to: usize, mut hear: impl FnMut(usize, &'static Entry)) {
        let (steps, rest) = part(text, from, to).as_chunks::<STEP_BYTES>();
        let mut last = [0; STEP_BYTES];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let (mut start, mut before) = (from, letter(back(text, from, 1)));
        for step in steps.iter().chain((!rest.is_empty()).then_some(&last)) {
            let mut begun = beginnings(step, before);
            while begun != 0 {
                self.word(text, start + begun.trailing_zeros() as usize, to, &mut hear);
                begun &= begun - 1;
            }
            start += STEP_BYTES;
            before = letter(at(step, STEP_BYTES - 1));
        }
    }

    #[inline(always)]
    fn word(&'static self, text: &[u8], start: usize, to: usize, hear: &mut impl FnMut(usize, &'static Entry)) {
        let three = [at(text, start), at(text, start + 1), at(text, start + 2)];
        let slot = slot(three[0].to_ascii_lowercase(), three[1].to_ascii_lowercase());
        if !is_set(&self.threes, hash(three)) && !is_set(&self.shorter, slot) {
            return;
        }
        for entry in self.slots.get(slot).map_or(&[][..], Vec::as_slice) {
            if entry.ends(text, start, to).is_some() {
                hear(start, entry);
            }
        }
    }
}

/// Where words begin among these bytes, as bits; `before` is the [`letter`] before them.
#[inline(always)]
fn beginnings(bytes: &[u8; STEP_BYTES], before: u8) -> u64 {
    let small = gather(bytes, |bytes| within(bytes, b'a', b'z') | within(bytes, 0x80, 0xFF));
    let capital = gather(bytes, |bytes| within(bytes, b'A', b'Z'));
    let after_letter = (small | capital) << 1 | u64::from(before > 0);
    let after_capital = capital << 1 | u64::from(before > 1);
    (small & !after_letter) | (capital & !after_capital)
}

fn set(bits: &mut [u64], index: usize) {
    if let Some(word) = bits.get_mut(index >> 6) {
        *word |= 1 << (index & 63);
    }
}

fn is_set(bits: &[u64], index: usize) -> bool {
    bits.get(index >> 6).is_some_and(|word| word >> (index & 63) & 1 == 1)
}

/// Fourteen bits of three bytes, the same for capitals as for small letters.
fn hash([a, b, c]: [u8; 3]) -> usize {
    let all = u32::from_le_bytes([a | 0x20, b | 0x20, c | 0x20, 0]);
    (all.wrapping_mul(0x9E37_79B1) >> 18) as usize
}

fn slot(first: u8, second: u8) -> usize {
    (usize::from(first).wrapping_mul(37) ^ usize::from(second).wrapping_mul(5)) % SLOTS
}

/// Whether one of the bytes may be a letter or is not ASCII. Nothing but `@`, brackets and their like is taken for one wrongly.
#[inline(always)]
pub(super) fn has_letter(eight: u64) -> bool {
    eight & 0xC0C0_C0C0_C0C0_C0C0 != 0
}

/// 0 for no letter, 1 for a lower case one, 2 for a capital. A byte that is not ASCII counts as lower case.
#[inline(always)]
pub(super) fn letter(byte: u8) -> u8 {
    if byte >= 0x80 { 1 } else { (class(byte) & (LOWER | UPPER)) >> 1 }
}

/// Whether a word begins between two bytes, also inside of a name such as `dateOfBirth`.
#[inline(always)]
pub(super) fn begins(last: u8, this: u8) -> bool {
    this > last
}

pub(super) const PHONE: u32 = Entity::Phone.bit();
pub(super) const CARD: u32 = Entity::Card.bit();
pub(super) const SSN: u32 = Entity::UsSsn.bit();
pub(super) const ITIN: u32 = Entity::UsItin.bit();
pub(super) const BANK: u32 = Entity::UsBankNumber.bit();
pub(super) const PASSPORT: u32 = Entity::Passport.bit() | Entity::UsPassport.bit();
pub(super) const ITALIAN_PASSPORT: u32 = Entity::ItPassport.bit();
pub(super) const LICENSE: u32 = Entity::UsDriverLicense.bit() | Entity::ItDriverLicense.bit();
pub(super) const BIRTH: u32 = Entity::DateOfBirth.bit();
pub(super) const NHS: u32 = Entity::UkNhs.bit();
pub(super) const VAT: u32 = Entity::ItVatCode.bit();
pub(super) const IDENTITY: u32 = Entity::ItIdentityCard.bit();
pub(super) const PESEL: u32 = Entity::PlPesel.bit();
pub(super) const MEDICAL: u32 = Entity::MedicalLicense.bit();
pub(super) const CRYPTO: u32 = Entity::CryptoAddress.bit();
pub(super) const NIF: u32 = Entity::EsNif.bit();
pub(super) const NIE: u32 = Entity::EsNie.bit();
pub(super) const MAC: u32 = Entity::MacAddress.bit();
pub(super) const IP: u32 = Entity::IpAddress.bit();
pub(super) const IBAN: u32 = Entity::Iban.bit();

/// Words, or beginnings of words, and what they speak of. A `$` at the end: the word must end there.
const WORDS: &[(&str, u32)] = &[
    ("phone", PHONE),
    ("telephone", PHONE),
    ("tel$", PHONE),
    ("telef", PHONE),
    ("tel\u{e9}f", PHONE),
    ("mobile", PHONE),
    ("mobil$", PHONE),
    ("mobilnummer", PHONE),
    ("mob$", PHONE),
    ("cell$", PHONE),
    ("cellphone", PHONE),
    ("cellular", PHONE),
    ("fax", PHONE),
    ("whatsapp", PHONE),
    ("sms$", PHONE),
    ("msisdn", PHONE),
    ("call$", PHONE),
    ("calling$", PHONE),
    ("callback", PHONE),
    ("dial", PHONE),
    ("ring$", PHONE),
    ("reach$", PHONE),
    ("text me", PHONE),
    ("contact n", PHONE),
    ("hotline", PHONE),
    ("helpline", PHONE),
    ("landline", PHONE),
    ("handy", PHONE),
    ("rufnummer", PHONE),
    ("durchwahl", PHONE),
    ("festnetz", PHONE),
    ("m\u{f3}vil", PHONE),
    ("movil", PHONE),
    ("celular", PHONE),
    ("llam", PHONE),
    ("t\u{e9}l", PHONE),
    ("portable$", PHONE),
    ("appel", PHONE),
    ("cellulare", PHONE),
    ("chiam", PHONE),
    ("kom\u{f3}r", PHONE),
    ("zadzwo", PHONE),
    ("card", CARD),
    ("credit", CARD),
    ("debit", CARD | BANK),
    ("visa$", CARD),
    ("mastercard", CARD),
    ("amex", CARD),
    ("maestro", CARD),
    ("discover$", CARD),
    ("cc$", CARD),
    ("ccn", CARD),
    ("pan$", CARD),
    ("kreditkart", CARD),
    ("karte", CARD),
    ("tarjeta", CARD),
    ("carte$", CARD),
    ("carta di credito", CARD),
    ("karta", CARD),
    ("karty", CARD),
    ("ssn", SSN),
    ("ss#", SSN),
    ("social security", SSN),
    ("social insurance", SSN),
    ("socsec", SSN),
    ("social$", SSN),
    ("itin$", ITIN),
    ("taxpayer", ITIN | SSN),
    ("tin$", ITIN | SSN),
    ("tax id", ITIN | SSN | VAT),
    ("tax number", ITIN | SSN | VAT),
    ("bank", BANK | IBAN),
    ("acct", BANK),
    ("account n", BANK),
    ("account #", BANK),
    ("account id", 0),
    ("accountnum", BANK),
    ("accountno", BANK),
    ("checking", BANK),
    ("savings", BANK),
    ("routing", BANK),
    ("konto", BANK | IBAN),
    ("iban", IBAN),
    ("cuenta", BANK | IBAN),
    ("passport", PASSPORT),
    ("reisepass", Entity::Passport.bit()),
    ("pasaporte", Entity::Passport.bit()),
    ("passeport", Entity::Passport.bit()),
    ("passaport", ITALIAN_PASSPORT),
    ("italian passport", ITALIAN_PASSPORT),
    ("italienischer reisepass", ITALIAN_PASSPORT),
    ("paszport", Entity::Passport.bit()),
    ("driver", LICENSE),
    ("driving", LICENSE),
    ("licence n", LICENSE),
    ("license n", LICENSE),
    ("licence plate", 0),
    ("dl$", LICENSE),
    ("dln$", LICENSE),
    ("lic #", LICENSE),
    ("f\u{fc}hrerschein", LICENSE),
    ("fuehrerschein", LICENSE),
    ("permis de conduire", LICENSE),
    ("permiso de conducir", LICENSE),
    ("carnet de conducir", LICENSE),
    ("patente", LICENSE),
    ("prawo jazdy", LICENSE),
    ("prawa jazdy", LICENSE),
    ("dob$", BIRTH),
    ("d.o.b", BIRTH),
    ("born", BIRTH),
    ("birth", BIRTH),
    ("bday", BIRTH),
    ("b-day", BIRTH),
    ("geburt", BIRTH),
    ("geboren", BIRTH),
    ("geb$", BIRTH),
    ("nacimiento", BIRTH),
    ("nacid", BIRTH),
    ("naci\u{f3}", BIRTH),
    ("nascita", BIRTH),
    ("nato$", BIRTH),
    ("nata$", BIRTH),
    ("naissance", BIRTH),
    ("n\u{e9}$", BIRTH),
    ("n\u{e9}e$", BIRTH),
    ("ne le$", BIRTH),
    ("nee le$", BIRTH),
    ("urodz", BIRTH),
    ("ur$", BIRTH),
    ("nascimento", BIRTH),
    ("nhs", NHS),
    ("patient", NHS),
    ("national health", NHS),
    ("health service", NHS),
    ("health number", NHS),
    ("partita iva", VAT),
    ("p iva", VAT),
    ("piva", VAT),
    ("iva$", VAT),
    ("vat$", VAT),
    ("vatin", VAT),
    ("carta d identit", IDENTITY),
    ("carta identit", IDENTITY),
    ("identity card", IDENTITY),
    ("id card", IDENTITY),
    ("identit\u{e0}", IDENTITY),
    ("documento", IDENTITY),
    ("cie$", IDENTITY),
    ("pesel", PESEL),
    ("dea$", MEDICAL),
    ("medical licen", MEDICAL),
    ("prescriber", MEDICAL),
    ("physician", MEDICAL),
    ("certificate n", MEDICAL),
    ("wallet", CRYPTO),
    ("bitcoin", CRYPTO),
    ("btc", CRYPTO),
    ("crypto", CRYPTO),
    ("solana", CRYPTO),
    ("phantom", CRYPTO),
    ("blockchain", CRYPTO),
    ("nif$", NIF),
    ("dni$", NIF),
    ("nie$", NIE),
    ("mac$", MAC),
    ("hardware address", MAC),
    ("ethernet", MAC),
    ("hwaddr", MAC),
    ("ip$", IP),
    ("ipv", IP),
    ("inet", IP),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_formats_that_ask_for_words_fit() {
        assert!(asking().count() <= 64 * NEAR_BLOCKS);
    }

    /// Every place at which a word begins, and every word that lies in its slot.
    fn heard_slowly(text: &[u8], from: usize, to: usize) -> Vec<(usize, &'static [u8])> {
        let begun = (from..to).filter(|at| begins(letter(back(text, *at, 1)), letter(text[*at])));
        let slot_at = |place: usize| slot(at(text, place).to_ascii_lowercase(), at(text, place + 1).to_ascii_lowercase());
        begun
            .flat_map(|place| {
                DICTIONARY.slots[slot_at(place)]
                    .iter()
                    .filter(move |entry| entry.ends(text, place, to).is_some())
                    .map(move |entry| (place, entry.text))
            })
            .collect()
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> = DICTIONARY.slots.iter().flatten().map(|entry| entry.text).collect();
        prop_oneof![
            4 => (proptest::sample::select(words), any::<bool>()).prop_map(|(word, capital)| if capital { word.to_ascii_uppercase() } else { word.to_vec() }),
            2 => "[ _.:/'=-]{0,3}".prop_map(String::into_bytes),
            1 => "[A-Za-z0-9@]{0,5}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #[test]
        fn no_word_is_missed_wherever_it_stands(pieces in proptest::collection::vec(pieces(), 0..20), from in 0_usize..40, short in 0_usize..20) {
            let text = pieces.concat();
            let (from, to) = (from.min(text.len()), text.len().saturating_sub(short).max(from.min(text.len())));
            let mut heard = Vec::new();
            DICTIONARY.words(&text, from, to, |place, entry| heard.push((place, entry.text)));
            prop_assert_eq!(heard, heard_slowly(&text, from, to));
        }
    }

    #[test]
    fn no_word_is_listed_twice() {
        let mut words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
