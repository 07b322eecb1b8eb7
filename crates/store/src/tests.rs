//! The store on real files.

mod accounts;
mod copied;
mod directory;
mod fixtures;
mod indexed;
mod keys;
mod links;
mod owners;
mod postgres;
mod providers;
mod register;
mod requested;
mod rows;
mod searched;
mod secrecy;
