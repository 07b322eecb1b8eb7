//! The programs that are known, and what each does with its arguments. docs/commands-and-actions.md is made of this.

use model::Action::{self, Configure, Define, Destroy, Privilege, Read, Write};

use super::{Call, archives, builtins, files, find as finding, git, interpreters, network, services, transfers, wrappers};
use crate::classify::ssh::command::{After, Walk};

/// What is known of some programs.
#[derive(Debug)]
pub(super) struct Row {
    /// Their names, a blank between them.
    pub(super) names: &'static str,
    /// How their arguments are read.
    pub(super) how: How,
    /// What they ask for beside `execute` on themselves, for people.
    #[cfg_attr(not(test), allow(dead_code, reason = "the documentation is made of it, by a test"))]
    pub(super) says: &'static str,
}

/// How arguments are read.
#[derive(Debug)]
pub(super) enum How {
    /// Whatever they are, the program does nothing more.
    Anything,
    /// By a list of options, and one meaning of operands.
    Plain(Plain),
    /// By code of its own.
    Special(fn(&mut Walk<'_>, &Call<'_>) -> After),
    /// They are not: the program runs what they say, or the rest of the command means something else after it.
    Refused(&'static str),
}

/// A program that only does something to its operands.
#[derive(Debug)]
pub(super) struct Plain {
    /// As `options` reads them.
    pub(super) options: &'static str,
    /// What it does to what it governs.
    pub(super) does: &'static [Action],
    pub(super) operands: Operands,
}

/// What operands are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operands {
    /// No paths.
    NoPaths,
    /// Paths to which this is done.
    Each(&'static [Action]),
    /// As before; with none, the directory it runs in.
    EachOrHere(&'static [Action]),
    /// The first is no path.
    AfterFirst(&'static [Action]),
    /// The last is where the others go.
    Copies(&'static [Action], &'static [Action]),
}

const fn row(names: &'static str, says: &'static str, how: How) -> Row {
    Row { names, how, says }
}

const fn plain(names: &'static str, says: &'static str, options: &'static str, operands: Operands) -> Row {
    row(names, says, How::Plain(Plain { options, does: &[], operands }))
}

const fn does(names: &'static str, says: &'static str, does: &'static [Action]) -> Row {
    // What it governs has no path, and its options only say how.
    row(names, says, How::Plain(Plain { options: ANY_OPTIONS, does, operands: Operands::NoPaths }))
}

const fn special(names: &'static str, says: &'static str, read: fn(&mut Walk<'_>, &Call<'_>) -> After) -> Row {
    row(names, says, How::Special(read))
}

/// Stands for all options.
pub(super) const ANY_OPTIONS: &str = "any";

const RUNS_OTHERS: &str = "it runs another program in a way that is not followed";
const CODE_LATER: &str = "it hands over code that runs later";
const CHANGES_MEANING: &str = "what comes after it may mean something else";
const COMPUTES: &str = "it computes, which can run code";

use Operands::{AfterFirst, Copies, Each, EachOrHere, NoPaths};

/// All of them.
pub(super) const ROWS: &[Row] = &[
    // Nothing more, whatever the arguments.
    row(
        ": true false echo sleep wait jobs pwd umask times whoami id groups logname tty uname arch nproc uptime who w users last lastlog free vmstat iostat ps pgrep pidof hostid getconf locale basename dirname seq yes expr cal ncal tput clear reset which type factor lscpu lsblk lsusb lspci lsmod lsof netstat mpstat pstree getent nologin",
        "",
        How::Anything,
    ),
    special("exit", "", builtins::exit),
    special("return logout break continue shift ulimit", "", builtins::count),
    special("cd chdir pushd", "where relative paths begin from here on", builtins::change_directory),
    special("popd", "where relative paths begin from here on", builtins::back),
    special("export readonly", "`configure` on the connection, for variables that count", builtins::export),
    special("unset read", "`configure` on the connection, for variables that count", builtins::name_variables),
    special("set", "", builtins::set),
    special("test [ [[", "", builtins::test),
    special("printf print", "", builtins::printf),
    special("trap", "what the code it is given asks for", builtins::trap),
    special("eval", "what the text it is given asks for", builtins::eval),
    special("exec", "what the program it is given asks for", builtins::exec),
    special("command", "what the program it is given asks for", builtins::command),
    special("source .", "`execute` on the file, as a program", builtins::source),
    row(
        "- alias unalias shopt setopt unsetopt emulate enable disable autoload zmodload hash bind complete compgen declare typeset local integer float getopts mapfile readarray builtin fc history r zparseopts zstyle nameref",
        "`unreadable`",
        How::Refused(CHANGES_MEANING),
    ),
    row("let", "`unreadable`", How::Refused(COMPUTES)),
    // Reading.
    plain(
        "cat tac rev nl",
        "`read` on each file",
        "-A -b -e -E -n -s -t -T -u -v --show-all --number --number-nonblank --squeeze-blank --show-ends --show-tabs --show-nonprinting -w: -s: -l: -i: *",
        Each(&[Read]),
    ),
    plain(
        "head tail",
        "`read` on each file",
        "-n: -c: -q -v -z -f -F -r -s: --lines: --bytes: --quiet --silent --verbose --follow? --retry --pid: --max-unchanged-stats: --sleep-interval: -# *",
        Each(&[Read]),
    ),
    special("less more", "`read` on each file; what is typed into it is not decided on", files::pager),
    plain(
        "wc md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum",
        "`read` on each file",
        "-c -l -m -w -L -b -t -z -a: --lines --words --bytes --chars --check --quiet --status --strict --warn --ignore-missing --tag --binary --text *",
        Each(&[Read]),
    ),
    plain(
        "join",
        "`read` on each file",
        "-1: -2: -j: -t: -a: -v: -e: -o: -i -z --header --ignore-case --check-order --nocheck-order --zero-terminated",
        Each(&[Read]),
    ),
    plain(
        "pr",
        "`read` on each file",
        "-a -c -d -D: -f -F -h: -J -l: -m -N: -o: -r -t -T -v -w: -W: -# --columns: --header: --length: --merge",
        Each(&[Read]),
    ),
    plain(
        "iconv",
        "`read` on each file, `write` with `-o`",
        "-f: -t: -c -s -l -o:w --from-code: --to-code: --list --silent --verbose --output:w",
        Each(&[Read]),
    ),
    plain(
        "cut paste column fold fmt expand unexpand",
        "`read` on each file",
        "-d: -f: -c: -b: -s -t -n -w: -x -o: -N: -z --delimiter: --fields: --characters: --bytes: --output-delimiter: --complement --only-delimited -i",
        Each(&[Read]),
    ),
    special("uniq xxd", "`read` on the first file, `write` on the second", files::in_out),
    plain(
        "cmp comm diff sdiff",
        "`read` on each file",
        "-1 -2 -3 -u -U: -c -C: -r -q -s -i -w -b -B -N -a -y -l -n: --brief --recursive --unified? --context? --new-file --ignore-case --ignore-all-space --ignore-space-change --color? --side-by-side --quiet --silent --exclude: -x: --label: -L:",
        Each(&[Read]),
    ),
    plain("tr", "", "-c -C -d -s -t --delete --squeeze-repeats --complement --truncate-set1", NoPaths),
    plain(
        "od hexdump hd strings",
        "`read` on each file",
        "-a -A: -b -c -C -d -f -h -i -l: -n: -N: -o -p -r -s: -t: -u -v -w: -x -e: -j: --address-radix: --format: --read-bytes: --skip-bytes: --all --bytes:",
        Each(&[Read]),
    ),
    plain(
        "base64 base32 basenc",
        "`read` on each file",
        "-d -D -i -w: --decode --ignore-garbage --wrap: --base64 --base64url --base32 --base16",
        Each(&[Read]),
    ),
    plain("zcat gzcat bzcat xzcat zstdcat lzcat", "`read` on each file", "-f -q -v -c -d -k *", Each(&[Read])),
    plain(
        "ls dir vdir",
        "`read` on each path, or on where it runs",
        "-a -A -b -B -c -C -d -D -f -F -g -G -h -H -i -I: -k -l -L -m -n -N -o -p -q -Q -r -R -s -S -t -T: -u -U -v -w: -x -X -Z -1 --all --almost-all --author --block-size: --color? --directory --full-time --group-directories-first --human-readable --inode --numeric-uid-gid --recursive --reverse --size --sort: --time: --time-style: --classify? --si --zero *",
        EachOrHere(&[Read]),
    ),
    plain(
        "stat file readlink realpath tree namei",
        "`read` on each path",
        "-a -b -c: -d -D -e -f -F -h -i -I: -k -l -L -m -n -N -p -P: -q -s -t -u -z --format: --printf: --dereference --file-system --terse --brief --mime --mime-type --mime-encoding --canonicalize --canonicalize-existing --canonicalize-missing --no-newline --relative-to: --no-symlinks --quiet *",
        EachOrHere(&[Read]),
    ),
    plain(
        "du",
        "`read` on each path, or on where it runs",
        "-0 -a -A -b -B: -c -d: -D -h -H -k -l -L -m -P -s -S -t: -x -X:r --all --apparent-size --block-size: --bytes --total --max-depth: --human-readable --summarize --one-file-system --exclude: --threshold: --time? *",
        EachOrHere(&[Read]),
    ),
    plain(
        "df",
        "",
        "-a -B: -h -H -i -k -l -m -P -t: -T -x: -v --all --block-size: --human-readable --inodes --local --output? --portability --print-type --si --sync --total --type: --exclude-type:",
        NoPaths,
    ),
    special("date", "`define` on the program, with a time to set; `read` on a file", files::date),
    plain(
        "sort",
        "`read` on each file, `write` with `-o`",
        "-b -c -C -d -f -g -h -i -k: -m -M -n -o:w -r -R -s -S: -t: -T:w -u -V -z --check? --field-separator: --human-numeric-sort --ignore-case --key: --numeric-sort --output:w --parallel: --reverse --stable --unique --version-sort --zero-terminated",
        Each(&[Read]),
    ),
    special("grep egrep fgrep zgrep rg", "`read` on each path", files::grep),
    special("find", "`read` on where it begins; `destroy` with `-delete`; what its `-exec` asks for there", finding::find),
    special("awk gawk mawk nawk", "`read` on each file; programs that do more than read are `unreadable`", interpreters::awk),
    special("sed gsed", "`read` on each file, `write` too with `-i`; scripts that do more than edit are `unreadable`", interpreters::sed),
    // Writing and removing.
    special("install", "`read` on what is copied, `write` on where to", files::install),
    plain(
        "cp",
        "`read` on what is copied, `write` on where to",
        "-a -b -d -D -f -H -i -l -L -n -p -P -r -R -s -S: -t: -T -u -v -x -Z -g: -m: -o: -c --archive --backup? --force --interactive --link --dereference --no-dereference --no-clobber --preserve? --no-preserve: --parents --recursive --reflink? --remove-destination --sparse: --symbolic-link --suffix: --target-directory: --no-target-directory --update? --verbose --one-file-system --owner: --group: --mode: --attributes-only",
        Copies(&[Read], &[Write]),
    ),
    plain(
        "mv",
        "`read` and `write` on what is moved, `write` on where to",
        "-b -f -i -n -S: -t: -T -u -v -Z --backup? --force --interactive --no-clobber --no-target-directory --suffix: --target-directory: --update? --verbose",
        Copies(&[Read, Write], &[Write]),
    ),
    special("ln", "`read` and `write` on what is linked to, `write` on the link", files::link),
    plain(
        "rm shred srm",
        "`destroy` on each path",
        "-d -f -i -I -r -R -v -x -z -u -n: -P -s: --force --interactive? --recursive --dir --verbose --one-file-system --preserve-root? --no-preserve-root --iterations: --zero --remove? --exact *",
        Each(&[Destroy]),
    ),
    plain("rmdir unlink", "`destroy` on each path", "-p -v --parents --verbose --ignore-fail-on-non-empty", Each(&[Destroy])),
    plain("mkdir", "`write` on each path", "-p -v -m: -Z --parents --verbose --mode:", Each(&[Write])),
    plain("mkfifo mknod", "`write` on the path", "-m: --mode:", Each(&[Write])),
    plain("mktemp", "`write` on the path", "-d -q -u -t -p:w --directory --quiet --dry-run --tmpdir?w --suffix:", Each(&[Write])),
    plain("touch", "`write` on each path", "-a -c -d: -f -h -m -r:r -t: --no-create --date: --reference:r --time: --no-dereference", Each(&[Write])),
    special("chmod", "`write` on each path; `privilege` too where it sets who a program runs as", files::chmod),
    special("chown chgrp", "`write` on each path", files::owner),
    plain("chattr setfacl", "`privilege` and `write` on each path", "", AfterFirst(&[Privilege, Write])),
    special("truncate", "`destroy` on each path", files::truncate),
    special("dd", "`read` on `if=`, `write` on `of=`, `destroy` where that is a device", files::dd),
    plain(
        "fallocate",
        "`write` on the file",
        "-l: -o: -n -p -c -z -d -i -x -v --length: --offset: --keep-size --punch-hole --collapse-range --zero-range --dig-holes --insert-range --posix --verbose",
        Each(&[Write]),
    ),
    plain("tee", "`write` on each file", "-a -i -p --append --ignore-interrupts --output-error?", Each(&[Write])),
    plain(
        "split csplit",
        "`read` on the file, `write` where it runs",
        "-l: -b: -n: -a: -d --lines: --bytes: --number: --numeric-suffixes",
        EachOrHere(&[Read, Write]),
    ),
    special("tar", "`read` or `write` on what it packs or unpacks; `export` where the archive goes to the caller", archives::tar),
    special("zip", "`read` on what it packs, `write` on the archive", archives::zip),
    special("unzip", "`read` on the archive, `write` where it unpacks to", archives::unzip),
    plain(
        "gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd lzma",
        "`read` and `write` on each file",
        "-1 -2 -3 -4 -5 -6 -7 -8 -9 -c -d -f -k -l -q -r -t -T: -v --stdout --decompress --force --keep --list --quiet --recursive --test --verbose --fast --best --rm --threads:",
        Each(&[Read, Write]),
    ),
    plain(
        "mkfs mkfs.ext2 mkfs.ext3 mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.vfat mkfs.fat mke2fs mkswap wipefs blkdiscard",
        "`destroy` on each device",
        "-a -f -F -q -v -L: -t: -T: -U: -m: -b: -N: -i: -n: --all --force --types: --label:",
        Each(&[Destroy]),
    ),
    does(
        "fdisk sfdisk cfdisk parted gdisk sgdisk pvcreate pvremove vgcreate vgremove lvcreate lvremove lvreduce lvextend vgextend mdadm cryptsetup zpool zfs btrfs",
        "`destroy` on the program",
        &[Destroy],
    ),
    does("mount umount swapon swapoff losetup resize2fs xfs_growfs fsck e2fsck tune2fs", "`define` on the program", &[Define]),
    special("rsync", "`read` and `export` on what it sends, `write` on what it takes (`destroy` with `--delete`)", transfers::rsync),
    special(
        "scp",
        "`read` on what it sends (`export` of directories), `write` on where it puts what it takes; `escape` on other hosts",
        transfers::scp,
    ),
    row(
        "sftp-server internal-sftp",
        "`unreadable`: ask for the subsystem, whose operations are decided one by one",
        How::Refused("file operations in it are not decided one by one"),
    ),
    special(
        "git git-upload-pack git-receive-pack git-upload-archive",
        "`read`, and `export` for what is fetched, `write` for what is pushed, on the repository",
        git::git,
    ),
    // Programs that run others.
    special("sudo", "`privilege` on the program, and what the program it is given asks for", wrappers::sudo),
    special("doas", "`privilege` on the program, and what the program it is given asks for", wrappers::doas),
    special("su runuser", "`privilege` on the program, and what the text it is given asks for", wrappers::su),
    special("env", "what the program it is given asks for; `configure` for variables that count", wrappers::env),
    special("nohup setsid", "what the program it is given asks for", wrappers::nohup),
    special("nice ionice", "what the program it is given asks for", wrappers::nice),
    special("timeout", "what the program it is given asks for", wrappers::timeout),
    special("time", "what the program it is given asks for", wrappers::time),
    special("stdbuf", "what the program it is given asks for", wrappers::stdbuf),
    special("xargs", "what the program it is given asks for, with arguments that are not known", wrappers::xargs),
    special("watch", "what the text it is given asks for", wrappers::watch),
    special("busybox toybox", "what the program it is given asks for", wrappers::busybox),
    special("flock", "what the program it is given asks for, `write` on the lock", wrappers::flock),
    row(
        "parallel chrt dtach abduco reptyr fd fdfind script unbuffer expect chroot unshare nsenter setarch linux32 linux64 i386 x86_64 taskset numactl cpulimit prlimit choom strace ltrace gdb perf valgrind systemd-run start-stop-daemon run-parts pkexec gosu su-exec setpriv capsh chpst softlimit setuidgid envdir dbus-run-session dbus-launch faketime fakeroot eatmydata torsocks torify proxychains proxychains4 rlwrap daemonize screen tmux ld.so ld-linux.so ld-linux-x86-64.so chronic ts sponge pee ifne nsjail bwrap firejail runcon sg newgrp login entr inotifywait xdg-open vi vim view nvim ex ed emacs nano pico joe man info sudoedit vipw vigr sqlite3 ansible ansible-playbook fish csh tcsh rc es nu pwsh elvish xonsh deno bun julia osascript guile racket sbcl clojure scala groovy jshell irb R wish",
        "`unreadable`",
        How::Refused(RUNS_OTHERS),
    ),
    special(
        "sh bash dash ash zsh ksh mksh ksh93 rbash",
        "what the text of `-c` or a document asks for; `execute` on a script's file; `unreadable` where the text is not in the command",
        interpreters::shell,
    ),
    special("python pypy", "`execute` on the script's file; `unreadable` where code is in the command or comes with it", interpreters::python),
    special(
        "perl ruby node nodejs php lua luajit tclsh Rscript",
        "`execute` on the script's file; `unreadable` where code is in the command or comes with it",
        interpreters::script,
    ),
    row("at batch", "`unreadable`", How::Refused(CODE_LATER)),
    special("crontab", "`execute` on the program with `-l`, else `unreadable`", services::crontab),
    // Services, packages, accounts and the network.
    special("systemctl", "`define` on the program; `destroy` for what ends the machine; looking needs nothing more", services::systemctl),
    special("service", "`define` on the program; looking needs nothing more", services::service),
    special("apt apt-get aptitude apt-cache dpkg-query dpkg", "`define` on the program; looking needs nothing more", services::packages),
    special("yum dnf microdnf zypper rpm apk pacman brew snap flatpak", "`define` on the program; looking needs nothing more", services::packages),
    special("pip npm yarn pnpm gem cargo composer", "`define` on the program; looking needs nothing more", services::packages),
    special("docker podman nerdctl kubectl crictl oc helm", "looking needs nothing more; all else is `unreadable`", services::containers),
    row("docker-compose podman-compose npx bunx uvx pipx go", "`unreadable`", How::Refused(RUNS_OTHERS)),
    does("kill pkill killall skill fuser renice", "`write` on the program", &[Write]),
    does("shutdown reboot halt poweroff init telinit kexec", "`destroy` on the program", &[Destroy]),
    does(
        "iptables ip6tables iptables-save iptables-restore ip6tables-restore nft ufw firewall-cmd ip ifconfig route arp tc brctl nmcli ethtool sysctl modprobe insmod rmmod setenforce setsebool update-alternatives ldconfig hostnamectl timedatectl localectl loginctl auditctl",
        "`configure` and `define` on the program",
        &[Configure, Define],
    ),
    does(
        "useradd adduser userdel deluser usermod groupadd addgroup groupdel delgroup groupmod gpasswd passwd chpasswd chage chsh chfn newusers visudo setcap",
        "`privilege` on the program",
        &[Privilege],
    ),
    special("curl", "`escape` on the host of each address; files it reads and writes", network::curl),
    special("wget", "`escape` on the host of each address; `write` where it puts what it fetches", network::wget),
    special("ssh", "`escape` on the host", network::ssh),
    special("nc ncat netcat telnet", "`escape` on the host", network::netcat),
    special("ping ping6 traceroute tracepath mtr dig host nslookup whois", "`escape` on each host", network::names),
    row(
        "socat ssh-copy-id sftp ftp lftp tftp rsh rlogin rexec rcp mosh mosh-server et openvpn wg wg-quick ngrok cloudflared frpc chisel autossh sshuttle stunnel tcpdump tshark nmap",
        "`unreadable`",
        How::Refused("it leads elsewhere in a way that is not followed"),
    ),
    row(
        "pg_dump pg_dumpall pg_restore mysqldump mysqladmin mariadb-dump redis-cli sqlplus",
        "nothing more: what it does at a database is not decided here",
        How::Anything,
    ),
    special(
        "psql",
        "`execute` on a script's file, `write` on where its output goes; `unreadable` with commands of its own; what it does at a database is not decided here",
        interpreters::psql,
    ),
    special("mysql mariadb sqlcmd", "`unreadable` with commands of its own; what it does at a database is not decided here", interpreters::client),
    row("mongo mongosh", "`unreadable`", How::Refused(interpreters::NOT_READ)),
    special("hostname", "`define` on the program, with a name to set", services::hostname),
    plain("ss", "", "-t -u -l -n -p -a -s -4 -6 -x -o -e -i -m -H -r", NoPaths),
    plain(
        "journalctl dmesg",
        "",
        "-u: -n: -f -e -x -b? -k -p: -o: -r -q -T -H -w -l: --unit: --since: --until: --no-pager --lines: --follow --boot? --priority: --output: --reverse --dmesg --user --system --ctime --human --level: --color?",
        NoPaths,
    ),
];

/// What is known of a program, and its name without a version.
pub(super) fn find(program: &str) -> Option<(&'static Row, &str)> {
    let named = |name: &str| ROWS.iter().find(|row| row.names.split(' ').any(|known| known == name));
    if let Some(row) = named(program) {
        return Some((row, program));
    }
    let plain = program.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    named(plain).map(|row| (row, plain)).filter(|_| !plain.is_empty())
}
