//! The oracles of the fuzz targets, without libFuzzer: over the committed corpus, over everything that is shipped, and over
//! mutations of both. More of them: `UPDRAFT_MUTATIONS=100000`.
#![cfg(feature = "jit")]

mod oracles;
mod sources;

use sources::Random;
use std::collections::BTreeSet;
use std::path::Path;
use updraft::check::program::{DrawFn, Extent, Function, ReduceFn, Shape};
use updraft::{SourceFile, Storage, syntax};

/// A target: its name, its oracle, and what a run costs, in runs of the cheapest.
type Target = (&'static str, fn(&[u8]), u64);

const TARGETS: [Target; 6] = [
    ("parse", oracles::parse, 1),
    ("fmt", oracles::fmt, 2),
    ("check", oracles::check, 4),
    ("compile", oracles::compile, 16),
    ("schedule", oracles::schedule, 8),
    ("checkpoint", oracles::checkpoint, 4),
];

fn read(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// What is shipped and what is broken on purpose, as the target takes it.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "checkpoint" => {
            oracles::checkpoints().into_iter().enumerate().map(|(i, x)| (format!("state {i}"), x)).collect()
        }
        "schedule" => read("tests/corpus/schedule"),
        _ => ["optimizers", "optimizers/fragments", "optimizers/schedules", "tests/diagnostics", "tests/syntax"]
            .into_iter()
            .flat_map(read)
            .collect(),
    }
}

fn holds((name, oracle, _): Target, what: &str, data: &[u8]) {
    if std::panic::catch_unwind(|| oracle(data)).is_err() {
        panic!("the oracle `{name}` fails for {what}:\n{}", String::from_utf8_lossy(data).escape_debug());
    }
}

#[test]
fn the_corpus_holds() {
    for target in TARGETS {
        let corpus = read(&format!("tests/corpus/{}", target.0));
        assert!(corpus.len() >= 6, "{} has {} files", target.0, corpus.len());
        corpus.iter().for_each(|(what, data)| holds(target, what, data));
    }
}

/// The corpus begins with checkpoints of today's format, or mutations of them would all end at its first line.
/// `UPDRAFT_CORPUS=write` writes them.
#[test]
fn the_corpus_has_checkpoints_of_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/checkpoint");
    let writes = std::env::var("UPDRAFT_CORPUS").is_ok_and(|what| what == "write");
    for (index, bytes) in oracles::checkpoints().iter().enumerate() {
        let file = folder.join(format!("state_{index}"));
        if writes {
            std::fs::write(&file, bytes).unwrap();
        }
        let has = std::fs::read(&file).is_ok_and(|found| found == *bytes);
        assert!(has, "{} is another one: write it with UPDRAFT_CORPUS=write, and look at it", file.display());
    }
}

#[test]
fn what_is_shipped_holds() {
    for target in TARGETS {
        files(target.0).iter().for_each(|(what, data)| holds(target, what, data));
    }
}

#[test]
fn mutations_hold() {
    let count = std::env::var("UPDRAFT_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000u64);
    for target in TARGETS {
        let mut seeds = files(target.0);
        seeds.extend(read(&format!("tests/corpus/{}", target.0)));
        for seed in 0..count / target.2 {
            let data = mutated(&seeds, &mut Random(seed));
            holds(target, &format!("seed {seed}"), &data);
        }
    }
}

/// A few changes: bytes, runs of bytes, lines and numbers, from one file to another.
fn mutated(seeds: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].1.clone();
    let other = &seeds[random.below(seeds.len())].1;
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len() + 1);
        let upto = (at + random.below(24)).min(data.len());
        let from = random.below(other.len() + 1);
        let part = &other[from..(from + random.below(40)).min(other.len())];
        match random.below(6) {
            0 => drop(data.drain(at..upto)),
            1 => drop(data.splice(at..at, part.iter().copied())),
            2 => drop(data.splice(at..upto, part.iter().copied())),
            3 if at < data.len() => data[at] ^= 1 << random.below(8),
            4 if at < data.len() => data[at] = b" \n(){}[]=^*/.,-+0129eg\xff"[random.below(23)],
            _ => {
                let again = data[at..upto].to_vec();
                drop(data.splice(at..at, again));
            }
        }
    }
    data
}

/// The dictionary of the fuzz targets has the words of the language, and no word that is none of it.
#[test]
fn the_dictionary_has_every_word() {
    let text = include_str!("../fuzz/updraft.dict");
    let words: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).collect();
    let is_word = |word: &&str| word.chars().all(|c| c.is_alphanumeric() || c == '_');
    // The grammar's own list, and the words of whole lines.
    let grammar = include_str!("../grammar/updraft.pest");
    let keyword = &grammar[grammar.find("\nkeyword = @{").expect("the grammar has keywords")..];
    let keyword = &keyword[..keyword.find("\n}").expect("the rule ends")];
    let mut expected: BTreeSet<&str> = keyword.split('"').skip(1).step_by(2).collect();
    expected.extend(["one", "of", "at", "old", "given", "count", "prod", "len", "increasing"]);
    expected.extend(["p", "g", "t", "s", "base", "value", "pi", "inf", "epsilon"]);
    expected.extend(Extent::ALL.map(Extent::name));
    expected.extend(Function::NAMED.map(Function::name));
    expected.extend(ReduceFn::ALL.map(ReduceFn::name));
    expected.extend(DrawFn::ALL.map(DrawFn::name));
    expected.extend(Shape::ALL.map(Shape::name));
    expected.extend([Storage::F32, Storage::F64, Storage::Bf16, Storage::F16].map(Storage::name));
    let missing: Vec<_> = expected.difference(&words).collect();
    assert!(missing.is_empty(), "the dictionary lacks {missing:?}");
    let strange: Vec<_> = words.iter().filter(|word| is_word(word) && !expected.contains(*word)).collect();
    assert_eq!(strange, [&"1e999"; 1], "not words of the language");
}

/// A text that an oracle refuses is refused by the test too.
#[test]
fn an_oracle_can_fail() {
    let file = SourceFile::new("sample.opt", "optimizer sample\np -= g\n");
    assert!(syntax::print(&syntax::parse(&file)).is_some());
    let wrong: Target = ("wrong", |data| assert!(data.is_empty(), "not empty"), 1);
    assert!(std::panic::catch_unwind(|| holds(wrong, "a letter", b"x")).is_err());
}
