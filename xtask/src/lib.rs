//! Developer tasks, and the scratch PostgreSQL that the demo and the end-to-end tests share.
//!
//! Depends on the standard library alone, so that it builds on a machine that has nothing but the Rust toolchain:
//! installing the rest is its first job.

pub mod bench;
pub mod canaries;
pub mod command;
pub mod compare;
pub mod demo;
pub mod fuzz;
pub mod generated;
pub mod install;
mod json;
pub mod kept;
pub mod postgres;
pub mod test;
pub mod tidy;

/// What a task ends with when it fails: a sentence for the terminal.
pub type Outcome<T> = Result<T, String>;
