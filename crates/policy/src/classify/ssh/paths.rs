//! Paths as policies name them: absolute or from the home directory, without `.`, `..` and empty parts.

use model::Object;

/// How many parts a path may have; a longer one is not understood.
pub(super) const MAX_PARTS: usize = 64;

/// How long a path may be, in bytes: what Linux takes at once (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

/// How many directories a command may be in at once, as far as that is told apart.
const MAX_PLACES: usize = 4;

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

    /// Whether what is read there is not kept there: it comes from a device or an open descriptor.
    pub(super) fn is_passed_on(&self) -> bool {
        let name = self.name();
        (name.starts_with("/dev/") && !name.starts_with("/dev/shm/")) || name.starts_with("/proc/")
    }

    /// Whether it is another device: writing there can destroy what a disk holds.
    pub(super) fn is_device(&self) -> bool {
        let name = self.name();
        name.starts_with("/dev/") && !["/dev/shm/", "/dev/pts/"].iter().any(|harmless| name.starts_with(harmless)) && !self.keeps_nothing()
    }
}

/// Where a command may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    known: Vec<Place>,
    /// It may be anywhere.
    unknown: bool,
}

impl Places {
    /// In the home directory, where every session begins.
    pub(super) fn home() -> Self {
        Self { known: vec![Place::home()], unknown: false }
    }

    /// Anywhere.
    pub(super) const fn unknown() -> Self {
        Self { known: vec![], unknown: true }
    }

    /// Nowhere: what comes next does not run.
    pub(super) const fn nowhere() -> Self {
        Self { known: vec![], unknown: false }
    }

    /// Here or there.
    pub(super) fn or(&self, other: &Self) -> Self {
        let mut known = self.known.clone();
        known.extend(other.known.iter().filter(|place| !self.known.contains(place)).cloned());
        if self.unknown || other.unknown || known.len() > MAX_PLACES { Self::unknown() } else { Self { known, unknown: false } }
    }

    /// What a path may name here.
    pub(super) fn join(&self, path: &str) -> Result<Vec<Place>, Untold> {
        if path.starts_with('/') {
            return Place::top().join(path).map(|place| vec![place]);
        }
        if self.unknown {
            return Err("the directory that a path begins in is not known");
        }
        self.known.iter().map(|place| place.join(path)).collect()
    }

    /// Exactly at these.
    pub(super) const fn at(known: Vec<Place>) -> Self {
        Self { known, unknown: false }
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
    fn too_many_places_are_anywhere() {
        let mut places = Places::home();
        for name in ["/a", "/b", "/c"] {
            places = places.or(&Places::at(places.join(name).unwrap()));
        }
        assert_eq!(places.join("x").unwrap().len(), 4);
        let places = places.or(&Places::at(places.join("/d").unwrap()));
        assert!(places.join("x").is_err() && places.join("/x").is_ok());
    }

    #[test]
    fn devices_are_told_from_what_keeps_nothing() {
        let at = |path: &str| Place::top().join(path).unwrap();
        assert!(at("/dev/null").keeps_nothing() && at("/dev/../dev/./null").keeps_nothing() && at("/dev/fd/3").keeps_nothing());
        assert!(at("/dev/sda").is_device() && at("/dev/disk/by-id/x").is_device() && !at("/dev/shm/x").is_device() && !at("/srv/dev/x").is_device());
    }
}
