//! FF1: format-preserving encryption with AES-256. <https://doi.org/10.6028/NIST.SP.800-38G>, algorithm 7.
//!
//! It is used one way: equal values get equal tokens, others other ones, and who has no key cannot tell which value a token stands for.

use aws_lc_rs::{
    cipher::{AES_256, AES_CBC_IV_LEN, EncryptingKey, UnboundCipherKey},
    error::Unspecified,
};

/// Numbers are kept in two halves, neither of more bits.
pub(super) const MAX_HALF_BITS: u32 = 96;

const BLOCK_BYTES: usize = AES_CBC_IV_LEN;
const ROUNDS: u8 = 10;

/// The block cipher under one key.
pub(super) struct Ff1(EncryptingKey);

/// A numeral string: `digits` digits of a radix, as the number its upper and the number its lower half make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numeral {
    pub(super) radix: u32,
    pub(super) digits: u32,
    /// Of the first half of the digits, rounded down.
    pub(super) upper: u128,
    /// Of the rest.
    pub(super) lower: u128,
}

impl Ff1 {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, key)?).map(Self)
    }

    /// Another string of the same length, always the same for one string and tweak. None for a string that is too long: a half has more than [`MAX_HALF_BITS`] bits.
    pub(super) fn encrypt(&self, tweak: &[u8], plain: Numeral) -> Option<Numeral> {
        let (u, v) = (plain.digits / 2, plain.digits - plain.digits / 2);
        let (radix, upper, lower) = (plain.radix, power(plain.radix, u)?, power(plain.radix, v)?);
        // Step 3 and 4: bytes of a half, and of what is added to one.
        let bytes = usize::try_from((128 - (lower - 1).leading_zeros()).div_ceil(8)).ok()?;
        let taken = 4 * bytes.div_ceil(4) + 4;
        let first = self.first_block(radix, u, plain.digits, tweak)?;
        let padding = (BLOCK_BYTES - (tweak.len() + bytes + 1) % BLOCK_BYTES) % BLOCK_BYTES;
        let (mut a, mut b) = (plain.upper, plain.lower);
        for round in 0..ROUNDS {
            let mut text = Vec::with_capacity(tweak.len() + padding + 1 + bytes);
            text.extend_from_slice(tweak);
            text.resize(tweak.len() + padding, 0);
            text.push(round);
            text.extend_from_slice(b.to_be_bytes().get(BLOCK_BYTES - bytes..)?);
            let mixed = self.chained(first, &text)?;
            let added = u128::from_be_bytes(mixed) >> (8 * (BLOCK_BYTES - taken));
            let modulus = if round % 2 == 0 { upper } else { lower };
            // Both are below 2^127.
            let sum = (added % modulus + a) % modulus;
            (a, b) = (b, sum);
        }
        Some(Numeral { upper: a, lower: b, ..plain })
    }

    /// What the cipher makes of the block that says what is encrypted: step 5.
    fn first_block(&self, radix: u32, u: u32, digits: u32, tweak: &[u8]) -> Option<[u8; BLOCK_BYTES]> {
        let [_, r1, r2, r3] = radix.to_be_bytes();
        let [.., u] = u.to_be_bytes();
        let [n1, n2, n3, n4] = digits.to_be_bytes();
        let [t1, t2, t3, t4] = u32::try_from(tweak.len()).ok()?.to_be_bytes();
        self.block([1, 2, 1, r1, r2, r3, 10, u, n1, n2, n3, n4, t1, t2, t3, t4])
    }

    /// PRF: the last block of a CBC-MAC that began with `state`. The text is a whole number of blocks.
    fn chained(&self, mut state: [u8; BLOCK_BYTES], text: &[u8]) -> Option<[u8; BLOCK_BYTES]> {
        for block in text.chunks(BLOCK_BYTES) {
            state.iter_mut().zip(block).for_each(|(into, byte)| *into ^= byte);
            state = self.block(state)?;
        }
        Some(state)
    }

    fn block(&self, mut block: [u8; BLOCK_BYTES]) -> Option<[u8; BLOCK_BYTES]> {
        self.0.encrypt(&mut block).ok()?;
        Some(block)
    }
}

/// None if it needs more than [`MAX_HALF_BITS`].
fn power(radix: u32, exponent: u32) -> Option<u128> {
    u128::from(radix).checked_pow(exponent).filter(|power| *power <= 1 << MAX_HALF_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeral(radix: u32, text: &str) -> Numeral {
        let number = |text: &str| text.bytes().fold(0, |sum: u128, byte| sum * u128::from(radix) + u128::from((byte as char).to_digit(36).unwrap()));
        let (upper, lower) = text.split_at(text.len() / 2);
        Numeral { radix, digits: text.len() as u32, upper: number(upper), lower: number(lower) }
    }

    /// <https://csrc.nist.gov/csrc/media/Projects/Cryptographic-Standards-and-Guidelines/documents/examples/FF1samples.pdf>, samples 7 to 9.
    #[test]
    fn the_published_samples_are_met() {
        let key = [
            0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c, 0xef, 0x43, 0x59, 0xd8, 0xd5, 0x80, 0xaa,
            0x4f, 0x7f, 0x03, 0x6d, 0x6f, 0x04, 0xfc, 0x6a, 0x94,
        ];
        let ff1 = Ff1::new(&key).unwrap();
        let samples = [
            (10, "", "0123456789", "6657667009"),
            (10, "9876543210", "0123456789", "1001623463"),
            (36, "7777pqrs777", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
        ];
        for (radix, tweak, plain, token) in samples {
            assert_eq!(ff1.encrypt(tweak.as_bytes(), numeral(radix, plain)).unwrap(), numeral(radix, token), "{plain}");
        }
    }

    #[test]
    fn distinct_strings_stay_distinct() {
        let ff1 = Ff1::new(&[7; 32]).unwrap();
        for (radix, digits) in [(10, 3), (2, 9), (26, 2), (3, 5)] {
            let half = |digits| power(radix, digits).unwrap();
            let all: std::collections::BTreeSet<(u128, u128)> = (0..half(digits / 2))
                .flat_map(|upper| (0..half(digits - digits / 2)).map(move |lower| (upper, lower)))
                .map(|(upper, lower)| ff1.encrypt(b"t", Numeral { radix, digits, upper, lower }).map(|token| (token.upper, token.lower)).unwrap())
                .collect();
            assert_eq!(all.len() as u128, half(digits / 2) * half(digits - digits / 2));
            assert!(all.iter().all(|(upper, lower)| *upper < half(digits / 2) && *lower < half(digits - digits / 2)));
        }
    }

    #[test]
    fn what_is_too_long_has_no_token() {
        let ff1 = Ff1::new(&[7; 32]).unwrap();
        assert!(ff1.encrypt(b"", Numeral { radix: 2, digits: 192, upper: 0, lower: (1 << 96) - 1 }).is_some());
        assert!(ff1.encrypt(b"", Numeral { radix: 2, digits: 193, upper: 0, lower: 0 }).is_none());
        assert!(ff1.encrypt(b"", Numeral { radix: 10, digits: 60, upper: 0, lower: 0 }).is_none());
    }
}
