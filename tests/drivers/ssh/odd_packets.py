"""Packets that no client sends, from somebody who is signed in. Each time a connection of somebody else's must still be served."""

import sys

from wire import *

user = f"alice+{sys.argv[1]}"


def others_are_served():
    wire = Wire().sign_in(user)
    channel = wire.open_session()
    wire.request(channel, "exec", "echo fine")
    heard = b""
    while True:
        number, message = wire.next()
        assert number is not None, "nothing is served any more"
        if number == CHANNEL_DATA:
            message.get_int()
            heard += message.get_string()
        if number == CHANNEL_CLOSE:
            break
    assert heard == b"fine\n", heard


# SSH-036: a channel is for one command. What would begin another is refused, and the first goes on.
wire = Wire().sign_in(user)
channel = wire.open_session()
wire.request(channel, "shell")
wire.expect(CHANNEL_SUCCESS)
for kind, parts in (("exec", ["id"]), ("shell", []), ("subsystem", ["sftp"]), ("pty-req", ["xterm", 80, 24, 0, 0, ""]), ("env", ["A", "b"])):
    wire.request(channel, kind, *parts)
    while True:
        number, _ = wire.next()
        if number in (CHANNEL_SUCCESS, CHANNEL_FAILURE):
            break
    assert number == CHANNEL_FAILURE, kind
others_are_served()

# SSH-030, and channels of no kind that is known: each is refused.
wire = Wire().sign_in(user)
for kind, parts in (("tun@openssh.com", [1, 0]), ("x11", ["127.0.0.1", 1]), ("auth-agent@openssh.com", []), ("nonsense", [])):
    wire.send(CHANNEL_OPEN, kind, 0, 1 << 20, 1 << 15, *parts)
    assert wire.expect(CHANNEL_OPEN_FAILURE).get_int() == 0, kind
# SSH-028: listening on the machine is not permitted, on any address.
for address, port in (("", 0), ("0.0.0.0", 0), ("127.0.0.1", 2222), ("localhost", 22)):
    wire.send(GLOBAL_REQUEST, "tcpip-forward", True, address, port)
    assert wire.answered() == REQUEST_FAILURE, address
wire.send(GLOBAL_REQUEST, "streamlocal-forward@openssh.com", True, "/tmp/socket")
assert wire.answered() == REQUEST_FAILURE
assert wire.lives()

# SSH-11: messages at the wrong time, for channels that are not there, and windows that overflow.
for odd in (
    lambda wire, channel: wire.send(CHANNEL_OPEN_CONFIRMATION, 77, 0, 1, 1),
    lambda wire, channel: wire.send(CHANNEL_OPEN_FAILURE, 77, 1, "no", ""),
    lambda wire, channel: wire.send(CHANNEL_SUCCESS, 77),
    lambda wire, channel: wire.send(CHANNEL_SUCCESS, channel),
    lambda wire, channel: wire.send(CHANNEL_FAILURE, channel),
    lambda wire, channel: wire.send(CHANNEL_DATA, 99, "nobody's"),
    lambda wire, channel: wire.send(CHANNEL_DATA, channel, "before anything was asked"),
    lambda wire, channel: [wire.send(CHANNEL_WINDOW_ADJUST, channel, 0xFFFFFFFF) for _ in range(3)],
    lambda wire, channel: [wire.send(CHANNEL_EOF, channel) for _ in range(3)],
    lambda wire, channel: [wire.send(CHANNEL_CLOSE, channel) for _ in range(3)],
    lambda wire, channel: wire.send(CHANNEL_REQUEST, channel, "exit-status", False, 0),
    lambda wire, channel: wire.request(channel, "exec"),  # nothing behind it
    lambda wire, channel: wire.request(channel, "pty-req", "xterm", 80, 24, 0, 0, "\x01\x00"),
    lambda wire, channel: wire.request(channel, "window-change", 80),
    lambda wire, channel: wire.send(GLOBAL_REQUEST, "tcpip-forward", True, "x"),
    lambda wire, channel: wire.send(USERAUTH_REQUEST, "bob", "ssh-connection", "none"),
    lambda wire, channel: wire.send(61, 1, "an answer to nothing"),
    lambda wire, channel: wire.send(SERVICE_REQUEST, "ssh-userauth"),
):
    wire = Wire().sign_in(user)
    odd(wire, wire.open_session())
others_are_served()

# A window of nothing: what would be said waits, and holds up nobody.
wire = Wire().sign_in(user)
wire.send(CHANNEL_OPEN, "session", 5, 0, 1 << 15)
message = wire.expect(CHANNEL_OPEN_CONFIRMATION)
message.get_int()
stalled = message.get_int()
wire.request(stalled, "exec", "head -c 10000000 /dev/zero")
other = wire.open_session(6)
wire.request(other, "exec", "echo fine")
heard = b""
while b"fine" not in heard:
    number, message = wire.next()
    if number == CHANNEL_DATA:
        assert message.get_int() == 6
        heard += message.get_string()

# SSH-044: a packet longer than any may be ends its connection and no other; so does one of many channels too many, in good order.
wire = Wire().sign_in(user)
channel = wire.open_session()
try:
    wire.send(CHANNEL_DATA, channel, b"x" * 300_000)
    wire.lives()
except Exception:
    pass
others_are_served()
wire = Wire().sign_in(user)
opened = refused = 0
for number in range(10_000):
    wire.send(CHANNEL_OPEN, "session", number, 1 << 15, 1 << 15)
while opened + refused < 10_000:
    number, _ = wire.next()
    assert number is not None, "the connection ended"
    opened += number == CHANNEL_OPEN_CONFIRMATION
    refused += number == CHANNEL_OPEN_FAILURE
assert (opened, refused) == (64, 9_936), (opened, refused)
others_are_served()
print("as it should be")
