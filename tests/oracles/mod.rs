//! What must hold for every input, whatever it is: the oracles of the fuzz targets.
//!
//! Comes in: any bytes. Goes out: nothing; an oracle panics if what it holds does not hold. The fuzz targets call them with
//! what libFuzzer makes up, `tests/corpus.rs` with the corpus, the shipped files and mutations of both. How inputs come about
//! is no business of this folder, and it uses the public API alone.
//!
//! A text may hold several files, with lines `====` between them: the first is judged, the others are what it can name.

#![allow(dead_code, unused_imports, reason = "each crate that includes this uses a part")]

mod checkpoint;
mod compile;
mod text;

pub use checkpoint::{checkpoint, checkpoints};
pub use compile::{compile, schedule};
pub use text::{check, fmt, parse};

use std::borrow::Cow;
use updraft::SourceFile;
use updraft::library::{Library, Shipped};
use updraft::syntax::ast::FileKind;

/// The files of an input, then the shipped ones.
pub struct Files<'a> {
    pub main: SourceFile,
    others: Vec<(FileKind, &'a str, &'a str)>,
}

impl<'a> Files<'a> {
    pub fn new(text: &'a str) -> Files<'a> {
        let mut texts = text.split("\n====\n");
        let main = texts.next().unwrap_or_default();
        let (kind, stem) = header(main).unwrap_or((FileKind::Optimizer, "sample"));
        let others = texts.filter_map(|text| header(text).map(|(kind, stem)| (kind, stem, text)));
        Files { main: SourceFile::new(format!("{stem}.{}", kind.extension()), main), others: others.collect() }
    }
}

impl Library for Files<'_> {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        let extension = kind.extension();
        let found = self.others.iter().find(|(it, name, _)| it.extension() == extension && *name == stem);
        found
            .map(|(_, stem, text)| SourceFile::new(format!("{stem}.{extension}"), *text))
            .or_else(|| Shipped.find(kind, stem))
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        let here = self.others.iter().filter(|(it, ..)| it.extension() == kind.extension());
        here.map(|(_, stem, _)| stem.to_string()).chain(Shipped.stems(kind)).collect()
    }
}

/// What the first header of a text says, if it has one.
fn header(text: &str) -> Option<(FileKind, &str)> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let kind = match words.next()?.trim_start_matches('\u{FEFF}') {
            "optimizer" => FileKind::Optimizer,
            "fragment" => FileKind::Fragment,
            "schedule" => FileKind::Schedule,
            _ => return None,
        };
        Some((kind, words.next()?))
    })
}

/// The bytes as text.
fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A number that the bytes have, to choose by (FNV-1a).
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
