//! Connections from and listeners at the target, and what else makes a way out of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Action, Facts, Object};

use super::{found::Found, paths::Place};

/// A way out of the target, or back into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward<'a> {
    /// A connection from the target to here.
    Direct {
        /// Name or address.
        host: &'a str,
        /// Port.
        port: u32,
    },
    /// A listener at the target.
    Listen {
        /// The address it listens at; empty for all.
        host: &'a str,
        /// Port; 0 for any.
        port: u32,
    },
    /// A connection to a socket in the target's file system.
    DirectSocket {
        /// Its path.
        path: &'a str,
    },
    /// A listener at a socket in the target's file system.
    ListenSocket {
        /// Its path.
        path: &'a str,
    },
    /// The caller's agent is offered to the target.
    Agent,
    /// The caller's display is offered to the target.
    X11,
    /// A network device.
    Tun,
}

/// What a forward means: `escape` on the host it leads to.
#[must_use]
pub fn forward(forward: &Forward<'_>) -> Facts {
    let kind = match forward {
        Forward::Listen { .. } | Forward::ListenSocket { .. } => "listen",
        Forward::Direct { .. } | Forward::DirectSocket { .. } | Forward::Agent | Forward::X11 | Forward::Tun => "forward",
    };
    let host = match forward {
        Forward::Direct { host, port } => address(host, *port),
        // Whoever may connect somewhere may not therefore listen there.
        Forward::Listen { host: "", port } => address("*", *port).map(listening),
        Forward::Listen { host, port } => address(host, *port).map(listening),
        Forward::DirectSocket { path } => socket(path),
        Forward::ListenSocket { path } => socket(path).map(listening),
        Forward::Agent => Some("agent".to_owned()),
        Forward::X11 => Some("x11".to_owned()),
        Forward::Tun => Some("tun".to_owned()),
    };
    let mut found = Found::of(kind);
    found.statements = 1;
    match host {
        Some(host) => found.pair(Action::Escape, Object::Host { host: host.into() }),
        None => {
            found.pair(Action::Escape, Object::Connection);
            found.doubt("where it leads is not understood");
        }
    }
    found.into_facts()
}

/// `listen:PLACE`.
fn listening(place: String) -> String {
    format!("listen:{place}")
}

/// `host:port` in one spelling: names in lower case without the last dot, addresses as they are printed. None if it is neither.
pub(super) fn address(host: &str, port: u32) -> Option<String> {
    let port = u16::try_from(port).ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host == "*" {
        return Some(format!("*:{port}"));
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Some(match address.to_canonical() {
            IpAddr::V4(address) => format!("{address}:{port}"),
            IpAddr::V6(address) => format!("[{address}]:{port}"),
        });
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if let Some(address) = old_address(&host) {
        return Some(format!("{}:{port}", address?));
    }
    let is_name =
        !host.is_empty() && host.len() <= 253 && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    is_name.then(|| format!("{host}:{port}"))
}

/// An address of version 4 in any of the spellings that resolvers take (`inet_aton`: `127.1`, `0x7f000001`, `017700000001`). The inner none: its numbers are too large.
/// None if it is not of numbers.
#[allow(clippy::option_option, reason = "that it is no address and that it is a wrong one are different answers")]
fn old_address(host: &str) -> Option<Option<Ipv4Addr>> {
    let numbers: Option<Vec<u64>> = host.split('.').map(number).collect();
    let numbers = numbers?;
    let (last, first) = numbers.split_last()?;
    let width = 4usize.checked_sub(first.len()).filter(|width| *width > 0);
    let Some(width) = width else { return Some(None) };
    if first.iter().any(|number| *number > 0xff) || *last >= 1 << (8 * width) {
        return Some(None);
    }
    let high = first.iter().fold(0, |all, number| all << 8 | number) << (8 * width);
    Some(u32::try_from(high | last).ok().map(Ipv4Addr::from))
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let plain = !digits.starts_with('+');
    u64::from_str_radix(digits, radix).ok().filter(|_| plain)
}

/// `unix:PATH`; none if the path is not absolute or not understood.
pub(super) fn socket(path: &str) -> Option<String> {
    path.starts_with('/').then(|| Place::top().join(path).ok()).flatten().map(|place| format!("unix:{}", place.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(asked: Forward<'_>) -> String {
        let facts = forward(&asked);
        let pairs: Vec<_> = facts.pairs.iter().map(ToString::to_string).collect();
        format!("{}: {}", facts.kinds[0], pairs.join(", "))
    }

    #[test]
    fn a_forward_is_an_escape_to_where_it_leads() {
        for (asked, expected) in [
            (Forward::Direct { host: "DB.internal.", port: 5432 }, "forward: escape on host db.internal:5432"),
            (Forward::Direct { host: "::1", port: 22 }, "forward: escape on host [::1]:22"),
            (Forward::Direct { host: "[0:0::1]", port: 22 }, "forward: escape on host [::1]:22"),
            (Forward::Direct { host: "::ffff:10.0.0.1", port: 22 }, "forward: escape on host 10.0.0.1:22"),
            (Forward::Listen { host: "0.0.0.0", port: 0 }, "listen: escape on host listen:0.0.0.0:0"),
            (Forward::Listen { host: "", port: 8080 }, "listen: escape on host listen:*:8080"),
            (Forward::DirectSocket { path: "/run//docker.sock" }, "forward: escape on host unix:/run/docker.sock"),
            (Forward::ListenSocket { path: "/tmp/x" }, "listen: escape on host listen:unix:/tmp/x"),
            (Forward::Agent, "forward: escape on host agent"),
            (Forward::X11, "forward: escape on host x11"),
            (Forward::Tun, "forward: escape on host tun"),
        ] {
            assert_eq!(asks(asked), expected);
        }
    }

    #[test]
    fn an_address_has_one_spelling() {
        for spelling in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0xA9.0xFE.0xA9.0xFE",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.16689662",
            "::ffff:a9fe:a9fe",
        ] {
            assert_eq!(address(spelling, 80).as_deref(), Some("169.254.169.254:80"), "{spelling}");
        }
    }

    #[test]
    fn what_leads_nowhere_certain_is_unreadable_and_an_escape_all_the_same() {
        for host in ["", "a b", "h\0", "ex\u{430}mple.org", "256.1.1.1", "1.2.3.4.5", "4294967296", &"a".repeat(300)] {
            let facts = forward(&Forward::Direct { host, port: 22 });
            assert!(facts.asks(Action::Unreadable) && facts.asks(Action::Escape), "{host:?}");
        }
        assert!(forward(&Forward::Direct { host: "a", port: 65_536 }).asks(Action::Unreadable));
        assert!(forward(&Forward::DirectSocket { path: "run/x" }).asks(Action::Unreadable));
    }
}
