"""Keyboard-interactive sign-ins whose caller changes its name half way."""

import sys

from wire import TOKEN, USERAUTH_FAILURE, USERAUTH_INFO_REQUEST, USERAUTH_SUCCESS, Wire

machine = sys.argv[1]
alice, bob = f"alice+{machine}", f"bob+{machine}"

wire = Wire()
assert wire.begin_interactive(alice).startswith("Token or password")
number, message = wire.answer("no password")
assert number == USERAUTH_INFO_REQUEST and "Code of your authenticator" in wire.prompt(message)
asked = wire.begin_interactive(bob)
assert asked.startswith("Token or password"), f"bob is asked what alice was: {asked}"
number, _ = wire.answer(TOKEN)
assert number == USERAUTH_INFO_REQUEST, "bob came in with alice's token"
assert wire.answer()[0] == USERAUTH_FAILURE, "he was only to hear why not"
asked = wire.begin_interactive(alice)
assert asked.startswith("Token or password"), f"she is where she left off: {asked}"
number, _ = wire.answer(TOKEN)
assert number == USERAUTH_SUCCESS, number

# An answer to what nobody was asked, and one too many, are refused as any other.
wire = Wire()
wire.send(61, 1, TOKEN)
assert wire.next()[0] == USERAUTH_FAILURE
wire.begin_interactive(bob)
assert wire.answer()[0] == USERAUTH_FAILURE
print("as it should be")
