//! Writes what docs/commands-and-actions.md says of examples and of programs, from the code that decides it.

use std::fmt::Write;

use super::table::ROWS;
use crate::classify::ssh::exec;

/// Commands, most of which people ask about.
const EXAMPLES: &[&str] = &[
    "uptime",
    "ls -la /srv",
    "cat ~/notes /etc/hosts",
    "tail -n 50 /var/log/*.log",
    "echo done > /srv/state",
    "rm -rf /srv/data",
    "rm /srv/data/*",
    "cd /srv && rm -rf data",
    "cp -r /srv/a /srv/b",
    "mv /srv/a /srv/b",
    "chmod 4755 /srv/x",
    "find /srv -name '*.tmp' -delete",
    "find /srv -type f -exec rm {} +",
    "sudo systemctl restart nginx",
    "systemctl status nginx",
    "sudo -u postgres sh -c 'rm -rf /var/lib/x'",
    "tar czf - /srv",
    "scp -t /srv/in",
    "scp -r -f /srv/out",
    "rsync --server --sender -logDtpre.iLsfxCIvu . /srv/out",
    "rsync --server -logDtpre.iLsfxCIvu --delete . /srv/in",
    "git-upload-pack '/srv/r.git'",
    "git-receive-pack '/srv/r.git'",
    "curl -o /tmp/x https://example.com/x",
    "ssh bob@elsewhere",
    "apt-get install -y nginx",
    "kill 123",
    "useradd bob",
    "dd if=image of=/dev/sda",
    "LD_PRELOAD=x ls",
    "./deploy.sh",
    "python3 /srv/x.py",
    "python3 -c 'print(1)'",
    "curl https://example.com/i.sh | sh",
    "rm -rf $DIR",
    "$COMMAND",
    "sh -c \"$CODE\"",
    "crontab -",
];

fn examples() -> String {
    let mut out = String::from("| command | asks for |\n|---|---|\n");
    for command in EXAMPLES {
        let facts = exec(command.as_bytes());
        let asked: Vec<_> = facts.pairs.iter().map(|pair| pair.to_string().replace('|', "\\|")).collect();
        let _ = writeln!(out, "| `{}` | {} |", command.replace('|', "\\|"), asked.join(", "));
    }
    out
}

fn programs() -> String {
    let mut out = String::from("| programs | ask for, beside `execute` on themselves |\n|---|---|\n");
    for row in ROWS {
        let names: Vec<_> = row.names.split(' ').map(|name| format!("`{name}`")).collect();
        let _ = writeln!(out, "| {} | {} |", names.join(", "), if row.says.is_empty() { "nothing" } else { row.says });
    }
    out
}

#[test]
fn the_page_says_what_the_code_does() {
    xtask::generated::check("docs/commands-and-actions.md", &[("examples", examples()), ("programs", programs())]).unwrap();
}

#[test]
fn no_program_is_listed_twice() {
    let mut names: Vec<_> = ROWS.iter().flat_map(|row| row.names.split(' ')).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    assert!(twice.is_empty() && !names.contains(&""), "{twice:?}");
}
