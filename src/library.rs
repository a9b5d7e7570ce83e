//! Where files that other files name are found.
//!
//! Comes in: a stem, never a path. Goes out: a source file: the one beside the file that names it, else the shipped one. A
//! shipped file names shipped ones, whatever lies beside the file that names it.
//! The checker reads no disk; it asks a [`Library`].

use crate::source::SourceFile;
use crate::syntax::ast::FileKind;
use std::path::{Path, PathBuf};

/// What finds files by their stem.
pub trait Library {
    /// The file of this kind called `stem`.
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile>;

    /// The stems of that kind, for did-you-mean.
    fn stems(&self, kind: FileKind) -> Vec<String>;
}

/// The files that are part of the crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shipped;

/// The files of a folder, then the shipped ones.
#[derive(Clone, Debug)]
pub struct Beside(PathBuf);

impl Beside {
    /// The files beside `file`.
    pub fn of(file: &Path) -> Beside {
        Beside(file.parent().map_or_else(PathBuf::new, Path::to_path_buf))
    }
}

impl Library for Shipped {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        let (_, text) = shipped(kind).iter().find(|(name, _)| *name == stem)?;
        Some(SourceFile::shipped(format!("{stem}.{}", kind.extension()), *text))
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        shipped(kind).iter().map(|(name, _)| name.to_string()).collect()
    }
}

impl Library for Beside {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        let path = self.0.join(format!("{stem}.{}", kind.extension()));
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(SourceFile::new(path.to_string_lossy().into_owned(), text)),
            Err(_) => Shipped.find(kind, stem),
        }
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut stems: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|e| e == kind.extension()))
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        stems.extend(Shipped.stems(kind));
        stems.sort_unstable();
        stems.dedup();
        stems
    }
}

fn shipped(kind: FileKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        FileKind::Optimizer => crate::SHIPPED,
        FileKind::Schedule => crate::schedule::SHIPPED_SCHEDULES,
        FileKind::Fragment => crate::SHIPPED_FRAGMENTS,
    }
}
