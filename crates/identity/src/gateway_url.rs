//! What the gateway calls itself in tokens, and what they can be for: itself, where it gives tokens out, and its connections.

use std::{fmt, str::FromStr};

use model::ConnectionName;
use serde::{Deserialize, Deserializer, de};
use url::{Host, Url};

/// The URL of the gateway's API as others reach it: scheme, host and port, compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl(String);

impl GatewayUrl {
    /// As tokens name it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host: a name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => rest.split_once(':').map_or(rest, |(host, _)| host),
        }
    }

    /// Where it gives tokens out.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        self.at("/v1/token")
    }

    /// A path of its API.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// A connection as a resource: RFC 8707.
    #[must_use]
    pub fn connection(&self, name: &ConnectionName) -> String {
        format!("{}/connections/{name}", self.0)
    }

    /// The name in [`connection`](Self::connection), if a resource is one of this gateway.
    #[must_use]
    pub fn name_in<'a>(&self, resource: &'a str) -> Option<&'a str> {
        resource.strip_prefix(self.0.as_str())?.strip_prefix("/connections/")
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GatewayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not what a gateway can be called: write the URL of its API without a path, such as \"https://gw.example.com:7443\"")
        };
        let url: Url = text.parse().map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let here = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(wrong()),
        };
        match url.scheme() {
            _ if !bare => Err(wrong()),
            "https" => Ok(Self(url.origin().ascii_serialization())),
            "http" if here => Ok(Self(url.origin().ascii_serialization())),
            "http" => Err(format!("`{text}` would send tokens in clear: use https://")),
            _ => Err(wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for GatewayUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_called_as_its_api_is_reached() {
        for (text, called) in [
            ("https://gw.example.com", "https://gw.example.com"),
            ("https://GW.example.com:443/", "https://gw.example.com"),
            ("https://[::1]:7443", "https://[::1]:7443"),
            ("http://127.0.0.1:7443", "http://127.0.0.1:7443"),
        ] {
            assert_eq!(text.parse::<GatewayUrl>().unwrap().as_str(), called);
        }
        for text in ["", "gw", "http://gw.example.com", "https://gw/api", "https://gw?x", "https://gw#x", "https://a:b@gw", "file:///x", "https://"] {
            assert!(text.parse::<GatewayUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_resource_is_a_connection_of_this_gateway_or_none() {
        let url: GatewayUrl = "https://gw.example".parse().unwrap();
        assert_eq!(url.name_in(&url.connection(&"prod-pg".parse().unwrap())), Some("prod-pg"));
        for other in ["https://gw.example.evil/connections/prod-pg", "https://gw.example:1/connections/prod-pg", "/connections/prod-pg", "prod-pg"] {
            assert_eq!(url.name_in(other), None, "{other}");
        }
    }
}
