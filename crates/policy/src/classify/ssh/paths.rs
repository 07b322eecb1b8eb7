//! Paths as policies name them: absolute or from the home directory, without `.`, `..` and empty parts.

use model::Object;

/// How many parts a path may have; a longer one is not understood.
pub(super) const MAX_PARTS: usize = 64;

/// How long a path may be, in bytes: what Linux takes at once (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    root: Root,
    parts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Root {
    Machine,
    Home,
}

/// Why it cannot be told which file a path names.
pub(super) type Untold = &'static str;

impl Place {
    /// The home directory of whoever the gateway signs in as.
    pub(super) const fn home() -> Self {
        Self { root: Root::Home, parts: vec![] }
    }

    /// The root directory.
    pub(super) const fn top() -> Self {
        Self { root: Root::Machine, parts: vec![] }
    }

    /// What a path names to somebody in this directory. `..` takes away the part before it: what a link would make of it is the machine's to know.
    pub(super) fn join(&self, path: &str) -> Result<Self, Untold> {
        if path.len() > MAX_PATH_BYTES {
            return Err("a path is too long");
        }
        if path.contains('\0') {
            return Err("a path has a NUL in it");
        }
        let mut place = if path.starts_with('/') { Self::top() } else { self.clone() };
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." if place.parts.pop().is_none() && place.root == Root::Home => return Err("a path leads above the home directory"),
                ".." => {}
                part => place.parts.push(part.to_owned()),
            }
            if place.parts.len() > MAX_PARTS {
                return Err("a path has too many parts");
            }
        }
        Ok(place)
    }

    /// As [`Place::join`], for bytes of the wire.
    pub(super) fn join_bytes(&self, path: &[u8]) -> Result<Self, Untold> {
        self.join(std::str::from_utf8(path).map_err(|_| "a path is not UTF-8")?)
    }

    /// The directory it is in; the root directory is in itself.
    pub(super) fn directory(&self) -> Result<Self, Untold> {
        self.join("..")
    }

    /// As policies write it.
    pub(super) fn name(&self) -> String {
        let parts = self.parts.join("/");
        match self.root {
            Root::Machine => format!("/{parts}"),
            Root::Home if parts.is_empty() => "~".to_owned(),
            Root::Home => format!("~/{parts}"),
        }
    }

    /// As an object of policies.
    pub(super) fn object(&self) -> Object {
        Object::Path { path: self.name().into() }
    }

    /// Whether it is one of the devices that keep nothing: `/dev/null`, the terminal, what is open already.
    pub(super) fn keeps_nothing(&self) -> bool {
        let name = self.name();
        ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/stdin", "/dev/stdout", "/dev/stderr"]
            .contains(&name.as_str())
            || name.starts_with("/dev/fd/")
    }

    /// Whether it is another device: writing there can destroy what a disk holds.
    pub(super) fn is_device(&self) -> bool {
        let name = self.name();
        name.starts_with("/dev/") && !["/dev/shm/", "/dev/pts/"].iter().any(|harmless| name.starts_with(harmless)) && !self.keeps_nothing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_or_from_the_home_directory() {
        for (given, name) in [
            ("/srv/data", "/srv/data"),
            ("//srv///data/", "/srv/data"),
            ("/srv/./data/../data", "/srv/data"),
            ("/../../etc", "/etc"),
            ("/", "/"),
            ("", "~"),
            (".", "~"),
            ("a", "~/a"),
            ("./a/b/..", "~/a"),
            ("~", "~/~"),
            ("...", "~/..."),
        ] {
            assert_eq!(Place::home().join(given).unwrap().name(), name, "{given}");
        }
    }

    #[test]
    fn what_leads_out_of_what_is_known_is_not_understood() {
        for given in ["..", "a/../..", "../../etc/passwd", "a\0b"] {
            assert!(Place::home().join(given).is_err(), "{given:?}");
        }
        assert!(Place::home().join_bytes(b"a\xff").is_err());
        assert!(Place::top().join(&"a/".repeat(MAX_PARTS)).is_ok());
        assert!(Place::top().join(&"a/".repeat(MAX_PARTS + 1)).is_err());
        assert!(Place::top().join(&"a".repeat(MAX_PATH_BYTES + 1)).is_err());
    }

    #[test]
    fn devices_are_told_from_what_keeps_nothing() {
        let at = |path: &str| Place::top().join(path).unwrap();
        assert!(at("/dev/null").keeps_nothing() && at("/dev/../dev/./null").keeps_nothing() && at("/dev/fd/3").keeps_nothing());
        assert!(at("/dev/sda").is_device() && at("/dev/disk/by-id/x").is_device() && !at("/dev/shm/x").is_device() && !at("/srv/dev/x").is_device());
    }
}
