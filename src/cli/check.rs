//! `updraft check`: what is wrong with files of rules and schedules.
//!
//! Every file is checked, whatever is wrong with another. Findings go to stdout; that a file cannot be read goes to stderr.

use super::{Failure, color, count, print, read_source, tell};
use crate::check::check_with;
use crate::diagnostic::{Color, Diagnostic, harmless_json, json, render_all};
use crate::library::Beside;
use crate::syntax::parse;
use crate::{Severity, SourceFile};
use clap::builder::Styles;
use std::io;
use std::path::PathBuf;

/// Check files of rules and schedules and say what is wrong with them
#[derive(clap::Args)]
pub(super) struct Args {
    /// Files; `-` reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON array of all findings instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut found: Vec<(SourceFile, Vec<Diagnostic>)> = Vec::new();
    let mut unreadable = Vec::new();
    for path in &args.files {
        match read_source(path) {
            Ok(file) => {
                let findings =
                    check_with(&parse(&file), &Beside::of(path)).map_or_else(|errors| errors, |checked| checked.lints);
                found.push((file, findings));
            }
            Err(failure) => {
                tell(&failure);
                unreadable.push(serde_json::json!({
                    "code": "unreadable-file",
                    "severity": "error",
                    "file": path.to_string_lossy(),
                    "message": "this file could not be read",
                }));
            }
        }
    }
    let with = |severity| found.iter().flat_map(|(_, all)| all).filter(|it| it.severity() == severity).count();
    let (errors, warnings) = (with(Severity::Error), with(Severity::Warning));
    let text = if args.json {
        let all = found.iter().flat_map(|(file, all)| all.iter().map(|diagnostic| json(file, diagnostic)));
        harmless_json(&format!("{:#}\n", serde_json::Value::from_iter(all.chain(unreadable.iter().cloned()))))
    } else {
        let color = color(&io::stdout());
        let mut text = String::new();
        for (file, findings) in found.iter().filter(|(_, findings)| !findings.is_empty()) {
            text += &render_all(file, findings, color);
            text.push('\n');
        }
        let styles = Styles::styled();
        let style = match (color, errors + unreadable.len(), warnings) {
            (Color::Never, ..) => clap::builder::styling::Style::new(),
            (Color::Always, 0, 0) => *styles.get_valid(),
            (Color::Always, 0, _) => *styles.get_invalid(),
            (Color::Always, ..) => *styles.get_error(),
        };
        let errors = if errors == 0 { "no errors".to_string() } else { count(errors, "error") };
        let warnings = if warnings == 0 { "no warnings".to_string() } else { count(warnings, "warning") };
        let skipped =
            if unreadable.is_empty() { String::new() } else { format!(", could not read {}", unreadable.len()) };
        text + &format!("{style}Checked{style:#} {}{skipped}: {errors}, {warnings}\n", count(found.len(), "file"))
    };
    let printed = print(&text);
    if errors + unreadable.len() > 0 { Err(Failure::Told) } else { printed }
}
