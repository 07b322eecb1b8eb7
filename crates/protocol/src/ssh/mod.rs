//! What is spoken inside SSH's channels and is not the transport's: SFTP.

pub mod sftp;
