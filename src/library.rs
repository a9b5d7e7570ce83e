//! Where files that other files name are found.
//!
//! Comes in: a stem, never a path. Goes out: a source file: the one beside the file that names it, else the shipped one. A
//! shipped file names shipped ones, whatever lies beside the file that names it. What lies elsewhere is not read, also not
//! through a link, and neither are devices and pipes; a host that wants more has a [`Library`] of its own.
//! The checker reads no disk; it asks a [`Library`].

use crate::source::SourceFile;
use crate::syntax::ast::FileKind;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any rule file may have: of what is longer, the rest is not read.
const READ: u64 = 1 << 20;

/// What finds files by their stem.
pub trait Library {
    /// The file of this kind called `stem`.
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile>;

    /// The stems of that kind, for did-you-mean.
    fn stems(&self, kind: FileKind) -> Vec<String>;

    /// Why the file of this kind called `stem`, which is there, is not given: `` `adam.opt` is not a file ``.
    fn refused(&self, kind: FileKind, stem: &str) -> Option<String> {
        let _ = (kind, stem);
        None
    }
}

/// The files that are part of the crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shipped;

/// The files of a folder, then the shipped ones.
#[derive(Clone, Debug)]
pub struct Beside {
    folder: PathBuf,
    /// The file beside which they lie.
    file: PathBuf,
}

impl Beside {
    /// The files beside `file`.
    pub fn of(file: &Path) -> Beside {
        Beside { folder: file.parent().map_or_else(PathBuf::new, Path::to_path_buf), file: file.to_path_buf() }
    }

    /// The file of this folder, or why it is not read. `None`: there is none.
    fn own(&self, kind: FileKind, stem: &str) -> Option<Result<SourceFile, String>> {
        // A stem is no path, whoever asks.
        if stem.contains(['/', '\\', '\0']) {
            return None;
        }
        let path = self.folder.join(format!("{stem}.{}", kind.extension()));
        fs::symlink_metadata(&path).ok()?;
        let name = path.to_string_lossy().into_owned();
        let read = match fs::canonicalize(&path) {
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(real) if !real.is_file() => Err("is not a file".to_string()),
            Ok(real) if !self.is_here(&real) => Err("is a link to a file in another folder".to_string()),
            Ok(real) => read(&real).map_err(|error| format!("cannot be read: {error}")),
        };
        Some(match read {
            Ok(text) => Ok(SourceFile::new(name, text)),
            Err(why) => Err(format!("`{name}` {why}")),
        })
    }

    /// Whether a file lies in the folder, or where the file really lies that may be a link in it.
    fn is_here(&self, real: &Path) -> bool {
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let folder = fs::canonicalize(folder).ok();
        let file = fs::canonicalize(&self.file).ok();
        let folders = [folder.as_deref(), file.as_deref().and_then(Path::parent)];
        folders.into_iter().flatten().any(|folder| real.parent() == Some(folder))
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
        match self.own(kind, stem) {
            // Another one of that name would be a surprise.
            Some(own) => own.ok(),
            None => Shipped.find(kind, stem),
        }
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut stems: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|e| e == kind.extension()))
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        stems.extend(Shipped.stems(kind));
        stems.sort_unstable();
        stems.dedup();
        stems
    }

    fn refused(&self, kind: FileKind, stem: &str) -> Option<String> {
        self.own(kind, stem)?.err()
    }
}

/// Reads a rule file. Of one that is much too long it gives the beginning, which is too long as well.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    text(File::open(path)?)
}

/// Reads a rule file, as [`read`] does.
pub(crate) fn text(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(READ).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).or_else(|error| {
        // It may have been cut inside a character.
        if error.as_bytes().len() as u64 == READ {
            return Ok(String::from_utf8_lossy(error.as_bytes()).into_owned());
        }
        let at = error.utf8_error().valid_up_to();
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 (byte {at})")))
    })
}

fn shipped(kind: FileKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        FileKind::Optimizer => crate::SHIPPED,
        FileKind::Schedule => crate::schedule::SHIPPED_SCHEDULES,
        FileKind::Fragment => crate::SHIPPED_FRAGMENTS,
    }
}
