//! `updraft fmt`: rule files in their one layout.
//!
//! A file with errors is reported and left alone; the others are written all or none. Stdin goes to stdout.

use super::{Failure, color, count, print, read_source, tell, write_files};
use crate::SourceFile;
use crate::diagnostic::render_all;
use crate::syntax;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lay out files of rules and schedules, in place
#[derive(clap::Args)]
pub(super) struct Args {
    /// Files; `-` reads stdin and prints
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change nothing: list the files that would change, and exit with 1 if there are any
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut changed: Vec<(&Path, String)> = Vec::new();
    let mut failed = false;
    for path in &args.files {
        let file = match read_source(path) {
            Ok(file) => file,
            Err(failure) => {
                tell(&failure);
                failed = true;
                continue;
            }
        };
        let Some(text) = layout(&file) else {
            failed = true;
            continue;
        };
        let from_stdin = path == Path::new("-");
        if from_stdin && !args.check {
            print(&text)?;
        } else if text != file.text() {
            changed.push((path, text));
        }
    }
    if args.check {
        let list: String = changed.iter().map(|(path, _)| format!("{}\n", path.display())).collect();
        let printed = print(&list);
        return if failed || !changed.is_empty() { Err(Failure::Told) } else { printed };
    }
    let files: Vec<(&Path, &[u8])> = changed.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    write_files(&files)?;
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// The file in its layout; nothing if it has errors, which are reported.
fn layout(file: &SourceFile) -> Option<String> {
    let parsed = syntax::parse(file);
    let text = syntax::print(&parsed);
    if text.is_none() {
        let drawn = render_all(file, &parsed.diagnostics, color(&io::stderr()));
        // If nobody reads stderr there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{drawn}");
        let found = count(parsed.diagnostics.len(), "error");
        tell(&Failure::Message(format!("`{}` is left as it is: {found}", file.name())));
    }
    text
}
