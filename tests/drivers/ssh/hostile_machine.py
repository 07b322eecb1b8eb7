"""A machine that lets everybody in, and opens to its callers whatever it can. `attack` does, and tells how many channels of each kind were taken. `early` and `flood` are
spoken before they are granted, and who asks it to listen at `silent` is not answered."""

import json
import socket
import sys
import threading

import paramiko
from paramiko.message import Message

CHANNEL_OPEN, CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE = 90, 91, 92
PATIENCE = 60
TIMES = 5000

listening = []


class Answers:
    """Counts what becomes of channels that were asked for."""

    def __init__(self, transport):
        self.transport, self.changed = transport, threading.Condition()
        self.taken = self.refused = 0
        transport._handler_table = {**transport._handler_table, CHANNEL_OPEN_CONFIRMATION: self._taken, CHANNEL_OPEN_FAILURE: self._refused}

    def _taken(self, *_):
        with self.changed:
            self.taken += 1
            self.changed.notify_all()

    def _refused(self, *_):
        with self.changed:
            self.refused += 1
            self.changed.notify_all()

    def open(self, times, kind, *parts):
        before = self.taken
        wanted = self.taken + self.refused + times
        for number in range(times):
            message = Message()
            message.add_byte(bytes([CHANNEL_OPEN]))
            for part in (kind, 100_000 + number, 1 << 20, 1 << 15, *parts):
                message.add_int(part) if isinstance(part, int) else message.add_string(part)
            self.transport._send_user_message(message)
        with self.changed:
            assert self.changed.wait_for(lambda: self.taken + self.refused >= wanted, PATIENCE), f"{kind}: {self.taken} and {self.refused} of {wanted}"
            return self.taken - before


def attack(other):
    transport, address, port = listening[0]
    answers, others = Answers(transport), Answers(other)
    unwanted = {
        "another port": ("forwarded-tcpip", address, port + 1, "127.0.0.1", 1),
        "another address": ("forwarded-tcpip", "0.0.0.0", port, "127.0.0.1", 1),
        "a socket": ("forwarded-streamlocal@openssh.com", "/tmp/socket", ""),
        "the agent": ("auth-agent@openssh.com",),
        "the display": ("x11", "127.0.0.1", 1),
        "a session": ("session",),
        "a port": ("direct-tcpip", "localhost", 22, "127.0.0.1", 1),
        "their socket": ("direct-streamlocal@openssh.com", "/tmp/socket", "", 0),
        "nonsense": ("nonsense",),
    }
    wanted = ("forwarded-tcpip", address, port, "127.0.0.1", 1)
    found = {name: answers.open(20, *parts) for name, parts in unwanted.items()}
    found["where nothing was asked for"] = sum(others.open(20, *parts) for parts in [*unwanted.values(), wanted])
    found["wanted"] = answers.open(TIMES, *wanted)
    return found


class Machine(paramiko.ServerInterface):
    def __init__(self, transport):
        self.transport = transport

    def get_allowed_auths(self, username):
        return "publickey,password"

    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL if password == "pässword of the machine" else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_port_forward_request(self, address, port):
        if address == "silent":
            threading.Event().wait()
        listening.append((self.transport, address, port or 2222))
        return port or 2222

    def check_channel_exec_request(self, channel, command):
        # What is said here goes out before the answer.
        if command == b"early":
            channel.sendall(b"before: ann@example")
            channel.sendall_stderr(b"an error before\n")
            channel.sendall(b".com\n")
        if command == b"flood":
            channel.sendall(b"x" * (300 << 10))
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel, command):
        # It is answered that the command runs behind this thread's start: its caller's input comes after that.
        while channel.recv(1024):
            pass
        try:
            said = json.dumps(attack(self.transport)) if command == "attack" else command
        except Exception as error:
            said = repr(error)
        channel.sendall(said + "\n")
        channel.send_exit_status(0)
        channel.close()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
key = paramiko.Ed25519Key.from_private_key_file(sys.argv[1])
kept = []
while True:
    stream, _ = listener.accept()
    transport = paramiko.Transport(stream)
    transport.add_server_key(key)
    transport.start_server(server=Machine(transport), event=threading.Event())
    kept.append(transport)
