//! What the end-to-end tests stand on: a real PostgreSQL as the target, the real `countersign` binary in front of it, and
//! real clients on the other side. Nothing here knows the product's crates: it types what people type.

pub mod authority;
pub mod browser;
pub mod canaries;
pub mod clients;
pub mod disk;
pub mod gateway;
pub mod issuer;
pub mod keycloak;
pub mod lock;
pub mod machine;
pub mod openbao;
pub mod postgres;
pub mod provider;
pub mod sshd;
pub mod tls;
pub mod valve;
pub mod wire;
