//! Telling the supervisor how it stands, if there is one that asks: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>.

use std::{
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It listens.
    Ready,
    /// It lets sessions end.
    Stopping,
}

/// Tells the supervisor, if this process was started by one that waits for it.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "the supervisor could not be told how the gateway stands");
    }
}

fn send(socket: &OsStr, state: State) -> std::io::Result<()> {
    let text: &[u8] = match state {
        State::Ready => b"READY=1\n",
        State::Stopping => b"STOPPING=1\n",
    };
    // A name that begins with `@` is none of the file system.
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_a_path_and_at_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("countersign-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (listener, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ] {
            send(&socket, State::Ready).unwrap();
            send(&socket, State::Stopping).unwrap();
            let mut buffer = [0; 64];
            for expected in ["READY=1\n", "STOPPING=1\n"] {
                let read = listener.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..read], expected.as_bytes());
            }
        }
    }
}
