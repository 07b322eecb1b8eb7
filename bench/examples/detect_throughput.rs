//! How fast the detectors look through texts of several kinds, all made from one seed.

use std::fmt::Write;
use std::time::Instant;

use policy::detect::{Detectors, Entity, Finding, Hints};

/// Time this process spent on a processor where the system tells it (Linux), so that others on the machine do not count; otherwise by the wall.
struct Clock {
    wall: Instant,
    processor: Option<u64>,
}

impl Clock {
    fn now() -> Self {
        Self { wall: Instant::now(), processor: Self::on_processor() }
    }

    fn on_processor() -> Option<u64> {
        std::fs::read_to_string("/proc/self/schedstat").ok()?.split(' ').next()?.parse().ok()
    }

    fn seconds(&self) -> f64 {
        match (self.processor, Self::on_processor()) {
            (Some(begun), Some(ended)) if ended > begun => (ended - begun) as f64 / 1e9,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

/// xorshift64*, so that every run measures the same bytes.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: u64) -> u64 {
        (self.next() >> 33) % most
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let index = self.below(of.len() as u64) as usize;
        of.get(index).copied().unwrap_or_default()
    }
}

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "all",
    "her",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "up",
    "said",
    "what",
    "its",
    "about",
    "than",
    "into",
    "them",
    "can",
    "only",
    "other",
    "time",
    "new",
    "some",
    "could",
    "these",
    "two",
    "may",
    "first",
    "then",
    "do",
    "any",
    "like",
    "my",
    "now",
    "over",
    "such",
    "our",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
    "also",
    "well",
    "did",
    "many",
    "before",
    "must",
    "years",
    "back",
    "through",
    "much",
    "where",
    "your",
    "way",
    "down",
    "should",
    "because",
    "long",
    "each",
    "just",
    "state",
    "people",
    "those",
    "too",
    "mr",
    "how",
    "little",
    "good",
    "world",
    "make",
    "very",
    "year",
    "still",
    "see",
    "work",
    "life",
    "day",
    "government",
    "between",
    "never",
    "customer",
    "invoice",
    "payment",
    "shipped",
    "delivery",
    "address",
    "company",
    "service",
    "database",
    "connection",
    "request",
    "response",
    "server",
    "error",
    "warning",
    "replication",
    "transaction",
    "statement",
    "committed",
];

fn prose(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        text.push_str(dice.pick(WORDS));
        text.push_str(match dice.below(14) {
            0 => ", ",
            1 => ". ",
            _ => " ",
        });
    }
    text
}

fn numeric_grid(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        let (id, amount, cents, count) = (dice.below(90_000_000), dice.below(100_000), dice.below(100), dice.below(1000));
        let (day, hour, minute, ratio) = (dice.below(28) + 1, dice.below(24), dice.below(60), dice.below(1_000_000));
        let _ = writeln!(
            text,
            "{id}\t{amount}.{cents:02}\t{count}\t2026-03-{day:02} {hour:02}:{minute:02}:41.{ratio:06}\t0.{ratio}\t{}",
            dice.next() >> 20
        );
    }
    text
}

fn result_grid(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let uuid = (dice.next(), dice.next());
        let _ = writeln!(
            text,
            " {:>8} | {:08x}-{:04x}-{:04x}-{:04x}-{:012x} | {:<14} | {:<10} | {:>9}.{:02} | 2026-0{}-1{} 08:15:{:02} | {}",
            dice.below(10_000_000),
            uuid.0 >> 32,
            uuid.0 & 0xFFFF,
            uuid.0 >> 16 & 0xFFFF,
            uuid.1 & 0xFFFF,
            uuid.1 >> 16,
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.below(100_000),
            dice.below(100),
            dice.below(9) + 1,
            dice.below(9),
            dice.below(60),
            if dice.below(2) == 0 { "t" } else { "f" },
        );
    }
    text
}

fn json(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let _ = writeln!(
            text,
            "{{\"id\": {}, \"created_at\": \"2026-02-{:02}T10:{:02}:00Z\", \"status\": \"{}\", \"total_amount\": {}.{:02}, \"note\": \"{} {} {}\", \"tags\": [\"{}\", \"{}\"], \"active\": true}}",
            dice.below(10_000_000),
            dice.below(28) + 1,
            dice.below(60),
            dice.pick(WORDS),
            dice.below(100_000),
            dice.below(100),
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.pick(WORDS),
        );
    }
    text
}

fn logs(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let _ = writeln!(
            text,
            "2026-04-{:02}T{:02}:{:02}:{:02}.{:03}Z {} [{}] {} {} duration={}ms rows={} path=/{}/{}/{}",
            dice.below(28) + 1,
            dice.below(24),
            dice.below(60),
            dice.below(60),
            dice.below(1000),
            dice.pick(&["INFO", "WARN", "DEBUG", "ERROR"]),
            dice.below(40_000),
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.below(5000),
            dice.below(100_000),
            dice.pick(WORDS),
            dice.below(100_000),
            dice.pick(WORDS),
        );
    }
    text
}

fn base64(dice: &mut Dice, bytes: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..bytes).map(|_| char::from(ALPHABET.get(dice.below(64) as usize).copied().unwrap_or(b'A'))).collect()
}

/// Grid, JSON, logs and prose in turn, with a sensitive value every 64 KiB.
fn mixed(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 65_536);
    while text.len() < bytes {
        text.push_str(&result_grid(dice, 16_384));
        text.push_str(&json(dice, 16_384));
        text.push_str(&logs(dice, 16_384));
        text.push_str(&prose(dice, 16_384));
        text.push_str(dice.pick(&["jane.doe@example.com ", "4111 1111 1111 1111 ", "536-22-8714 ", "DE89 3704 0044 0532 0130 00 "]));
    }
    text
}

fn measure(detectors: &Detectors, name: &str, text: &str) {
    let mut found: Vec<Finding> = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..3 {
        found.clear();
        let begun = Clock::now();
        detectors.scan(text.as_bytes(), Hints::NONE, &mut found);
        best = best.min(begun.seconds());
    }
    report(name, text.len(), best, found.len());
}

fn report(name: &str, bytes: usize, seconds: f64, found: usize) {
    println!("{name:<26} {:>7.0} MB/s  {:>6} findings in {:>4} MB", bytes as f64 / seconds / 1e6, found, bytes / 1_000_000);
}

fn measure_cells(detectors: &Detectors, name: &str, text: &str, cell: usize) {
    let mut found: Vec<Finding> = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..3 {
        found.clear();
        let begun = Clock::now();
        for cell in text.as_bytes().chunks(cell) {
            detectors.scan(cell, Hints::NONE, &mut found);
        }
        best = best.min(begun.seconds());
    }
    report(name, text.len(), best, found.len());
    println!("{:<26} {:>7.0} ns a cell of {cell} bytes", "", best * 1e9 / (text.len() as f64 / cell as f64));
}

/// Whole values, as the columns of a result have them.
fn measure_values(detectors: &Detectors, dice: &mut Dice) {
    let mut values = Vec::new();
    for _ in 0..200_000 {
        values.push(dice.below(90_000_000).to_string());
        values.push(format!("{}.{:02}", dice.below(100_000), dice.below(100)));
        values.push(format!("2026-03-{:02} 08:15:{:02}.123", dice.below(28) + 1, dice.below(60)));
        values.push(format!("{} {} {}", dice.pick(WORDS), dice.pick(WORDS), dice.pick(WORDS)));
        values.push(dice.pick(&["t", "f", "active", "closed", "EUR"]).to_owned());
        values.push(format!("{:08x}-1a2b-4c3d-8e4f-{:012x}", dice.below(1 << 31), dice.below(1 << 31)));
    }
    let bytes = values.iter().map(String::len).sum();
    let mut found: Vec<Finding> = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..3 {
        found.clear();
        let begun = Clock::now();
        values.iter().for_each(|value| detectors.scan(value.as_bytes(), Hints::NONE, &mut found));
        best = best.min(begun.seconds());
    }
    report("values", bytes, best, found.len());
    println!("{:<26} {:>7.0} ns a value of {} bytes on average", "", best * 1e9 / values.len() as f64, bytes / values.len());
}

fn measure_stream(detectors: &Detectors, name: &str, text: &str, piece: usize) {
    let mut found: Vec<Finding> = Vec::new();
    let begun = Clock::now();
    let mut stream = detectors.stream(Hints::NONE);
    text.as_bytes().chunks(piece).for_each(|piece| stream.feed(piece, &mut found));
    stream.finish(&mut found);
    report(name, text.len(), begun.seconds(), found.len());
}

type Maker = fn(&mut Dice, usize) -> String;

fn main() {
    const MB: usize = 1_000_000;
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let detectors = Detectors::new(Entity::ALL);
    let mut dice = Dice(0x5EED);
    if wanted("mixed") {
        let mixed = mixed(&mut dice, 64 * MB);
        measure(&detectors, "mixed", &mixed);
        measure_stream(&detectors, "mixed, stream of 8 KiB", &mixed, 8192);
        measure_stream(&detectors, "mixed, stream of 100 B", &mixed, 100);
        measure_cells(&detectors, "mixed, cells", &mixed, 20);
    }
    if wanted("values") {
        measure_values(&detectors, &mut dice);
    }
    let kinds: [(&str, Maker); 6] =
        [("prose", prose), ("numeric", numeric_grid), ("grid", result_grid), ("json", json), ("logs", logs), ("base64", base64)];
    for (name, make) in kinds.iter().filter(|(name, _)| wanted(name)) {
        let text = make(&mut dice, 16 * MB);
        measure(&detectors, name, &text);
        measure_cells(&detectors, &format!("{name}, cells"), &text, 20);
    }
}
