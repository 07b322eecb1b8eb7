//! Canaries: values that stand in one cell of a database each and are recognised wherever they turn up. With them statements of a grammar's and of
//! sqlsmith's making are asked through the gateway, and everything that comes back is searched.

pub mod grammar;
pub mod random;
pub mod relay;
pub mod schema;
pub mod search;
