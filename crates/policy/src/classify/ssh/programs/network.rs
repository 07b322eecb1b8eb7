//! Programs that reach other hosts.

use model::Action::{Read, Write};

use super::{Call, Walk, forwards};
use crate::classify::ssh::{command::After, shell::Word};

const CURL: &str = "-# -0 -1 -2 -3 -4 -6 -a -A: -b: -B -c:w -C: -d: -D:w -e: -E:r -f -F: -g -G -H: -i -I -j -J -k -l -L -m: -M -n -N -o:w -O -p -q -Q: -r: -R -s -S -t: -T:r -u: -U: -v -V -w: -x: -X: -y: -Y: -z: -Z --anyauth --basic --cacert:r --capath:r --cert:r --ciphers: --compressed --connect-timeout: --cookie: --cookie-jar:w --create-dirs --data: --data-ascii: --data-binary: --data-raw: --data-urlencode: --digest --dump-header:w --fail --fail-with-body --form: --form-string: --get --globoff --head --header: --http1.0 --http1.1 --http2 --include --insecure --interface: --ipv4 --ipv6 --json: --keepalive-time: --key:r --limit-rate: --location --max-filesize: --max-redirs: --max-time: --netrc --no-buffer --no-keepalive --no-progress-meter --output:w --parallel --pass: --progress-bar --proxy: --range: --referer: --remote-name --remote-time --request: --retry: --retry-all-errors --retry-connrefused --retry-delay: --retry-max-time: --show-error --silent --ssl-reqd --tlsv1.2 --tlsv1.3 --upload-file:r --url: --user: --user-agent: --verbose --version --write-out:";

pub(super) fn curl(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, CURL) else { return walk.stays() };
    for address in given.operands.iter().chain(given.values(&["--url"])) {
        walk.address(address);
    }
    for proxy in given.values(&["-x", "--proxy"]) {
        walk.address(proxy);
    }
    if given.has(&["-O", "--remote-name", "-J"]) {
        walk.touch_here(&[Write]);
    }
    let sent = ["-d", "--data", "--data-ascii", "--data-binary", "--data-urlencode", "--json", "-F", "--form", "-H", "--header"];
    for value in given.values(&sent) {
        walk.sent(value);
    }
    for cookie in given.values(&["-b", "--cookie"]).filter(|cookie| !cookie.start().contains('=')) {
        walk.touch(cookie, &[Read]);
    }
    walk.stays()
}

impl Walk<'_> {
    /// An address is fetched, or sent to.
    fn address(&mut self, word: &Word) {
        match word.text() {
            Some(address) if address.starts_with("file://") => self.touch(&Word::of(address.get("file://".len()..).unwrap_or_default()), &[Read]),
            Some(address) => self.escape(host_of(address)),
            None => self.escape(None),
        }
    }

    /// `@file` and `name=@file` send a file.
    fn sent(&mut self, value: &Word) {
        let Some(text) = value.text() else { return self.found.doubt("what it sends is known only when it runs") };
        let file = text.strip_prefix('@').or_else(|| text.split_once('=').and_then(|(_, value)| value.strip_prefix(['@', '<'])));
        let file = file.or_else(|| text.split_once('@').filter(|(name, _)| crate::classify::ssh::variables::is_name(name)).map(|(_, file)| file));
        if let Some(file) = file.filter(|file| !file.is_empty() && *file != "-") {
            let path = file.split(';').next().unwrap_or(file);
            self.touch(&Word::of(path), &[Read]);
        }
    }
}

/// The host and port of an address; none if it is not understood.
pub(super) fn host_of(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" | "socks4" | "socks5" | "socks5h" => 80,
        "https" => 443,
        "ftp" => 21,
        "ssh" | "scp" | "sftp" | "git+ssh" => 22,
        "git" => 9418,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    // Programs differ in what a backslash or a second `@` means here.
    if authority.contains('\\') || authority.matches('@').count() > 1 {
        return None;
    }
    let host = authority.rsplit('@').next()?;
    match (host.starts_with('['), host.rsplit_once(':')) {
        (false, Some((host, own))) => forwards::address(host, own.parse().ok()?),
        (true, Some((host, own))) if host.ends_with(']') => forwards::address(host, own.parse().ok()?),
        _ => forwards::address(host, port),
    }
}

pub(super) fn wget(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = "-q -O:w -P:w -c -N -S -t: -T: -U: -v -nv -nc -n: -r -l: -np -k -p -b -o:w -a:w --quiet --output-document:w --directory-prefix:w --continue --timestamping --tries: --timeout: --user-agent: --no-check-certificate --no-verbose --no-clobber --spider --header: --user: --password: --post-data: --progress: --show-progress --limit-rate: --retry-connrefused --waitretry: --https-only --version --max-redirect: --no-cache";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    given.operands.iter().for_each(|address| walk.address(address));
    if !given.has(&["-O", "-P", "--output-document", "--directory-prefix", "--spider", "--version"]) {
        walk.touch_here(&[Write]);
    }
    walk.stays()
}

/// Settings of `ssh` that lead nowhere and run nothing.
const SSH_SETTINGS: &[&str] = &[
    "batchmode",
    "checkhostip",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "globalknownhostsfile",
    "identitiesonly",
    "loglevel",
    "numberofpasswordprompts",
    "passwordauthentication",
    "port",
    "preferredauthentications",
    "pubkeyauthentication",
    "requesttty",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "tcpkeepalive",
    "user",
    "userknownhostsfile",
];

pub(super) fn ssh(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, ". -4 -6 -a -C -f -k -n -N -q -s -t -T -v -V -x -y -p: -l: -i:r -o: -c: -m: -b: -e:") else {
        return walk.stays();
    };
    let known = |setting: &Word| {
        setting.text().and_then(|text| text.split(['=', ' ']).next()).is_some_and(|name| SSH_SETTINGS.contains(&name.to_ascii_lowercase().as_str()))
    };
    if !given.values(&["-o"]).all(known) {
        return walk.doubted("an option in it is not known");
    }
    let ports: Vec<Option<u32>> = given.values(&["-p"]).map(|port| port.text().and_then(|port| port.parse().ok())).collect();
    match (given.operands.first().map(|host| host.text()), ports.as_slice()) {
        (None, _) => {}
        (Some(Some(host)), []) if host.contains("://") => walk.escape(host_of(host)),
        (Some(Some(host)), []) => walk.escape(forwards::address(host.rsplit('@').next().unwrap_or(host), 22)),
        (Some(Some(host)), [Some(port)]) => walk.escape(forwards::address(host.rsplit('@').next().unwrap_or(host), *port)),
        _ => walk.escape(None),
    }
    walk.stays()
}

pub(super) fn netcat(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-z -v -n -u -4 -6 -N -t -k -l -d -C -w: -i: -q: -p: -s: -O: -I:") else { return walk.stays() };
    let texts: Vec<&str> = given.operands.iter().map(|word| word.text().unwrap_or_default()).collect();
    let ports: Vec<&str> = given.values(&["-p"]).map(|word| word.text().unwrap_or_default()).collect();
    let default = if call.base == "telnet" { "23" } else { "" };
    let (host, port) = match (given.has(&["-l"]), texts.as_slice()) {
        (true, []) => ("*", ports.first().copied().unwrap_or_default()),
        (true, [port]) => ("*", *port),
        (_, [host]) => (*host, default),
        (_, [host, port]) => (*host, *port),
        _ => ("", ""),
    };
    walk.escape(port.parse().ok().and_then(|port| forwards::address(host, port)));
    walk.stays()
}

/// Programs that only look a host up, or whether it is there.
pub(super) fn names(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-4 -6 -c: -i: -W: -w: -q -n -s: -I: -t: -v -x -p: -m: -T -U -a -D -O -r") else { return walk.stays() };
    const TYPES: &[&str] = &["A", "AAAA", "ANY", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];
    for word in &given.operands {
        match word.text() {
            Some(text) if text.starts_with('+') || TYPES.contains(&text) => {}
            Some(text) => walk.escape(forwards::address(text.trim_start_matches('@'), 0)),
            None => walk.escape(None),
        }
    }
    walk.stays()
}
