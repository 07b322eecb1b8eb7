//! Conversations with a scripted target, word by word, and random ones with a model of PostgreSQL.

mod golden;
mod model;
mod random;
