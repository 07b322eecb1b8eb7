"""Many things at once on one connection, by asyncssh."""

import asyncio
import os
import sys

import asyncssh

machine, folder = sys.argv[1], sys.argv[2]


async def command(connection, number):
    result = await connection.run(f"head -c {number * 1000} /dev/zero | wc -c; exit {number % 7}")
    assert (result.stdout, result.exit_status) == (f"{number * 1000}\n", number % 7), result


async def files(connection, number):
    async with connection.start_sftp_client() as sftp:
        content = os.urandom(200_000)
        path = f"{folder}/file{number}"
        async with sftp.open(path, "wb") as file:
            await file.write(content)
        async with sftp.open(path, "rb") as file:
            assert await file.read() == content
        await sftp.remove(path)


async def main():
    connection = await asyncssh.connect(
        "127.0.0.1",
        port=int(os.environ["COUNTERSIGN_TEST_SSH_PORT"]),
        username=f"alice+{machine}",
        password=os.environ["COUNTERSIGN_TEST_SSH_TOKEN"].strip(),
        known_hosts=None,
        client_keys=None,
        config=None,
        agent_path=None,
        preferred_auth="password",
    )
    async with connection:
        await asyncio.gather(*(command(connection, number) for number in range(40)), *(files(connection, number) for number in range(8)))
        # The signal that something ends by.
        result = await connection.run("kill -TERM $$")
        assert result.exit_signal is not None and result.exit_signal[0] == "TERM", result.exit_signal
        # A terminal, and what is typed into it.
        async with connection.create_process(term_type="xterm", term_size=(90, 30)) as process:
            process.stdin.write("PS1=; stty size; exit\n")
            assert "30 90" in await process.stdout.read()
    print("as it should be")


asyncio.run(asyncio.wait_for(main(), 60))
