//! Operations of the SFTP subsystem.

use model::{Action, Facts};

use super::{
    found::Found,
    paths::{Place, Untold},
};

/// A path as the client gave it and, where the gateway could resolve it at the target, as it really is: both count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePath<'a> {
    /// As given; a relative one is from the home directory.
    pub given: &'a [u8],
    /// Without links, absolute.
    pub resolved: Option<&'a [u8]>,
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOperation<'a> {
    /// A file is opened.
    Open {
        /// Which.
        path: FilePath<'a>,
        /// To be read.
        read: bool,
        /// To be written, appended to, made or emptied.
        write: bool,
        /// What is in it is dropped first.
        truncate: bool,
    },
    /// A directory is listed.
    List(FilePath<'a>),
    /// Attributes or the target of a link are asked for.
    Look(FilePath<'a>),
    /// Attributes are set.
    Change(FilePath<'a>),
    /// A directory is made.
    Make(FilePath<'a>),
    /// A file is removed.
    Remove(FilePath<'a>),
    /// A directory is removed.
    RemoveDirectory(FilePath<'a>),
    /// A file or directory gets another name.
    Rename {
        /// What it was.
        from: FilePath<'a>,
        /// What it will be.
        to: FilePath<'a>,
        /// What is there already is replaced.
        replaces: bool,
    },
    /// A link is made.
    Link {
        /// What it leads to; that of a symbolic link, where it is relative, is from the link's own directory.
        target: FilePath<'a>,
        /// Where it is made.
        at: FilePath<'a>,
        /// It holds a path, not the file.
        symbolic: bool,
    },
    /// Content is copied within the target.
    Copy {
        /// From here.
        from: FilePath<'a>,
        /// To here.
        to: FilePath<'a>,
    },
    /// An extension that is not known.
    Extended(&'a str),
}

/// What a file operation means.
#[must_use]
pub fn file(operation: &FileOperation<'_>) -> Facts {
    let mut found = Found::of(kind(operation));
    found.statements = 1;
    if let Err(why) = asked(operation, &mut found) {
        found.doubt(why);
    }
    found.into_facts()
}

const fn kind(operation: &FileOperation<'_>) -> &'static str {
    match operation {
        FileOperation::Open { .. } => "open",
        FileOperation::List(_) => "list",
        FileOperation::Look(_) => "stat",
        FileOperation::Change(_) => "setstat",
        FileOperation::Make(_) => "mkdir",
        FileOperation::Remove(_) => "remove",
        FileOperation::RemoveDirectory(_) => "rmdir",
        FileOperation::Rename { .. } => "rename",
        FileOperation::Link { symbolic: true, .. } => "symlink",
        FileOperation::Link { symbolic: false, .. } => "link",
        FileOperation::Copy { .. } => "copy",
        FileOperation::Extended(_) => "extended",
    }
}

fn asked(operation: &FileOperation<'_>, found: &mut Found) -> Result<(), Untold> {
    use Action::{Destroy, Read, Write};
    match operation {
        FileOperation::Open { path, read, write, truncate } => {
            let written = *write || *truncate;
            touch(path, if written { &[Write] } else { &[] }, found)?;
            touch(path, if *read || !written { &[Read] } else { &[] }, found)
        }
        FileOperation::List(path) | FileOperation::Look(path) => touch(path, &[Read], found),
        FileOperation::Change(path) | FileOperation::Make(path) => touch(path, &[Write], found),
        FileOperation::Remove(path) | FileOperation::RemoveDirectory(path) => touch(path, &[Destroy], found),
        // What was protected under one name can be read under the other.
        FileOperation::Rename { from, to, replaces: _ } => {
            touch(from, &[Read, Write], found)?;
            touch(to, &[Write], found)
        }
        FileOperation::Link { target, at, symbolic } => {
            touch(at, &[Write], found)?;
            let from = if *symbolic { Place::home().join_bytes(at.given)?.directory()? } else { Place::home() };
            touch_from(&from, target, &[Read, Write], found)
        }
        FileOperation::Copy { from, to } => {
            touch(from, &[Read], found)?;
            touch(to, &[Write], found)
        }
        FileOperation::Extended(_) => Err("the extension is not known"),
    }
}

fn touch(path: &FilePath<'_>, actions: &[Action], found: &mut Found) -> Result<(), Untold> {
    touch_from(&Place::home(), path, actions, found)
}

fn touch_from(directory: &Place, path: &FilePath<'_>, actions: &[Action], found: &mut Found) -> Result<(), Untold> {
    let places = [Some(directory.join_bytes(path.given)?), path.resolved.map(|path| Place::home().join_bytes(path)).transpose()?];
    for place in places.iter().flatten() {
        for action in actions {
            let action = if *action == Action::Write && place.is_device() { Action::Destroy } else { *action };
            found.pair(action, place.object());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(path: &str) -> FilePath<'_> {
        FilePath { given: path.as_bytes(), resolved: None }
    }

    fn asks(operation: &FileOperation<'_>) -> String {
        let facts = file(operation);
        let pairs: Vec<_> = facts.pairs.iter().map(ToString::to_string).collect();
        format!("{}: {}", facts.kinds[0], pairs.join(", "))
    }

    fn open(path: &str, read: bool, write: bool, truncate: bool) -> FileOperation<'_> {
        FileOperation::Open { path: given(path), read, write, truncate }
    }

    #[test]
    fn each_operation_is_an_action_on_its_path() {
        for (operation, expected) in [
            (open("/a", true, false, false), "open: read on /a"),
            (open("a", false, true, false), "open: write on ~/a"),
            (open("/a", true, true, true), "open: read on /a, write on /a"),
            (open("/a", false, false, true), "open: write on /a"),
            (open("/a", false, false, false), "open: read on /a"),
            (open("/dev/sda", false, true, false), "open: destroy on /dev/sda"),
            (FileOperation::List(given(".")), "list: read on ~"),
            (FileOperation::Look(given("/a/../b")), "stat: read on /b"),
            (FileOperation::Change(given("/a")), "setstat: write on /a"),
            (FileOperation::Make(given("/a")), "mkdir: write on /a"),
            (FileOperation::Remove(given("/a")), "remove: destroy on /a"),
            (FileOperation::RemoveDirectory(given("/a")), "rmdir: destroy on /a"),
            (FileOperation::Rename { from: given("/a"), to: given("/b"), replaces: true }, "rename: read on /a, write on /a, write on /b"),
            (FileOperation::Copy { from: given("/a"), to: given("b") }, "copy: read on /a, write on ~/b"),
            (
                FileOperation::Link { target: given("../x"), at: given("/a/b/c"), symbolic: true },
                "symlink: read on /a/x, write on /a/b/c, write on /a/x",
            ),
            (FileOperation::Link { target: given("x"), at: given("/a"), symbolic: false }, "link: read on ~/x, write on /a, write on ~/x"),
        ] {
            assert_eq!(asks(&operation), expected);
        }
    }

    #[test]
    fn where_links_lead_counts_beside_the_name() {
        let path = FilePath { given: b"link/x", resolved: Some(b"/etc/x") };
        assert_eq!(asks(&FileOperation::Remove(path)), "remove: destroy on /etc/x, destroy on ~/link/x");
        let unreadable = FilePath { given: b"x", resolved: Some(b"/\xff") };
        assert!(file(&FileOperation::Remove(unreadable)).asks(Action::Unreadable));
    }

    #[test]
    fn paths_that_are_not_understood_and_unknown_extensions_are_unreadable() {
        for path in ["../x", "a\0b", "a/../../b", &"a/".repeat(65)] {
            assert!(file(&FileOperation::Look(given(path))).asks(Action::Unreadable), "{path:?}");
        }
        assert!(file(&FileOperation::Look(FilePath { given: b"\xff", resolved: None })).asks(Action::Unreadable));
        assert_eq!(asks(&FileOperation::Extended("users-groups-by-id@openssh.com")), "extended: unreadable on the connection");
        let climbing = FileOperation::Link { target: given("../../x"), at: given("a/b"), symbolic: true };
        assert!(file(&climbing).asks(Action::Unreadable));
    }
}
