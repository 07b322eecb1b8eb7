//! Values within values: elements of arrays and fields of rows, rewritten one by one in either format.
//! <https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO>, <https://www.postgresql.org/docs/18/rowtypes.html#ROWTYPES-IO-SYNTAX>

/// What becomes of one value within another; `None` is NULL.
pub(super) type Change<'c> = dyn FnMut(usize, Option<&[u8]>) -> Option<Vec<u8>> + 'c;

/// An array, each element changed. None if the bytes are no array.
pub(super) fn array(bytes: &[u8], binary: bool, change: &mut Change<'_>) -> Option<Vec<u8>> {
    if binary { binary_array(bytes, change) } else { text_array(bytes, change) }
}

/// A row of so many fields, each changed. None if the bytes are none.
pub(super) fn row(bytes: &[u8], binary: bool, fields: usize, change: &mut Change<'_>) -> Option<Vec<u8>> {
    if binary { binary_row(bytes, fields, change) } else { text_row(bytes, fields, change) }
}

/// `array_out`: `[0:1]={1,"two words",NULL,{…}}`. Elements of one array all have the same depth, which is not looked at.
fn text_array(bytes: &[u8], change: &mut Change<'_>) -> Option<Vec<u8>> {
    const NULL: &[u8] = b"NULL";
    let begins = if bytes.first() == Some(&b'[') { bytes.iter().position(|byte| *byte == b'=')? + 1 } else { 0 };
    let (bounds, mut rest) = bytes.split_at_checked(begins)?;
    if !bounds.iter().all(|byte| byte.is_ascii_digit() || b"[]:-+=".contains(byte)) {
        return None;
    }
    let mut out = bounds.to_vec();
    let (mut depth, mut place) = (0usize, 0usize);
    // An element may begin here; one must.
    let (mut begins, mut more) = (true, false);
    while let Some((byte, tail)) = rest.split_first() {
        match byte {
            b'{' if begins => {
                depth += 1;
                more = false;
            }
            b'}' if depth > 0 && !more => {
                depth -= 1;
                begins = false;
            }
            b',' if depth > 0 && !begins => (begins, more) = (true, true),
            _ if depth > 0 && begins => {
                let element = Element::read(rest, b",}").filter(|element| element.quoted || !element.value.is_empty())?;
                let plain = (element.quoted || element.value != NULL).then_some(element.value.as_slice());
                match change(place, plain) {
                    Some(value) => quoted(&value, b"{},", Some(NULL), b'\\', &mut out),
                    None => out.extend_from_slice(NULL),
                }
                place += 1;
                rest = element.rest;
                (begins, more) = (false, false);
                continue;
            }
            _ => return None,
        }
        out.push(*byte);
        rest = tail;
        if depth == 0 {
            break;
        }
    }
    (depth == 0 && rest.is_empty() && out.len() > bounds.len()).then_some(out)
}

/// `record_out`: `(1,"two words",)`.
fn text_row(bytes: &[u8], fields: usize, change: &mut Change<'_>) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(b"(")?;
    let mut out = vec![b'('];
    for place in 0..fields {
        let field = Element::read(rest, b",)")?;
        let plain = (field.quoted || !field.value.is_empty()).then_some(field.value.as_slice());
        if let Some(value) = change(place, plain) {
            quoted(&value, b"(),", None, b'"', &mut out);
        }
        let (ends, tail) = field.rest.split_first()?;
        if *ends != if place + 1 < fields { b',' } else { b')' } {
            return None;
        }
        out.push(*ends);
        rest = tail;
    }
    (fields > 0 && rest.is_empty()).then_some(out)
}

/// A value as it is meant, and what follows it.
struct Element<'a> {
    value: Vec<u8>,
    quoted: bool,
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    /// Up to one of the signs that end it, outside quotes.
    fn read(mut rest: &'a [u8], ends: &[u8]) -> Option<Self> {
        let (mut value, mut quoted, mut inside) = (Vec::new(), false, false);
        while let Some((byte, tail)) = rest.split_first() {
            match byte {
                b'\\' => {
                    let (escaped, tail) = tail.split_first()?;
                    value.push(*escaped);
                    rest = tail;
                    continue;
                }
                // Within quotes two are one.
                b'"' if inside && tail.first() == Some(&b'"') => {
                    value.push(b'"');
                    rest = tail.get(1..)?;
                    continue;
                }
                b'"' => {
                    inside = !inside;
                    quoted = true;
                }
                _ if !inside && ends.contains(byte) => return Some(Self { value, quoted, rest }),
                _ => value.push(*byte),
            }
            rest = tail;
        }
        None
    }
}

/// As the server would: in quotes where it would not be read as it is meant. A quote is escaped with `escape`.
fn quoted(value: &[u8], special: &[u8], null: Option<&[u8]>, escape: u8, out: &mut Vec<u8>) {
    let odd = |byte: &u8| special.contains(byte) || matches!(byte, b'"' | b'\\' | 11) || byte.is_ascii_whitespace();
    if !value.is_empty() && !value.iter().any(odd) && !null.is_some_and(|null| value.eq_ignore_ascii_case(null)) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        match byte {
            b'"' => out.extend_from_slice(&[escape, b'"']),
            b'\\' => out.extend_from_slice(b"\\\\"),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

/// `array_send`: dimensions, whether there are NULLs, the elements' type, size and lower bound of each dimension, elements.
fn binary_array(bytes: &[u8], change: &mut Change<'_>) -> Option<Vec<u8>> {
    let (head, mut rest) = bytes.split_first_chunk::<12>()?;
    let [d1, d2, d3, d4, _, _, _, _, kind @ ..] = *head;
    let dimensions = usize::try_from(i32::from_be_bytes([d1, d2, d3, d4])).ok()?;
    let mut sizes = rest;
    let mut count = usize::from(dimensions > 0);
    for _ in 0..dimensions {
        let (size, tail) = sizes.split_first_chunk::<8>()?;
        let [s1, s2, s3, s4, ..] = *size;
        count = count.checked_mul(usize::try_from(i32::from_be_bytes([s1, s2, s3, s4])).ok()?)?;
        sizes = tail;
    }
    let (bounds, elements) = rest.split_at_checked(dimensions.checked_mul(8)?)?;
    rest = elements;
    let (mut values, mut nulls) = (Vec::new(), false);
    for place in 0..count {
        let value;
        (value, rest) = field(rest)?;
        let changed = change(place, value);
        nulls |= changed.is_none();
        put(changed.as_deref(), &mut values)?;
    }
    let out = [&[d1, d2, d3, d4][..], &i32::from(nulls).to_be_bytes(), &kind, bounds, &values].concat();
    rest.is_empty().then_some(out)
}

/// `record_send`: how many, and of each its type and bytes.
fn binary_row(bytes: &[u8], fields: usize, change: &mut Change<'_>) -> Option<Vec<u8>> {
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    if usize::try_from(i32::from_be_bytes(*count)).ok()? != fields {
        return None;
    }
    let mut out = count.to_vec();
    for place in 0..fields {
        let (kind, tail) = rest.split_first_chunk::<4>()?;
        let value;
        (value, rest) = field(tail)?;
        out.extend_from_slice(kind);
        put(change(place, value).as_deref(), &mut out)?;
    }
    rest.is_empty().then_some(out)
}

/// A length and as many bytes; -1 for NULL.
fn field(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        -1 => Some((None, rest)),
        length => rest.split_at_checked(usize::try_from(length).ok()?).map(|(value, rest)| (Some(value), rest)),
    }
}

fn put(value: Option<&[u8]>, out: &mut Vec<u8>) -> Option<()> {
    let length = value.map_or(Some(-1), |value| i32::try_from(value.len()).ok())?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.unwrap_or_default());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(nested: impl FnOnce(&mut Change<'_>) -> Option<Vec<u8>>) -> (Vec<Option<String>>, Option<String>) {
        let mut values = Vec::new();
        let out = nested(&mut |_, value| {
            values.push(value.map(|value| String::from_utf8(value.to_vec()).unwrap()));
            value.map(<[u8]>::to_vec)
        });
        (values, out.map(|out| String::from_utf8(out).unwrap()))
    }

    fn owned(values: &[Option<&str>]) -> Vec<Option<String>> {
        values.iter().map(|value| value.map(str::to_owned)).collect()
    }

    #[test]
    fn arrays_are_read_and_written_as_the_server_does() {
        let table: &[(&str, &[Option<&str>])] = &[
            ("{}", &[]),
            ("{1,2}", &[Some("1"), Some("2")]),
            ("{a,NULL,\"NULL\",\"null\"}", &[Some("a"), None, Some("NULL"), Some("null")]),
            (
                "{\"two words\",\"\",\"q\\\"q\",\"b\\\\b\",\"a,b\",\"{\"}",
                &[Some("two words"), Some(""), Some("q\"q"), Some("b\\b"), Some("a,b"), Some("{")],
            ),
            ("{{1,2},{3,NULL}}", &[Some("1"), Some("2"), Some("3"), None]),
            ("[0:1]={1,2}", &[Some("1"), Some("2")]),
            ("{\"(1,\\\"a b\\\")\"}", &[Some("(1,\"a b\")")]),
        ];
        for (text, values) in table {
            let (found, written) = seen(|change| array(text.as_bytes(), false, change));
            assert_eq!(found, owned(values), "{text}");
            assert_eq!(written.as_deref(), Some(*text));
        }
        for text in ["", "1", "{", "{1", "{1,", "{1}}", "{\"a}", "{a\\", "{1}x", "[secret]={1}", "{,}", "{1,,2}", "{1,}"] {
            assert!(array(text.as_bytes(), false, &mut |_, value| value.map(<[u8]>::to_vec)).is_none(), "{text}");
        }
    }

    #[test]
    fn rows_are_read_and_written_as_the_server_does() {
        let table: &[(&str, &[Option<&str>])] = &[
            ("(1,a)", &[Some("1"), Some("a")]),
            ("(,)", &[None, None]),
            ("(\"\",\"a b\",\"q\"\"q\",\"b\\\\b\")", &[Some(""), Some("a b"), Some("q\"q"), Some("b\\b")]),
            ("(\"(1,2)\",\"{1,\"\"a b\"\"}\")", &[Some("(1,2)"), Some("{1,\"a b\"}")]),
        ];
        for (text, values) in table {
            let (found, written) = seen(|change| row(text.as_bytes(), false, values.len(), change));
            assert_eq!(found, owned(values), "{text}");
            assert_eq!(written.as_deref(), Some(*text));
            assert!(row(text.as_bytes(), false, values.len() + 1, &mut |_, _| None).is_none());
            assert!(row(text.as_bytes(), false, values.len() - 1, &mut |_, _| None).is_none());
        }
    }

    #[test]
    fn binary_arrays_and_rows_are_rewritten() {
        let int = |number: i32| number.to_be_bytes();
        let head = [int(1), int(1), int(25), int(3), int(1)].concat();
        let array_bytes = [head.as_slice(), &int(2), b"ab", &int(-1), &int(0)].concat();
        let mut seen = Vec::new();
        let out = array(&array_bytes, true, &mut |_, value| {
            seen.push(value.map(<[u8]>::to_vec));
            Some(b"***".to_vec())
        });
        assert_eq!(seen, [Some(b"ab".to_vec()), None, Some(Vec::new())]);
        let head = [int(1), int(0), int(25), int(3), int(1)].concat();
        assert_eq!(out.unwrap(), [head.as_slice(), &int(3), b"***", &int(3), b"***", &int(3), b"***"].concat());
        let row_bytes = [&int(2)[..], &int(25), &int(1), b"a", &int(23), &int(-1)].concat();
        assert_eq!(row(&row_bytes, true, 2, &mut |_, value| value.map(<[u8]>::to_vec)).unwrap(), row_bytes);
        for cut in 0..row_bytes.len() {
            assert!(row(&row_bytes[..cut], true, 2, &mut |_, _| None).is_none());
        }
        for cut in 0..array_bytes.len() {
            assert!(array(&array_bytes[..cut], true, &mut |_, _| None).is_none());
        }
    }
}
