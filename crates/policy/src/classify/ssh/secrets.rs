//! Where a command spells out a secret, so that the record can leave it out.
//!
//! It looks at the text and not at its meaning: what is refused or not understood is recorded too, and commands stand in the quotes of others.

use std::ops::Range;

/// Ends of names whose values are secrets.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pgpassword",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "access-key",
    "private_key",
    "mysql_pwd",
    "sshpass",
    "credential",
    "credentials",
    "pwd_secret",
    "pass",
];

/// Programs that take a secret right after an option, the option, and whether it is only what is attached to it.
const OPTIONS: &[(&str, &str, bool)] = &[
    ("mysql", "-p", true),
    ("mysqldump", "-p", true),
    ("mysqladmin", "-p", true),
    ("mysqlimport", "-p", true),
    ("mariadb", "-p", true),
    ("mariadb-dump", "-p", true),
    ("sshpass", "-p", false),
    ("redis-cli", "-a", false),
    ("curl", "-u", false),
    ("curl", "--user", false),
    ("curl", "-U", false),
    ("mongo", "-p", false),
    ("mongosh", "-p", false),
    ("mongodump", "-p", false),
    ("zip", "-P", false),
    ("unzip", "-P", false),
    ("ldapsearch", "-w", false),
    ("ldapmodify", "-w", false),
    ("smbclient", "-U", false),
    ("sqlcmd", "-P", false),
    ("useradd", "-p", false),
    ("usermod", "-p", false),
    ("7z", "-p", true),
    ("wget", "--user", false),
];

/// Byte ranges that hold a secret: sorted, apart.
pub(super) fn spans(command: &[u8]) -> Vec<(u32, u32)> {
    let (tokens, quotes) = (tokens(command), quotes(command));
    let mut found: Vec<Range<usize>> = vec![];
    let mut program = "";
    for (place, token) in tokens.iter().enumerate() {
        let text = text(command, token);
        let (next, attached) = after(command, token);
        let name = text.rsplit('/').next().unwrap_or(text);
        if let Some((known, _, _)) = OPTIONS.iter().find(|(known, _, _)| *known == name) {
            program = known;
        }
        let begins = [assigned(text, token, next), of_option(program, text, token, next, attached)];
        let is_code = place.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| self::text(command, before).ends_with('c'));
        found.extend(begins.into_iter().flatten().map(|begin| begin..end(command, begin, token.start, is_code, &quotes)));
        found.extend(in_address(text, token));
        found.extend(in_header(command, text, token));
    }
    found.extend(changed_passwords(command));
    apart(found)
}

/// The words of the text, roughly: what stands between blanks, operators and quotes.
fn tokens(command: &[u8]) -> Vec<Range<usize>> {
    let separates = |byte: &u8| byte.is_ascii_whitespace() || b"'\"`;|&()<>\\".contains(byte);
    let mut out = vec![];
    let mut begin = 0;
    for (at, byte) in command.iter().enumerate() {
        if separates(byte) {
            if begin < at {
                out.push(begin..at);
            }
            begin = at + 1;
        }
    }
    if begin < command.len() {
        out.push(begin..command.len());
    }
    out
}

/// The quote that each byte is in, 0 for none.
fn quotes(command: &[u8]) -> Vec<u8> {
    let (mut quote, mut escaped) = (0, false);
    let within = |byte: &u8| {
        let inside = quote;
        match *byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'\'' => escaped = true,
            byte @ (b'\'' | b'"') if quote == 0 => quote = byte,
            byte if byte == quote => quote = 0,
            _ => {}
        }
        inside
    };
    command.iter().map(within).collect()
}

/// Where the word after a token begins, and where what is attached to it does, if that is quoted.
fn after(command: &[u8], token: &Range<usize>) -> (Option<usize>, Option<usize>) {
    let rest = command.get(token.end..).unwrap_or_default();
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let next = rest.get(blanks).filter(|byte| !b"`;|&()<>".contains(byte)).map(|_| token.end + blanks);
    let attached = rest.first().filter(|byte| matches!(byte, b'\'' | b'"' | b'\\')).map(|_| token.end);
    (next, attached)
}

/// Where a value ends that begins here, in a word that begins there. A word that is quoted whole ends with the quote, unless it is code.
fn end(command: &[u8], begin: usize, word: usize, is_code: bool, quotes: &[u8]) -> usize {
    let outer = quotes.get(begin).copied().unwrap_or(0);
    let escaped = match command.get(begin..begin + 2) {
        Some(two @ (b"\\\"" | b"\\'")) => Some(two),
        _ => None,
    };
    if let Some(quote) = escaped {
        let rest = command.get(begin + 2..).unwrap_or_default();
        return rest.windows(2).position(|two| two == quote).map_or(command.len(), |length| begin + 2 + length + 2);
    }
    let whole = !is_code && outer != 0 && word.checked_sub(1).and_then(|before| command.get(before)) == Some(&outer);
    let mut inner = 0;
    let mut rest = command.iter().enumerate().skip(begin);
    while let Some((at, byte)) = rest.next() {
        match *byte {
            b'\\' if outer != b'\'' && inner != b'\'' => drop(rest.next()),
            byte if byte == outer && outer != 0 => return at,
            byte if byte == inner && inner != 0 => inner = 0,
            byte @ (b'\'' | b'"') if inner == 0 => inner = byte,
            byte if inner == 0 && !whole && (byte.is_ascii_whitespace() || b"`;|&()<>".contains(&byte)) => return at,
            _ => {}
        }
    }
    command.len()
}

fn text<'a>(command: &'a [u8], token: &Range<usize>) -> &'a str {
    command.get(token.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

fn is_secret(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    NAMES.iter().any(|ending| name.ends_with(ending) && !name.ends_with("bypass") && !name.ends_with("compass"))
}

/// `PASSWORD=x`, `--password=x`, `--password x`, `password: x`: where the value begins.
fn assigned(text: &str, token: &Range<usize>, next: Option<usize>) -> Option<usize> {
    let divided = text.split_once('=').or_else(|| text.split_once(':').filter(|(_, value)| !value.starts_with("//")));
    match divided {
        Some((name, value)) if is_secret(name) && value.is_empty() => next,
        Some((name, _)) if is_secret(name) => Some(token.start + name.len() + 1),
        Some(_) => None,
        None if text.starts_with("--") && is_secret(text) => next,
        None => None,
    }
}

fn of_option(program: &str, text: &str, token: &Range<usize>, next: Option<usize>, quoted: Option<usize>) -> Option<usize> {
    let (_, option, only_attached) = OPTIONS.iter().find(|(known, option, _)| *known == program && text.starts_with(option))?;
    match text.len() > option.len() {
        true if option.len() == 2 => Some(token.start + option.len()),
        // A longer option that only begins like it is looked at by its own name.
        true => None,
        false if *only_attached || quoted.is_some() => quoted,
        false => next,
    }
}

/// `scheme://user:secret@host`
fn in_address(text: &str, token: &Range<usize>) -> Option<Range<usize>> {
    let begin = text.find("://")? + 3;
    let authority = text.get(begin..)?.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let colon = user.find(':')?;
    Some(token.start + begin + colon + 1..token.start + begin + user.len())
}

/// `Authorization: Bearer x` and the like: all that follows up to the quote.
fn in_header(command: &[u8], text: &str, token: &Range<usize>) -> Option<Range<usize>> {
    const HEADERS: &[&str] =
        &["authorization:", "proxy-authorization:", "cookie:", "x-api-key:", "x-auth-token:", "private-token:", "x-vault-token:"];
    let lower = text.to_ascii_lowercase();
    let header = HEADERS.iter().find(|header| lower.starts_with(**header))?;
    let begin = token.start + header.len();
    let rest = command.get(begin..)?;
    let length = rest.iter().position(|byte| matches!(byte, b'\'' | b'"' | b'\n')).unwrap_or(rest.len());
    Some(begin..begin + length)
}

/// `echo user:secret | chpasswd`: what comes before it in the same line.
fn changed_passwords(command: &[u8]) -> Option<Range<usize>> {
    let at = command.windows(8).position(|window| window == b"chpasswd")?;
    let begin = command.get(..at)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = command.get(begin..at)?;
    let first = line.iter().position(|byte| *byte == b':')?;
    let end = line.iter().rposition(|byte| *byte == b'|').unwrap_or(line.len());
    (first + 1 < end).then(|| begin + first + 1..begin + end)
}

/// Sorted, without overlap and empty ones.
fn apart(mut found: Vec<Range<usize>>) -> Vec<(u32, u32)> {
    found.retain(|range| range.start < range.end);
    found.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<(u32, u32)> = vec![];
    for range in found {
        let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else { continue };
        match out.last_mut() {
            Some((_, before)) if start <= *before => *before = end.max(*before),
            _ => out.push((start, end)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(command: &str) -> Vec<&str> {
        spans(command.as_bytes()).into_iter().map(|(start, end)| &command[start as usize..end as usize]).collect()
    }

    #[test]
    fn secrets_are_found_wherever_a_command_spells_them() {
        for (command, secrets) in [
            ("mysql -u root -pS3cret -e 'SELECT 1'", &["S3cret"][..]),
            ("PGPASSWORD=x psql -h db", &["x"]),
            ("curl -u user:pass https://h/", &["user:pass"]),
            ("curl -uuser:pass h", &["user:pass"]),
            ("tool --password=x --token 'y z' -v", &["x", "'y z'"]),
            ("mysql -p'a b' -e 1", &["'a b'"]),
            ("A_PASSWORD='a b'\"c d\"e f", &["'a b'\"c d\"e"]),
            ("sh -c 'A_SECRET=\"a b\" run x'", &["\"a b\""]),
            ("env 'A_PASSWORD=a b' run", &["a b"]),
            ("sh -c \"x --token=\\\"a b\\\" c\"", &["\\\"a b\\\""]),
            ("sh -c \"x --token=a\\ b c\"", &["a\\ b"]),
            ("git clone https://me:tok@h/r.git", &["tok"]),
            ("sudo sh -c 'mysql -pX -e 1'", &["X"]),
            ("export API_TOKEN=\"abc\"; run", &["\"abc\""]),
            ("sshpass -p hunter2 ssh h", &["hunter2"]),
            ("curl -H 'Authorization: Bearer abc.def' h", &[" Bearer abc.def"]),
            ("echo 'bob:new secret' | chpasswd", &["new secret' "]),
            ("echo \"unterminated PASSWORD=x", &["x"]),
            ("redis-cli -a pw ping", &["pw"]),
        ] {
            assert_eq!(hidden(command), secrets, "{command}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for command in [
            "passwd alice",
            "cat /etc/passwd",
            "ls --pass",
            "mysql -p",
            "ssh -p 2222 h",
            "curl https://h/a:b@c",
            "mkdir -p a",
            "bypass=1 x",
            "rm -rf /srv/token",
            "",
        ] {
            assert!(hidden(command).is_empty(), "{command}: {:?}", hidden(command));
        }
    }
}
