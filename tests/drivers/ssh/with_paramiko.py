"""What paramiko's users do: commands, a shell with a terminal, files, a tunnel."""

import os
import socket
import stat
import sys
import time

import paramiko

machine, folder, echo_port = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    "127.0.0.1",
    port=int(os.environ["COUNTERSIGN_TEST_SSH_PORT"]),
    username=f"alice+{machine}",
    password=os.environ["COUNTERSIGN_TEST_SSH_TOKEN"].strip(),
    look_for_keys=False,
    allow_agent=False,
)

stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 5")
stdin.write("typed")
stdin.channel.shutdown_write()
assert stdout.read() == b"typed" and stderr.read() == b"err\n" and stdout.channel.recv_exit_status() == 5

# A megabyte each way at once.
stdin, stdout, stderr = client.exec_command("cat")
content = os.urandom(1 << 20)
stdin.write(content)
stdin.channel.shutdown_write()
assert stdout.read() == content

shell = client.invoke_shell(term="xterm", width=81, height=25)
shell.settimeout(20)
heard = b""


def wait_for(text):
    global heard
    while text not in heard:
        piece = shell.recv(4096)
        assert piece, heard
        heard += piece


shell.send("PS1=; stty size\n")
wait_for(b"25 81")
shell.resize_pty(width=100, height=40)
shell.send("stty size; exit 3\n")
wait_for(b"40 100")
assert shell.recv_exit_status() == 3

sftp = client.open_sftp()
path = f"{folder}/file"
with sftp.open(path, "wb") as file:
    file.set_pipelined(True)
    for _ in range(64):
        file.write(content[: 1 << 14])
assert sftp.stat(path).st_size == 64 << 14
with sftp.open(path, "rb") as file:
    file.seek(1 << 14)
    assert file.read(1 << 14) == content[: 1 << 14]
sftp.chmod(path, 0o600)
sftp.rename(path, f"{folder}/renamed")
sftp.posix_rename(f"{folder}/renamed", path)
sftp.symlink(path, f"{folder}/link")
assert sftp.readlink(f"{folder}/link") == path and stat.S_ISLNK(sftp.lstat(f"{folder}/link").st_mode)
assert sorted(sftp.listdir(folder)) == ["file", "link"]
assert sftp.normalize(f"{folder}/link") == os.path.realpath(path)
sftp.remove(f"{folder}/link")
sftp.truncate(path, 5)
assert sftp.stat(path).st_size == 5
try:
    sftp.stat(f"{folder}/nothing")
    raise AssertionError("there is something")
except FileNotFoundError:
    pass
sftp.close()

tunnel = client.get_transport().open_channel("direct-tcpip", ("127.0.0.1", echo_port), ("127.0.0.1", 1))
tunnel.sendall(b"through\n")
assert tunnel.recv(100) == b"THROUGH\n"
tunnel.close()

# A second command on the same channel is refused, and the first goes on.
channel = client.get_transport().open_session()
channel.exec_command("sleep 0.2; echo first")
try:
    channel.exec_command("echo second")
    raise AssertionError("a channel ran two commands")
except paramiko.SSHException:
    pass
client.close()
print("as it should be")
