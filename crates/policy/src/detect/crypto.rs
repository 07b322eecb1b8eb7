//! Addresses of crypto currencies, and keys in the same encodings.

use aws_lc_rs::digest::{SHA256, digest};

use super::classes::{DIGIT, at, back, is_word, letter_before, part, run};
use super::entity::Entity;
use super::pass::{Match, Scene, Token};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// <https://xrpl.org/docs/references/protocol/data-types/base58-encodings>
const BASE58_RIPPLE: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";

/// The longest text in Base58Check here: an extended key has 111 characters, 82 bytes (BIP 32).
const MAX_BASE58_BYTES: usize = 82;

/// No address or key is shorter.
pub(super) const SHORTEST_BYTES: usize = 26;

/// An address, where one begins with the token.
pub(super) fn address(scene: &Scene<'_>, token: Token) -> Option<Match> {
    if !scene.on.any(Entity::CryptoAddress.bit() | Entity::PrivateKey.bit()) || letter_before(scene.window.text, token.start) {
        return None;
    }
    let text = scene.window.text;
    let whole = part(text, token.start, token.end);
    let (entity, rule) = match whole.len() {
        26..=35 => (Entity::CryptoAddress, base58_address(whole)?),
        51 | 52 => (Entity::PrivateKey, wallet_key(whole)?),
        111 => (Entity::PrivateKey, extended_key(whole)?),
        _ => return other_address(scene, token, whole),
    };
    scene.on.has(entity).then_some(Match { start: token.start, end: token.end, entity, rule, checked: true })
}

fn other_address(scene: &Scene<'_>, token: Token, whole: &[u8]) -> Option<Match> {
    let rule = match whole {
        [b'0', b'x', ..] if whole.len() == 42 && whole.iter().skip(2).all(u8::is_ascii_hexdigit) => "crypto-ethereum",
        [b'4' | b'8', ..] if whole.len() == 95 && whole.iter().all(|byte| BASE58.contains(byte)) => "crypto-monero",
        _ if (42..=103).contains(&whole.len()) => segwit(whole)?,
        _ => return None,
    };
    scene.on.has(Entity::CryptoAddress).then_some(Match { start: token.start, end: token.end, entity: Entity::CryptoAddress, rule, checked: true })
}

/// An address of Solana has no checksum: 32 bytes in base 58. It counts where the context speaks of a wallet.
pub(super) fn unproven(whole: &[u8]) -> bool {
    (32..=44).contains(&whole.len()) && base58_decode(whole, BASE58).is_some_and(|(_, length)| length == 32)
}

pub(super) fn is_base58(whole: &[u8]) -> bool {
    whole.iter().all(|byte| value_of(&VALUES, *byte).is_some())
}

/// <https://en.bitcoin.it/wiki/List_of_address_prefixes> and each currency's `chainparams`.
fn base58_address(whole: &[u8]) -> Option<&'static str> {
    const PLAIN: &[(u8, u8, &str)] = &[
        (b'1', 0x00, "crypto-bitcoin"),
        (b'3', 0x05, "crypto-bitcoin"),
        (b'm', 0x6F, "crypto-bitcoin-testnet"),
        (b'n', 0x6F, "crypto-bitcoin-testnet"),
        (b'2', 0xC4, "crypto-bitcoin-testnet"),
        (b'L', 0x30, "crypto-litecoin"),
        (b'M', 0x32, "crypto-litecoin"),
        (b'D', 0x1E, "crypto-dogecoin"),
        (b'A', 0x16, "crypto-dogecoin"),
        (b'9', 0x16, "crypto-dogecoin"),
        (b'X', 0x4C, "crypto-dash"),
        (b'7', 0x10, "crypto-dash"),
        (b'T', 0x41, "crypto-tron"),
    ];
    let first = at(whole, 0);
    if first == b'r' {
        return base58check(whole, BASE58_RIPPLE).filter(|(version, length)| *version == 0 && *length == 25).map(|_| "crypto-ripple");
    }
    if first == b't' && matches!(at(whole, 1), b'1' | b'3') {
        return base58check(whole, BASE58).filter(|(version, length)| *version == 0x1C && *length == 26).map(|_| "crypto-zcash");
    }
    let (_, version, rule) = PLAIN.iter().find(|(letter, ..)| *letter == first)?;
    base58check(whole, BASE58).filter(|(found, length)| found == version && *length == 25).map(|_| *rule)
}

/// <https://en.bitcoin.it/wiki/Wallet_import_format>: version 0x80, 32 bytes, 0x01 where the public key is compressed.
fn wallet_key(whole: &[u8]) -> Option<&'static str> {
    matches!(at(whole, 0), b'5' | b'K' | b'L').then_some(())?;
    base58check(whole, BASE58).filter(|(version, length)| *version == 0x80 && matches!(length, 37 | 38)).map(|_| "private-key-bitcoin")
}

/// BIP 32: `xprv` and 78 bytes.
fn extended_key(whole: &[u8]) -> Option<&'static str> {
    matches!(part(whole, 1, 4), b"prv").then_some(())?;
    base58check(whole, BASE58).filter(|(_, length)| *length == 82).map(|_| "private-key-bip32")
}

/// The version byte and length of a text whose last four bytes are the beginning of the double SHA-256 of the others.
fn base58check(whole: &[u8], alphabet: &[u8; 58]) -> Option<(u8, usize)> {
    let (bytes, length) = base58_decode(whole, alphabet)?;
    let (payload, sum) = part(&bytes, 0, length).split_at_checked(length.checked_sub(4)?)?;
    let twice = digest(&SHA256, digest(&SHA256, payload).as_ref());
    (twice.as_ref().starts_with(sum)).then_some((at(&bytes, 0), length))
}

static VALUES: [u8; 128] = values(BASE58);
static VALUES_RIPPLE: [u8; 128] = values(BASE58_RIPPLE);

/// Of each ASCII byte its place in the alphabet, or 255.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a wrong index")]
const fn values(alphabet: &[u8; 58]) -> [u8; 128] {
    let mut values = [255; 128];
    let mut index = 0;
    while index < 58 {
        values[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    values
}

fn value_of(values: &[u8; 128], byte: u8) -> Option<u8> {
    values.get(usize::from(byte)).copied().filter(|value| *value != 255)
}

/// The bytes and how many there are.
fn base58_decode(whole: &[u8], alphabet: &[u8; 58]) -> Option<([u8; MAX_BASE58_BYTES], usize)> {
    let values = if alphabet == BASE58 { &VALUES } else { &VALUES_RIPPLE };
    whole.iter().try_for_each(|byte| value_of(values, *byte).map(|_| ()))?;
    let mut reversed = [0_u8; MAX_BASE58_BYTES];
    let mut length = 0;
    for byte in whole {
        let mut carry = usize::from(value_of(values, *byte)?);
        for place in reversed.iter_mut().take(length) {
            carry += usize::from(*place) * 58;
            *place = (carry & 0xFF) as u8;
            carry >>= 8;
        }
        while carry > 0 {
            *reversed.get_mut(length)? = (carry & 0xFF) as u8;
            carry >>= 8;
            length += 1;
        }
    }
    let zero = at(alphabet, 0);
    let zeros = whole.iter().take_while(|byte| **byte == zero).count();
    let length = (length + zeros <= MAX_BASE58_BYTES).then_some(length + zeros)?;
    let mut bytes = [0; MAX_BASE58_BYTES];
    bytes.iter_mut().zip(reversed.iter().take(length).rev()).for_each(|(to, from)| *to = *from);
    Some((bytes, length))
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// BIP 173 and 350, and Cardano's CIP 19.
fn segwit(whole: &[u8]) -> Option<&'static str> {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"bc", "crypto-bitcoin"),
        (b"tb", "crypto-bitcoin-testnet"),
        (b"bcrt", "crypto-bitcoin-testnet"),
        (b"ltc", "crypto-litecoin"),
        (b"addr", "crypto-cardano"),
        (b"cosmos", "crypto-cosmos"),
    ];
    let one = whole.iter().rposition(|byte| *byte == b'1')?;
    let name = part(whole, 0, one);
    let (_, rule) = KNOWN.iter().find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    is_bech32(whole, one).then_some(*rule)
}

/// Whether the checksum is that of bech32 (BIP 173) or bech32m (BIP 350); `one` is the place of the separator.
fn is_bech32(whole: &[u8], one: usize) -> bool {
    let (name, data) = (part(whole, 0, one), part(whole, one + 1, whole.len()));
    let mixed = whole.iter().any(u8::is_ascii_lowercase) && whole.iter().any(u8::is_ascii_uppercase);
    let mut sum = name.iter().fold(1, |sum, byte| polymod(sum, u32::from(byte.to_ascii_lowercase() >> 5)));
    sum = polymod(sum, 0);
    sum = name.iter().fold(sum, |sum, byte| polymod(sum, u32::from(byte & 31)));
    for byte in data {
        let Some(value) = BECH32.iter().position(|of| *of == byte.to_ascii_lowercase()) else { return false };
        sum = polymod(sum, value as u32);
    }
    !mixed && data.len() >= 6 && matches!(sum, 1 | 0x2BC8_30A3)
}

fn polymod(sum: u32, value: u32) -> u32 {
    const GENERATORS: [u32; 5] = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];
    let top = sum >> 25;
    let next = (sum & 0x1FF_FFFF) << 5 ^ value;
    GENERATORS.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(next, |sum, (_, generator)| sum ^ generator)
}

/// <https://github.com/C2SP/C2SP/blob/main/age.md>: bech32 in capitals with the name `AGE-SECRET-KEY-`, of 32 bytes.
pub(super) fn age_key(text: &[u8], start: usize) -> Option<Match> {
    const LENGTH: usize = 74;
    let whole = text.get(start..start + LENGTH)?;
    let fits = whole.starts_with(b"AGE-SECRET-KEY-1") && is_bech32(whole, 15) && !is_word(at(text, start + LENGTH)) && !letter_before(text, start);
    fits.then_some(Match { start, end: start + LENGTH, entity: Entity::PrivateKey, rule: "private-key-age", checked: true })
}

/// Bitcoin Cash (<https://github.com/bitcoincashorg/bitcoincash.org/blob/master/spec/cashaddr.md>) has its name before a colon.
pub(super) fn cash_address(scene: &Scene<'_>, token: Token) -> Option<Match> {
    const NAME: &[u8] = b"bitcoincash:";
    let text = scene.window.text;
    let start = token.start.checked_sub(NAME.len())?;
    let whole = part(text, token.start, token.end);
    let fits = part(text, start, token.start) == NAME && whole.len() == 42 && matches!(at(whole, 0), b'q' | b'p');
    (fits
        && scene.on.has(Entity::CryptoAddress)
        && run(whole, 0, 42, |byte| BECH32.contains(&byte)) == 42
        && back(text, start, 1) != b'_'
        && token.classes & DIGIT != 0)
        .then_some(Match { start, end: token.end, entity: Entity::CryptoAddress, rule: "crypto-bitcoin-cash", checked: true })
}
