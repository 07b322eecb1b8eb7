//! The store on real files.

mod directory;
mod fixtures;
mod indexed;
mod register;
mod rows;
mod secrecy;
