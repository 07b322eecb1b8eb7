use super::*;

/// What a text is, for comparison: words in brackets, what is not certain as `?`, globs as `*`, the home directory as `~`.
fn shown(text: &str) -> String {
    read(text, 0).map_or_else(|why| format!("refused: {why}"), |script| script_shown(&script))
}

fn script_shown(script: &Script) -> String {
    let item = |item: &AndOr| {
        let mut out = pipeline_shown(&item.first);
        for (join, pipeline) in &item.rest {
            out += if *join == Join::And { " && " } else { " || " };
            out += &pipeline_shown(pipeline);
        }
        out + if item.background { " &" } else { "" }
    };
    script.items.iter().map(item).collect::<Vec<_>>().join("; ")
}

fn pipeline_shown(pipeline: &Pipeline) -> String {
    let commands: Vec<_> = pipeline.commands.iter().map(command_shown).collect();
    format!("{}{}", if pipeline.negated { "! " } else { "" }, commands.join(" | "))
}

fn command_shown(command: &Command) -> String {
    let words = |words: &[Word]| words.iter().map(word_shown).collect::<Vec<_>>().join("");
    let mut out = match &command.body {
        Body::Simple(simple) => {
            let assigned = simple.assignments.iter().map(|a| format!("{}={}", a.name, word_shown(&a.value))).collect::<Vec<_>>();
            assigned.join(" ") + &words(&simple.words)
        }
        Body::Group(script) => format!("{{ {} }}", script_shown(script)),
        Body::Subshell(script) => format!("( {} )", script_shown(script)),
        Body::If(branches, otherwise) => {
            let branches: Vec<_> = branches.iter().map(|(test, then)| format!("{}: {}", script_shown(test), script_shown(then))).collect();
            format!("if {} else {}", branches.join(" elif "), otherwise.as_ref().map(script_shown).unwrap_or_default())
        }
        Body::Loop(test, body) => format!("while {}: {}", script_shown(test), script_shown(body)),
        Body::For(name, over, body) => format!("for {name} in {}: {}", words(over), script_shown(body)),
        Body::Case(word, arms) => {
            let arms: Vec<_> = arms.iter().map(|(patterns, script)| format!("{}: {}", words(patterns), script_shown(script))).collect();
            format!("case {} {}", word_shown(word), arms.join(" "))
        }
    };
    for redirect in &command.redirects {
        let document = redirect.document.as_ref().and_then(|document| document.get());
        out += &format!(" {:?}{}", redirect.kind, word_shown(document.unwrap_or(&redirect.target)));
    }
    out
}

fn word_shown(word: &Word) -> String {
    let pieces = word.pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Home => "~",
        Piece::Glob => "*",
        Piece::Dynamic => "?",
    });
    let runs: String = word.runs.iter().map(|script| format!("«{}»", script_shown(script))).collect();
    format!("[{}{runs}]", pieces.collect::<String>())
}

#[test]
fn words_are_what_all_shells_make_of_them() {
    for (text, expected) in [
        ("rm -rf /srv/data", "[rm][-rf][/srv/data]"),
        (r#"r""m '-r'f "a b"c\ d"#, "[rm][-rf][a bc d]"),
        (r#"echo "a\"b\$c\d" 'a\b'"#, r#"[echo][a"b$c\d][a\b]"#),
        ("echo ''", "[echo][]"),
        ("a \\\n b", "[a][b]"),
        ("a \"b\\\nc\"", "[a][bc]"),
        ("a # b\nc", "[a]; [c]"),
        ("a#b", "[a#b]"),
        ("ls ~ ~/x ~bob/x a~ '~'", "[ls][~][~/x][?bob/x][a~][~]"),
        ("ls *.c a? [ab]", "[ls][*.c][a*][*ab]]"),
        ("ls $x ${x} \"$x\" $1 ${x:-y} $? $$", "[ls][?][?][?][?][?][?][?]"),
        ("ls $HOME/x \"${HOME}\"/y", "[ls][~/x][~/y]"),
        ("IFS=/; ls $HOME/x \"$HOME/x\"", "IFS=[/]; [ls][?/x][~/x]"),
        ("ls {a,b} {1..3} {a} {} x{", "[ls][{a?b}][{1.?3}][{a}][{}][x{]"),
        ("ls =x a=b", "[ls][=x?][a=b]"),
        ("ls $'a' $\"b\"", "[ls][?a][?b]"),
        ("echo $ a$ \"$\"", "[echo][$][a$][$]"),
        ("[ -f x ]", "[[][-f][x][]]"),
        ("[[ -f $x ]]", "[[[][-f][?][]]]"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn substitutions_are_commands_and_plain_echoes_are_what_they_print() {
    for (text, expected) in [
        ("echo $(rm x)", "[echo][?«[rm][x]»]"),
        ("echo \"`rm \\`ls\\``\"", "[echo][?«[rm][?«[ls]»]»]"),
        ("mkdir -p \"` echo ~/.ansible/tmp `\"", "[mkdir][-p][~/.ansible/tmp«[echo][~/.ansible/tmp]»]"),
        ("a $(echo b)", "[a][b«[echo][b]»]"),
        ("a $(echo -n) $(echo 'b c') $(echo b c) $(echo b >c)", "[a][?«[echo][-n]»][?«[echo][b c]»][?«[echo][b][c]»][?«[echo][b] Write[c]»]"),
        ("diff <(a) <(b)", "[diff][/dev/fd/63«[a]»][/dev/fd/63«[b]»]"),
        ("echo $((1 + 2)) \"$(( (3) ))\"", "[echo][?][?]"),
        ("echo ${x:-$(rm y)}", "[echo][?«[rm][y]»]"),
        ("echo \"$(echo \"$(rm x)\")\"", "[echo][?«[echo][?«[rm][x]»]»]"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn commands_are_joined_nested_and_redirected() {
    for (text, expected) in [
        ("a && b || c; d & e\nf", "[a] && [b] || [c]; [d] &; [e]; [f]"),
        ("! a | b |& c", "! [a] | [b] | [c]"),
        ("{ a; b; } >x; (c)", "{ [a]; [b] } Write[x]; ( [c] )"),
        ("if a; then b; elif c; then d; else e; fi", "if [a]: [b] elif [c]: [d] else [e]"),
        ("while read -r x; do echo $x; done <f", "while [read][-r][x]: [echo][?] Read[f]"),
        ("for x in a \"$b\"; do c; done", "for x in [a][?]: [c]"),
        ("case $x in a|b) c ;; (*) d; esac", "case [?] [a][b]: [c] [*]: [d]"),
        ("A=b C='d e' f", "A=[b] C=[d e][f]"),
        ("a >b 2>&1 <c 3<>d >>e >|f", "[a] Write[b] Duplicate[1] Read[c] ReadWrite[d] Write[e] Write[f]"),
        ("a >&b &>/dev/null", "[a] Write[b] Write[/dev/null]"),
        ("cat <<E <<'F'\na $b\nE\n$c\nF\nd", "[cat] Text[a ?\n] Text[$c\n]; [d]"),
        ("sh <<-E\n\tls\n\tE", "[sh] Text[ls\n]"),
        ("cat <<<'x y'", "[cat] Text[x y]"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn what_shells_read_differently_is_refused() {
    for text in [
        "echo }",
        "echo {",
        "f() { rm x; }",
        "function f { rm x; }",
        "((x))",
        "echo $((x))",
        "echo $[1]",
        "echo \"$[1]\"",
        "echo ${x@P}",
        "echo ${!x}",
        "echo ${x:=y}",
        "echo ${x[0]}",
        "echo ${x/a/b}",
        "echo ${ rm x;}",
        "echo $x[1]",
        "echo $+x",
        "echo $'a\\'b'",
        "a >!b",
        "a &!b",
        "a &|b",
        "a &>b c",
        "11>x",
        "a=(b)",
        "coproc a",
        "select x in a; do b; done",
        "repeat 3 rm x",
        "noglob rm x",
        "[[ a > b ]]",
        "[[ a && b ]]",
        "PA\\\nTH=x ls",
        "a &\\\n& b",
        "é\\; ls",
        "\"é\\\"; ls; \"",
        "a\u{a0}b",
        "a\rb",
        "a\u{b}b",
        "ls *(e:'rm x':)",
        "cat <<$x\na\n$x",
        "cat <<E \"\n\"\nE\n",
        "cat <<E $(ls\n)\nE\n",
        "cat <<E\na\\\nE\nE\n",
        "time (a)",
        "\"`echo \"a\"`\"",
        "if a; then fi",
        "a ;; b",
        ")",
        "a )",
        "(",
        "(a",
        "a |",
        "a &&",
        "&& a",
        "'a",
        "\"a",
        "`a",
        "$(a",
        "a \\",
        "<<E",
        "cat <<E\n",
        ">",
        "a >",
        "{ }",
        "i\\\nf a",
        "a\0b",
        "for x in a & b; do c; done",
        "case x in ) a;; esac",
        "a ; ; b",
        "a & ; b",
        ">x if a; then b; fi",
    ] {
        assert!(shown(text).starts_with("refused"), "{text:?}: {}", shown(text));
    }
}

#[test]
fn depth_is_bounded_and_work_is_of_the_length() {
    for shape in ["(", "{ ", "$(", "\"$(", "${a:-", "if ", "while ", "case $(", "<(", "! ", "$((", "a=$(", "((", "<<E\n$("] {
        for times in [10, 100, 64 << 10] {
            assert!(shown(&shape.repeat(times).chars().take(64 << 10).collect::<String>()).starts_with("refused"), "{shape} {times}");
        }
    }
    let nested = |levels: usize| format!("{}a{}", "( ".repeat(levels), " )".repeat(levels));
    assert!(!shown(&nested(MAX_DEPTH - 1)).starts_with("refused"));
    assert_eq!(shown(&nested(MAX_DEPTH)), "refused: it is nested too deeply");
    let closed = |levels: usize| format!("{}a{}", "\"$(echo ".repeat(levels), ")\"".repeat(levels));
    assert!(!shown(&closed(20)).starts_with("refused"));
}
