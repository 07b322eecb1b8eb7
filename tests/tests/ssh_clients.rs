//! The clients that people and their tools have, through the gateway as without it: OpenSSH with everything it multiplexes and forwards, rsync, git, Ansible, paramiko and asyncssh.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{python, script},
    machine::{MACHINE, Scene, text, to},
    sshd::Sshd,
};
use serde_json::Value;

/// Everything, by its names.
const POLICY: &str = "permit (principal, action, resource);\npermit (principal, action == Action::\"unreadable\", resource);\n";
/// A file that passes every window and every rekeying many times.
const LARGE: u64 = 1 << 30;

/// A scene in which everything is permitted, and a key of alice's.
fn scene() -> Result<(Scene, PathBuf)> {
    let machine = Sshd::start(None)?;
    let connection = machine.connection(&format!("key = {{ file = {:?} }}", machine.key()))?;
    let scene = Scene::with(machine, &connection, POLICY, "")?;
    let key = scene.key("alice", &["ed25519"])?;
    scene.gateway.run("alice", &["ssh-key", "add", &format!("{}.pub", key.display())])?;
    Ok((scene, key))
}

/// `ssh` with alice's key, as a command line that other programs start.
fn command_line(scene: &Scene, key: &Path) -> Result<String> {
    Ok(format!("ssh {} -o IdentitiesOnly=yes -o BatchMode=yes -i {}", scene.options()?.join(" "), key.display()))
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    Ok(output)
}

fn is_same(one: &Path, other: &Path) -> Result<()> {
    run(Command::new("diff").arg("-r").args([one, other])).map(drop)
}

/// The sessions there are.
fn sessions(scene: &Scene) -> Result<usize> {
    let listed = scene.gateway.json("alice", &["sessions"])?;
    Ok(listed.pointer("/sessions").and_then(Value::as_array).context("no sessions")?.len())
}

#[test]
fn rsync_makes_two_trees_the_same_both_ways() -> Result<()> {
    let (scene, key) = scene()?;
    let (here, there, back) = (scene.file("here"), scene.file("there"), scene.file("back"));
    for number in 0..200 {
        let folder = here.join(format!("folder {}", number % 7));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file {number}")), format!("{number}\n").repeat(number * 50))?;
    }
    fs::create_dir(&there)?;
    fs::write(there.join("old"), "goes")?;
    let rsync = |from: &str, into: &str| run(Command::new("rsync").args(["-az", "--delete", "-e", &command_line(&scene, &key)?, from, into]));
    rsync(&format!("{}/", here.display()), &format!("{}:{}/", to("alice"), there.display()))?;
    is_same(&here, &there)?;
    rsync(&format!("{}:{}/", to("alice"), there.display()), &format!("{}/", back.display()))?;
    is_same(&here, &back)?;
    ensure!(scene.told("rsync --server")?.contains("exit 0"));
    Ok(())
}

#[test]
fn git_clones_and_pushes() -> Result<()> {
    let (scene, key) = scene()?;
    let (bare, work) = (scene.file("repository.git"), scene.file("work"));
    let git = |arguments: &[&str]| -> Result<Output> {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=alice", "-c", "user.email=alice@example.com", "-c", "init.defaultBranch=main"]).args(arguments);
        run(git.env("GIT_SSH_COMMAND", command_line(&scene, &key)?).env("GIT_CONFIG_NOSYSTEM", "1"))
    };
    git(&["init", "-q", "--bare", &bare.display().to_string()])?;
    let remote = format!("{}:{}", to("alice"), bare.display());
    git(&["clone", "-q", &remote, &work.display().to_string()])?;
    let there = work.display().to_string();
    for number in 0..3 {
        fs::write(work.join("file"), format!("{number}\n").repeat(100_000))?;
        git(&["-C", &there, "add", "."])?;
        git(&["-C", &there, "commit", "-qm", &format!("commit {number}")])?;
    }
    git(&["-C", &there, "push", "-q", "origin", "main"])?;
    let again = scene.file("again");
    git(&["clone", "-q", &remote, &again.display().to_string()])?;
    ensure!(fs::read(work.join("file"))? == fs::read(again.join("file"))?);
    let log = |folder: &Path| git(&["-C", &folder.display().to_string(), "log", "--format=%H"]).map(|output| output.stdout);
    ensure!(log(&work)? == log(&again)? && log(&work)? == log(&bare)?);
    ensure!(scene.told("git-receive-pack")?.contains("exit 0"));
    Ok(())
}

#[test]
fn many_commands_share_one_connection_and_one_session() -> Result<()> {
    let (scene, key) = scene()?;
    let socket = scene.file("master");
    let shared = |arguments: &[&str]| -> Result<Command> {
        let mut ssh = scene.by_key("ssh", &key)?;
        ssh.arg("-S").arg(&socket).args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]).args(arguments);
        Ok(ssh)
    };
    // The first one begins the connection and leaves it.
    let first = shared(&[&to("alice"), "echo first"])?.stderr(Stdio::null()).output()?;
    ensure!(text(&first.stdout) == "first\n", "{first:?}");
    let running: Vec<_> = (0..24)
        .map(|number| {
            let command = format!("head -c 200000 /dev/zero | wc -c; echo {number}; exit {number}");
            let mut ssh = shared(&[&to("alice"), &command])?;
            Ok((number, ssh.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?))
        })
        .collect::<Result<_>>()?;
    for (number, child) in running {
        let ran = child.wait_with_output()?;
        ensure!(
            ran.status.code() == Some(number) && text(&ran.stdout) == format!("200000\n{number}\n"),
            "{number}: {ran:?} {}",
            scene.told(&format!("echo {number};"))?
        );
    }
    run(shared(&["-O", "exit", &to("alice")])?.stderr(Stdio::null()))?;
    ensure!(sessions(&scene)? == 1, "each of them has a session of its own");
    Ok(())
}

/// A channel that nobody reads keeps what it would get, and the others go on.
#[test]
fn one_that_is_not_read_holds_up_no_other() -> Result<()> {
    let (scene, key) = scene()?;
    let socket = scene.file("master");
    let shared = |command: &str| -> Result<Command> {
        let mut ssh = scene.by_key("ssh", &key)?;
        ssh.arg("-S").arg(&socket).args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60", &to("alice"), command]);
        ssh.stderr(Stdio::null());
        Ok(ssh)
    };
    ensure!(shared("true")?.output()?.status.success());
    let before = resident(scene.gateway.pid())?;
    let mut unread = shared("head -c 1073741824 /dev/zero")?.stdout(Stdio::piped()).spawn()?;
    let mut output = unread.stdout.take().context("no output")?;
    let mut first = [0; 1];
    output.read_exact(&mut first)?;
    for number in 0..10 {
        let ran = shared(&format!("echo {number}; head -c 3000000 /dev/zero | wc -c"))?.output()?;
        ensure!(text(&ran.stdout) == format!("{number}\n3000000\n"), "{ran:?}");
    }
    let grown = resident(scene.gateway.pid())?.saturating_sub(before);
    ensure!(grown < 64 << 10, "it keeps {grown} KiB of what nobody reads");
    unread.kill()?;
    unread.wait()?;
    run(scene.by_key("ssh", &key)?.arg("-S").arg(&socket).args(["-O", "exit", &to("alice")]).stderr(Stdio::null()))?;
    Ok(())
}

/// The memory of a process, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

/// With new keys every few megabytes, and compressed, all of a file passes both ways.
#[test]
fn a_large_file_arrives_whole_both_ways() -> Result<()> {
    let (scene, key) = scene()?;
    let (sent, there, back) = (scene.file("sent"), scene.file("there"), scene.file("back"));
    // Random enough for every window, made fast: a stream cipher over nothing.
    let made = format!("openssl enc -aes-128-ctr -pass pass:x -nosalt -pbkdf2 < /dev/zero 2> /dev/null | head -c {LARGE} > {}", sent.display());
    run(Command::new("sh").args(["-c", &made]))?;
    let digest = |file: &Path| -> Result<String> {
        let printed = text(&run(Command::new("sha256sum").arg(file))?.stdout);
        Ok(printed.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let remote = format!("{}:{}", to("alice"), there.display());
    run(scene.by_key("scp", &key)?.args(["-q", "-s"]).arg(&sent).arg(&remote))?;
    let expected = digest(&sent)?;
    ensure!(fs::metadata(&there)?.len() == LARGE && digest(&there)? == expected);
    fs::remove_file(&sent)?;
    run(scene.by_key("scp", &key)?.args(["-q", "-O", "-o", "RekeyLimit=64M"]).arg(&remote).arg(&back))?;
    ensure!(digest(&back)? == expected);
    ensure!(scene.told(&format!("wrote {LARGE} bytes"))?.contains(&expected), "the recording does not have its digest");
    // Compressed, with new keys every megabyte.
    let ran = scene.by_key("ssh", &key)?.args(["-C", "-o", "RekeyLimit=1M", &to("alice"), "yes 'some text' | head -c 50000000"]).output()?;
    ensure!(ran.status.success() && ran.stdout.len() == 50_000_000, "{} bytes", ran.stdout.len());
    Ok(())
}

/// Answers each connection with what it was sent, in capitals, until it ends.
fn echo() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || -> Result<()> {
                let mut lines = BufReader::new(stream.try_clone()?);
                let mut line = String::new();
                while lines.read_line(&mut line)? > 0 {
                    (&stream).write_all(line.to_uppercase().as_bytes())?;
                    line.clear();
                }
                Ok(())
            });
        }
    });
    Ok(port)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[test]
fn ports_and_sockets_are_forwarded() -> Result<()> {
    let (scene, key) = scene()?;
    let (target, local, socks, socket) = (echo()?, free_port()?, free_port()?, scene.file("socket"));
    let mut ssh = scene.by_key("ssh", &key)?;
    ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-L", &format!("127.0.0.1:{local}:127.0.0.1:{target}"), "-D", &format!("127.0.0.1:{socks}")]);
    ssh.arg("-L").arg(format!("{}:127.0.0.1:{target}", socket.display())).arg(to("alice"));
    let mut forwarding = ssh.spawn()?;
    let mut stream = countersign_tests::machine::until("a forwarded port", || Ok(TcpStream::connect(("127.0.0.1", local)).ok()))?;
    let said = |stream: &mut TcpStream, word: &str| -> Result<String> {
        writeln!(stream, "{word}")?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        Ok(line)
    };
    ensure!(said(&mut stream, "one")? == "ONE\n" && said(&mut stream, "two")? == "TWO\n");
    drop(stream);
    // RFC 1928: no authentication, then CONNECT to an IPv4 address.
    let mut stream = TcpStream::connect(("127.0.0.1", socks))?;
    stream.write_all(&[5, 1, 0])?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer)?;
    let port = target.to_be_bytes();
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, port[0], port[1]])?;
    let mut granted = [0; 10];
    stream.read_exact(&mut granted)?;
    ensure!(granted[1] == 0 && said(&mut stream, "by socks")? == "BY SOCKS\n", "{granted:?}");
    drop(stream);
    let mut stream = std::os::unix::net::UnixStream::connect(&socket)?;
    writeln!(stream, "by socket")?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    ensure!(line == "BY SOCKET\n", "{line}");
    drop(stream);
    forwarding.kill()?;
    forwarding.wait()?;
    let story = scene.told(&format!("a connection to 127.0.0.1:{target}"))?;
    ensure!(story.contains("8 bytes there, 8 bytes back"), "{story}");
    Ok(())
}

#[test]
fn a_batch_of_sftp_does_all_that_it_says() -> Result<()> {
    let (scene, key) = scene()?;
    let there = scene.file("there");
    fs::create_dir(&there)?;
    fs::write(scene.file("local"), "content\n")?;
    let batch = format!(
        "cd {there}\nput {local} one\nmkdir folder\nrename one folder/two\nsymlink {there}/folder/two link\nchmod 640 folder/two\nls -l\nget link {got}\nrm link\nrm folder/two\nrmdir folder\nput {local} left\n",
        there = there.display(),
        local = scene.file("local").display(),
        got = scene.file("got").display()
    );
    fs::write(scene.file("batch"), batch)?;
    run(scene.by_key("sftp", &key)?.arg("-b").arg(scene.file("batch")).arg(to("alice")))?;
    ensure!(fs::read_to_string(scene.file("got"))? == "content\n");
    let left: Vec<_> = fs::read_dir(&there)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(left == ["left"], "{left:?}");
    let story = scene.told("rename")?;
    for said in ["make directory", "remove ", "remove directory", "make symbolic link", "change attributes"] {
        ensure!(story.contains(said), "{said}: {story}");
    }
    Ok(())
}

#[test]
fn a_playbook_of_ansible_changes_what_it_says_and_then_nothing_more() -> Result<()> {
    let (scene, key) = scene()?;
    let there = scene.file("there");
    let mut inventory = format!("{MACHINE} ansible_host=127.0.0.1 ansible_port={} ansible_user=alice+{MACHINE}", scene.port()?);
    inventory += &format!(" ansible_ssh_private_key_file={} ansible_python_interpreter=/usr/bin/python3\n", key.display());
    fs::write(scene.file("inventory"), inventory)?;
    let playbook = python()?.with_file_name("ansible-playbook");
    let play = || -> Result<String> {
        let mut ansible = Command::new(&playbook);
        ansible.arg("-i").arg(scene.file("inventory")).arg("-e").arg(format!("there={}", there.display())).arg(script("ssh/playbook.yml"));
        let common = format!(
            "-F none -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={} -o IdentitiesOnly=yes",
            scene.file("known_hosts").display()
        );
        ansible
            .env("ANSIBLE_SSH_COMMON_ARGS", common)
            .env("ANSIBLE_HOME", scene.file("ansible"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("LC_ALL", "C.UTF-8");
        ansible.env("ANSIBLE_SSH_CONTROL_PATH_DIR", scene.client.path().join("c")).env("ANSIBLE_LOCALHOST_WARNING", "False");
        Ok(text(&run(&mut ansible)?.stdout))
    };
    let first = play()?;
    ensure!(first.contains("changed=4") && first.contains("failed=0"), "{first}");
    ensure!(fs::read_to_string(there.join("copied"))? == "copied to web1\n" && fs::read_to_string(there.join("ran"))?.starts_with("Linux"));
    let again = play()?;
    ensure!(again.contains("changed=0") && again.contains("failed=0"), "{again}");
    Ok(())
}

#[test]
fn paramiko_runs_commands_shells_files_and_tunnels() -> Result<()> {
    let (scene, _) = scene()?;
    let port = echo()?.to_string();
    let folder = scene.file("there");
    fs::create_dir(&folder)?;
    let printed = scene.python("with_paramiko.py", &[MACHINE, &folder.display().to_string(), &port])?;
    ensure!(printed.contains("as it should be"), "{printed}");
    Ok(())
}

#[test]
fn asyncssh_runs_many_things_at_once_on_one_connection() -> Result<()> {
    let (scene, _) = scene()?;
    let folder = scene.file("there");
    fs::create_dir(&folder)?;
    let printed = scene.python("with_asyncssh.py", &[MACHINE, &folder.display().to_string()])?;
    ensure!(printed.contains("as it should be") && sessions(&scene)? == 1, "{printed}");
    Ok(())
}
