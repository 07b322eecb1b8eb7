"""Requests without end on a channel that nobody takes anything of: its command waits for a signature. Prints how many bytes were taken of them."""

import queue
import sys
import threading

from wire import *

user, command = f"alice+{sys.argv[1]}", sys.argv[2]
AT_MOST = 100_000_000
QUIET = 3

wire = Wire().sign_in(user)
channel = wire.open_session()
wire.request(channel, "exec", command)
wire.expect(CHANNEL_SUCCESS)

sent = queue.Queue()


def flood():
    value = "x" * 30_000
    for _ in range(AT_MOST // len(value)):
        wire.send(CHANNEL_REQUEST, channel, "env", False, "LC_ALL", value)
        sent.put(len(value))


threading.Thread(target=flood, daemon=True).start()
total = 0
try:
    while total < AT_MOST - 30_000:
        total += sent.get(timeout=QUIET)
except queue.Empty:
    pass
print(total)
