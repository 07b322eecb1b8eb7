//! The only place that takes bytes of a peer apart.

/// The bytes do not say what their message must say. The text names what was wrong; it never quotes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// Takes values off the front of a slice, in network byte order. Every call checks its bounds; nothing is copied.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    ///
    /// # Errors
    /// Nothing is left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A signed 16-bit number.
    ///
    /// # Errors
    /// Fewer than two bytes are left.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// An unsigned 16-bit number: every count in PostgreSQL's protocol.
    ///
    /// # Errors
    /// Fewer than two bytes are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A signed 32-bit number.
    ///
    /// # Errors
    /// Fewer than four bytes are left.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned 32-bit number: an OID.
    ///
    /// # Errors
    /// Fewer than four bytes are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The bytes up to the next NUL, which is taken too but not part of the answer.
    ///
    /// # Errors
    /// There is no NUL in what is left.
    #[inline]
    pub fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr(0, self.rest).ok_or(Malformed("a string has no terminator"))?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// Exactly `count` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("shorter than its contents"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Everything that is left.
    #[must_use]
    pub fn bytes(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// What is left, without taking it.
    #[must_use]
    pub const fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Something is left: a message that is longer than what it says is as malformed as one that is shorter.
    pub const fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("longer than its contents")) }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("shorter than its contents"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_off_in_network_order_and_never_past_the_end() {
        let mut reader = Reader::new(&[1, 0xff, 0xfe, 0, 0, 1, 0, b'a', b'b', 0, 9, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.i16(), Ok(-2));
        assert_eq!(reader.i32(), Ok(256));
        assert_eq!(reader.cstr(), Ok(&b"ab"[..]));
        assert_eq!(reader.clone().finish(), Err(Malformed("longer than its contents")));
        assert!(reader.i32().is_err() && reader.cstr().is_err() && reader.take(3).is_err());
        assert_eq!(reader.take(2), Ok(&[9, 9][..]));
        assert!(reader.u8().is_err());
        assert_eq!(reader.finish(), Ok(()));
    }
}
