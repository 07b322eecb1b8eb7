//! `[telemetry]`: where traces of sessions go.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

/// The section. Without it nothing is traced.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// A collector that takes OTLP over HTTP.
    pub(crate) otlp: Option<Endpoint>,
    /// PEM file of the root its certificate chains to; the system's if none is named.
    pub(crate) ca: Option<PathBuf>,
}

/// `http://` on this machine, `https://` anywhere. Spans name people and databases: they cross no network in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Where traces are posted: the written path and `/v1/traces` (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>).
    pub(crate) path: String,
}

/// Ports of OTLP over HTTP, and of HTTPS.
const OTLP_PORT: u16 = 4318;
const HTTPS_PORT: u16 = 443;

impl Endpoint {
    /// Host and port, as a URL has them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no collector: write one like \"http://127.0.0.1:4318\" or \"https://otel.example\"");
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, if tls { HTTPS_PORT } else { OTLP_PORT }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && !b"@?#[]\"\\".contains(&byte));
        if host.is_empty() || !plain(&host) || !plain(path) {
            return Err(wrong());
        }
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !loopback {
            return Err(format!("`{text}` would send the names of people and databases in clear: use https://, or a collector on this machine"));
        }
        Ok(Self { tls, host, port, path: format!("{}/v1/traces", path.trim_end_matches('/')) })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url() {
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://localhost", "http://localhost:4318/v1/traces"),
            ("http://[::1]:9/", "http://[::1]:9/v1/traces"),
            ("https://otel.example/a/b/", "https://otel.example:443/a/b/v1/traces"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected));
        }
        for text in ["", "127.0.0.1:4318", "http://", "http://localhost:x", "https://a@b", "https://a?b", "https://a b"] {
            assert!(read(text).unwrap_err().contains("no collector"), "{text}");
        }
        assert!(read("http://otel.example:4318").unwrap_err().contains("in clear"));
    }
}
