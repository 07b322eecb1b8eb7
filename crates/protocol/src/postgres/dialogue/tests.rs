//! Conversations with a scripted target, word by word, the same with something wrong in them, and random ones with a model of PostgreSQL.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
mod model;
#[cfg(test)]
mod random;
pub(crate) mod world;
