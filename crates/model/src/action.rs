//! The actions every protocol's operations are translated into. They are disjoint: an operation that does two things
//! yields two pairs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name people type, and the id of the Cedar `Action` entity.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownAction;
            fn from_str(text: &str) -> Result<Self, UnknownAction> {
                Self::ALL.iter().copied().find(|a| a.as_str() == text).ok_or(UnknownAction)
            }
        }
    };
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such action")]
pub struct UnknownAction;

actions! {
    /// What an operation does to an object. `countersign explain-statement` shows them.
    Action {
        /// Open the session; transaction control, pure built-ins, harmless settings need nothing more.
        Connect = "connect",
        /// Read rows or metadata.
        Read = "read",
        /// Change rows, with a restriction on which.
        Write = "write",
        /// Remove an object or rows without a restriction.
        Destroy = "destroy",
        /// Make or alter an object.
        Define = "define",
        /// Change who may do what, or act as another role.
        Privilege = "privilege",
        /// Run code somebody defined.
        Execute = "execute",
        /// Read in bulk.
        Export = "export",
        /// Leave the target: files, programs, the network.
        Escape = "escape",
        /// Change a setting that alters meaning or protection.
        Configure = "configure",
        /// Use a classified column in a predicate, join, order, group or aggregate.
        Filter = "filter",
        /// See values of a data class unmasked. Never denies the operation: not permitted means masked.
        Reveal = "reveal",
        /// Whatever was not fully understood.
        Unreadable = "unreadable",
        /// Ask for a role of the connection for a while: of people, beside the operations. A policy that names no action does not permit it.
        Request = "request",
    }
}

actions! {
    /// What may be done to Countersign itself; the resource is `System`.
    SystemAction {
        /// Manage identities, tokens of others, policy versions.
        Administer = "administer",
        /// Sign held operations.
        Approve = "approve",
        /// Read recordings and listings of others.
        Audit = "audit",
        /// Revoke tokens and identities, end sessions.
        Revoke = "revoke",
    }
}
