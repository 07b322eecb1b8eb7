"""Userauth and connection packets of SSH, sent and received one by one: paramiko has the transport and nothing above it."""

import os
import queue
import socket

import paramiko
from paramiko.message import Message

HOST = "127.0.0.1"
PORT = int(os.environ["COUNTERSIGN_TEST_SSH_PORT"])
TOKEN = os.environ["COUNTERSIGN_TEST_SSH_TOKEN"].strip()

SERVICE_REQUEST, SERVICE_ACCEPT = 5, 6
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
USERAUTH_INFO_REQUEST, USERAUTH_INFO_RESPONSE = 60, 61
PATIENCE = 20


class Wire:
    """A connection after its key exchange. Whatever comes is kept, by its number, until it is asked for."""

    def __init__(self):
        self.transport = paramiko.Transport(socket.create_connection((HOST, PORT)))
        self.heard = queue.Queue()
        self._handler_table = {number: self._hear(number) for number in list(range(5, 7)) + list(range(50, 62)) + list(range(80, 101))}
        self.transport.start_client(timeout=PATIENCE)
        self.transport.auth_handler = self
        own = {number: handler for number, handler in self.transport._handler_table.items() if number < 80}
        self.transport._handler_table = {**own, **{number: self._handler_table[number] for number in range(80, 101)}}
        self.transport._channel_handler_table = {}
        self.send(SERVICE_REQUEST, b"ssh-userauth")
        self.expect(SERVICE_ACCEPT)

    def _hear(self, number):
        return lambda *arguments: self.heard.put((number, arguments[-1]))

    def is_authenticated(self):
        return True

    def abort(self):
        self.heard.put((None, None))

    def send(self, number, *parts):
        message = Message()
        message.add_byte(bytes([number]))
        for part in parts:
            if isinstance(part, bool):
                message.add_boolean(part)
            elif isinstance(part, int):
                message.add_int(part)
            else:
                message.add_string(part)
        self.transport._send_message(message)

    def next(self):
        return self.heard.get(timeout=PATIENCE)

    def expect(self, number):
        got, message = self.next()
        assert got == number, f"{got} came, and not {number}"
        return message

    def begin_interactive(self, user):
        self.send(USERAUTH_REQUEST, user, "ssh-connection", "keyboard-interactive", "", "")
        return self.prompt(self.expect(USERAUTH_INFO_REQUEST))

    def answer(self, *answers):
        self.send(USERAUTH_INFO_RESPONSE, len(answers), *answers)
        return self.next()

    @staticmethod
    def prompt(message):
        message.get_text(), message.get_text(), message.get_text()
        return message.get_text() if message.get_int() else ""

    def sign_in(self, user):
        self.begin_interactive(user)
        number, _ = self.answer(TOKEN)
        assert number == USERAUTH_SUCCESS, number
        return self

    def open_session(self, number=0):
        self.send(CHANNEL_OPEN, "session", number, 1 << 20, 1 << 15)
        while True:
            got, message = self.next()
            assert got is not None, "the connection is over"
            if got == CHANNEL_OPEN_CONFIRMATION and message.get_int() == number:
                return message.get_int()

    def request(self, channel, kind, *parts):
        self.send(CHANNEL_REQUEST, channel, kind, True, *parts)

    def lives(self):
        """Whether it still answers: a global request that nobody knows is refused."""
        self.send(GLOBAL_REQUEST, "nothing@example.com", True)
        return self.answered() == REQUEST_FAILURE

    def answered(self):
        """How the last global request was answered; nothing if the connection is over."""
        while True:
            number, _ = self.next()
            if number in (None, REQUEST_SUCCESS, REQUEST_FAILURE):
                return number


GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
CHANNEL_OPEN, CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE, CHANNEL_WINDOW_ADJUST = 90, 91, 92, 93
CHANNEL_DATA, CHANNEL_EOF, CHANNEL_CLOSE, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = 94, 96, 97, 98, 99, 100
