//! The store on real files.

mod directory;
mod fixtures;
mod indexed;
mod postgres;
mod register;
mod rows;
mod secrecy;
