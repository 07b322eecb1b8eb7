//! How a session begins, on each side: who the caller is, and how the gateway signs in at the target.
//!
//! Both sides are driven alike: give [`caller::CallerLogin::receive`] or [`target::TargetLogin::receive`] whatever has arrived, write what it appended
//! to `out`, then do what it returned. It takes whole messages off the front of `input` and leaves the rest.

pub mod caller;
pub mod scram;
pub mod startup;
pub mod target;

#[cfg(test)]
mod tests;
