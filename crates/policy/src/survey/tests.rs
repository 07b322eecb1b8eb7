use super::*;
use crate::fixtures;

fn tally(values: &[&str], documents: bool, name: &str) -> Tally {
    let (detectors, mut tally) = (Detectors::new(Entity::ALL), Tally::default());
    for value in values {
        if documents {
            tally.take_document(&detectors, Hints::of([name]), value);
        } else {
            tally.take(&detectors, Hints::of([name]), value);
        }
    }
    tally
}

/// What is said of a column, a line each: list, class, path, counts.
fn judged(values: &[&str], documents: bool, name: &str) -> Vec<String> {
    let version = fixtures::load("");
    let mut report = Report::of(&fixtures::connection(), "shop", 500, &version);
    let place = |path| ("public".to_owned(), "t".to_owned(), name.to_owned(), path);
    report.judge(&tally(values, documents, name), Hints::of([name]), place);
    report.sort();
    let lists = [("proposed", &report.proposed), ("within", &report.within), ("named", &report.named)];
    let line = |list: &str, it: &Evidence| {
        let path = it.path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
        format!("{list} {}{path} {}+{}/{} {}", it.class, it.whole, it.within, it.values, it.named)
    };
    lists.into_iter().flat_map(|(list, all)| all.iter().map(move |it| line(list, it))).collect()
}

#[test]
fn a_column_is_proposed_for_what_most_of_its_values_are() {
    let addresses = ["ann@example.com", "Bob Lee <bob.lee@example.com>", "", "eve@example.org"];
    assert_eq!(judged(&addresses, false, "contact"), ["proposed email 3+0/4 false"]);
    assert_eq!(judged(&["write to ann@example.com about the order of last week", "nothing", "no"], false, "body"), ["within email 0+1/3 false"]);
    assert_eq!(judged(&["4111111111111111", "5500005555555559", "340000000000009"], false, "number"), ["proposed card 3+0/3 false"]);
    assert_eq!(judged(&[], false, "email"), ["named email 0+0/0 true"]);
    let lists = ["{ann@example.com,bob@example.com}", "{}", "{eve@example.com}", "{eve@example.com,x}", "{bob@example.org}"];
    assert_eq!(judged(&lists, false, "addresses"), ["proposed email 4+0/5 false"]);
    assert_eq!(judged(&lists[..3], false, "addresses"), ["within email 2+0/3 false"], "three values are worth little");
    assert_eq!(judged(&["plain", "words"], false, "title"), Vec::<String>::new());
}

#[test]
fn documents_are_told_by_the_place_in_them() {
    let documents = [
        r#"{"contacts": [{"email": "ann@example.com", "n": 1}, {"email": "bob@example.com"}], "note": "x"}"#,
        r#"{"contacts": [{"email": "eve@example.com"}], "a\"b": "eve@example.com"}"#,
        "no document",
    ];
    assert_eq!(judged(&documents, true, "profile"), ["proposed email $.contacts.email 3+0/3 true"]);
    // What cannot be told apart or named is said to be left out.
    assert_eq!(tally(&documents, true, "profile").untold(), 1);
    let many: String = (0..1_100).map(|number| format!("\"m{number}\":1,")).collect();
    assert_eq!(tally(&[&format!("{{{many}\"last\":1}}")], true, "profile").untold(), 101);
}

#[test]
fn what_is_proposed_can_be_read_back() {
    let version = fixtures::load_files(&fixtures::files(""));
    let mut report = Report::of(&fixtures::connection(), "shop", 500, &version);
    let evidence = |class: &str, table: &str, path: Option<&str>| Evidence {
        class: class.to_owned(),
        schema: "public".to_owned(),
        table: table.to_owned(),
        column: "c".to_owned(),
        path: path.map(|path| path.parse().unwrap()),
        values: 10,
        whole: 9,
        checked: 9,
        within: 1,
        at_least_percent: 55,
        named: true,
    };
    report.proposed =
        vec![evidence("email", "people", None), evidence("email", "a.\"b\"\n", Some("$.x.\"y z\"")), evidence("date-of-birth", "people", None)];
    report.within = vec![evidence("card", "evil\n[x]", None)];
    report.not_sampled = vec![NotSampled { table: "t".to_owned(), why: "because\nof".to_owned() }];
    let text = report.toml();
    let mut files = fixtures::files("");
    files.insert("data-classes.toml".to_owned(), text.clone());
    let read = fixtures::load_files(&files);
    let classes: Vec<String> = read.classes.iter().map(|class| format!("{} {}", class.name, class.columns.len())).collect();
    assert_eq!(classes, ["date-of-birth 1", "email 2"], "{text}");
    let odd = read.classes.iter().flat_map(|class| &class.columns).find(|column| column.path.is_some()).unwrap();
    assert_eq!((odd.table.as_str(), odd.connection.as_ref().map(ToString::to_string).as_deref()), ("a.\"b\"\n", Some("prod-pg")));
    // A class that is there is told in comments alone: two tables of one name would be no file.
    report.classes = vec!["email".to_owned()];
    let text = report.toml();
    assert!(text.contains("# [email] is there already") && !text.contains("\n[email]"), "{text}");
}
