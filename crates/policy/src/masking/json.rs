//! Parts of a JSON document, replaced where paths lead; all else keeps its bytes. <https://www.rfc-editor.org/rfc/rfc8259>

use model::classes::{JsonPath, JsonStep};

/// Values within values that are looked into; PostgreSQL itself reads no deeper than its stack.
const MAX_DEPTH: usize = 256;

/// A value that holds no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf<'a> {
    /// Its meaning, without quotes and escapes.
    String(&'a str),
    /// As it is written.
    Number(&'a str),
    Bool,
    Null,
}

/// What becomes of a leaf for the paths of these numbers: other JSON, or none if it stays. The name is that of the member it is, or is within an array of.
pub(super) type Change<'c> = dyn FnMut(&mut dyn Iterator<Item = usize>, Option<&str>, Leaf<'_>) -> Option<String> + 'c;

/// The document with every leaf at or below one of the paths as `change` has it. None if it is no JSON document that
/// can be read.
pub(super) fn replace<'a>(document: &str, paths: impl Iterator<Item = &'a JsonPath>, change: &mut Change<'_>) -> Option<String> {
    let ways: Vec<Way<'a>> = paths.enumerate().map(|(path, found)| Way { path, steps: found.steps() }).collect();
    let mut walk = Walk { rest: document, out: String::with_capacity(document.len()), change };
    walk.space();
    walk.value(&ways, None, 0)?;
    walk.space();
    walk.rest.is_empty().then_some(walk.out)
}

/// JSON of a text.
pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is left of a path.
#[derive(Clone, Copy)]
struct Way<'p> {
    path: usize,
    steps: &'p [JsonStep],
}

struct Walk<'d, 'c, 'f> {
    rest: &'d str,
    out: String,
    change: &'c mut Change<'f>,
}

impl<'d> Walk<'d, '_, '_> {
    fn value(&mut self, ways: &[Way<'_>], name: Option<&str>, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.rest.as_bytes().first()? {
            b'{' => self.object(ways, depth),
            b'[' => self.array(ways, name, depth),
            _ => self.leaf(ways, name),
        }
    }

    fn object(&mut self, ways: &[Way<'_>], depth: usize) -> Option<()> {
        self.sign('{')?;
        if self.ends('}') {
            return Some(());
        }
        loop {
            self.space();
            let written = self.string()?;
            self.out.push_str(written);
            let name: String = serde_json::from_str(written).ok()?;
            self.space();
            self.sign(':')?;
            self.space();
            let below: Vec<Way<'_>> = ways.iter().filter_map(|way| way.member(&name)).collect();
            self.value(&below, Some(&name), depth + 1)?;
            if self.ends('}') {
                return Some(());
            }
            self.sign(',')?;
        }
    }

    fn array(&mut self, ways: &[Way<'_>], name: Option<&str>, depth: usize) -> Option<()> {
        self.sign('[')?;
        if self.ends(']') {
            return Some(());
        }
        // A path may name the elements or look through them.
        let mut below: Vec<Way<'_>> = ways.to_vec();
        for way in ways.iter().filter_map(Way::element) {
            // Each place of a path once: else arrays within arrays would double them again and again.
            if !below.iter().any(|known| known.path == way.path && known.steps.len() == way.steps.len()) {
                below.push(way);
            }
        }
        loop {
            self.space();
            self.value(&below, name, depth + 1)?;
            if self.ends(']') {
                return Some(());
            }
            self.sign(',')?;
        }
    }

    fn leaf(&mut self, ways: &[Way<'_>], name: Option<&str>) -> Option<()> {
        let text: String;
        let (written, leaf) = if self.rest.starts_with('"') {
            let written = self.string()?;
            text = serde_json::from_str(written).ok()?;
            (written, Leaf::String(&text))
        } else {
            let (written, rest) = self.rest.split_at(self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len()));
            self.rest = rest;
            let leaf = match written {
                "null" => Leaf::Null,
                "true" | "false" => Leaf::Bool,
                number => {
                    serde_json::from_str::<&serde_json::value::RawValue>(number).ok()?;
                    Leaf::Number(number)
                }
            };
            (written, leaf)
        };
        let mut paths = ways.iter().filter(|way| way.steps.is_empty()).map(|way| way.path).peekable();
        let changed = if paths.peek().is_some() { (self.change)(&mut paths, name, leaf) } else { None };
        match changed {
            Some(changed) => self.out.push_str(&changed),
            None => self.out.push_str(written),
        }
        Some(())
    }

    /// A string as it is written, quotes and all, which is not copied.
    fn string(&mut self) -> Option<&'d str> {
        let inner = self.rest.strip_prefix('"')?;
        let mut escaped = false;
        let ends = inner.bytes().position(|byte| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            other => other == b'"',
        })?;
        let (written, rest) = self.rest.split_at_checked(ends + 2)?;
        self.rest = rest;
        Some(written)
    }

    fn space(&mut self) {
        let rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let (space, rest) = self.rest.split_at(self.rest.len() - rest.len());
        self.out.push_str(space);
        self.rest = rest;
    }

    fn sign(&mut self, sign: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(sign)?;
        self.out.push(sign);
        Some(())
    }

    /// Whether what is open ends here.
    fn ends(&mut self, sign: char) -> bool {
        self.space();
        self.sign(sign).is_some()
    }
}

impl Way<'_> {
    fn member(&self, name: &str) -> Option<Self> {
        match self.steps.split_first() {
            // Below the end of a path everything is meant.
            None => Some(*self),
            Some((JsonStep::Member(member), steps)) => (member == name).then_some(Self { steps, ..*self }),
            Some((JsonStep::Every, steps)) => Some(Self { steps, ..*self }),
        }
    }

    fn element(&self) -> Option<Self> {
        match self.steps.split_first() {
            Some((JsonStep::Every, steps)) => Some(Self { steps, ..*self }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(document: &str, paths: &[&str]) -> Option<String> {
        let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        replace(document, paths.iter(), &mut |paths, _, leaf| {
            let path = paths.next().unwrap();
            match leaf {
                Leaf::String(text) => Some(string(&format!("<{path}:{text}>"))),
                Leaf::Number(number) => Some(format!("{path}{}", number.len())),
                Leaf::Bool => Some("false".to_owned()),
                Leaf::Null => None,
            }
        })
    }

    #[test]
    fn leaves_at_and_below_a_path_are_replaced() {
        let table = [
            (r#"{"email": "a@b", "n": 1}"#, vec!["$.email"], r#"{"email": "<0:a@b>", "n": 1}"#),
            (r#"{"a":{"b":[{"c":"x"},{"c":"y","d":"z"}]}}"#, vec!["$.a.b[*].c"], r#"{"a":{"b":[{"c":"<0:x>"},{"c":"<0:y>","d":"z"}]}}"#),
            (r#"{"a":[{"c":"x"}],"c":"y"}"#, vec!["$.a.c"], r#"{"a":[{"c":"<0:x>"}],"c":"y"}"#),
            (r#"[{"c":"x"},[{"c":"y"}]]"#, vec!["$.c"], r#"[{"c":"<0:x>"},[{"c":"<0:y>"}]]"#),
            (r#"{"a":{"x":"1","y":[true,null,12.5e3]},"b":"2"}"#, vec!["$.a", "$.b"], r#"{"a":{"x":"<0:1>","y":[false,null,06]},"b":"<1:2>"}"#),
            (r#"{"e\u006dail":"x","email":"y"}"#, vec!["$.email"], r#"{"e\u006dail":"<0:x>","email":"<0:y>"}"#),
            (r#"{"a":"q\"q\\"}"#, vec!["$.*"], r#"{"a":"<0:q\"q\\>"}"#),
            (r#" {} "#, vec!["$.a"], r#" {} "#),
            (r#""whole""#, vec!["$.a"], r#""whole""#),
            (r#"["x"]"#, vec!["$[*]"], r#"["<0:x>"]"#),
        ];
        for (document, paths, expected) in table {
            assert_eq!(replaced(document, &paths).as_deref(), Some(expected), "{document}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_passed_on() {
        for document in ["", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1 2]", "nul", "\"a", "{\"a\":1}x", "{'a':1}", "01", "[1,]"] {
            assert_eq!(replaced(document, &["$.z"]), None, "{document}");
        }
        assert!(replaced(&"[".repeat(100_000), &["$.z"]).is_none());
        let nested = format!("{{\"rows\":{}1{}}}", "[".repeat(250), "]".repeat(250));
        assert!(replaced(&nested, &["$.rows[*][*][*][*]"]).unwrap().contains("[01]"), "in time that does not double with each array");
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(replaced(&deep, &["$.z"]).as_deref(), Some(deep.as_str()));
    }
}
