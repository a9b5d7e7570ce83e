//! `updraft explain`: what a finding means, with an example that has it and the same example mended.

use super::{Failure, color, columns, indented, print, wrap};
use crate::check::check;
use crate::diagnostic::{did_you_mean, render_all};
use crate::syntax::parse;
use crate::{Code, Severity, SourceFile};
use std::io;

/// Explain a diagnostic, with a bad and a good example
#[derive(clap::Args)]
pub(super) struct Args {
    /// What stands in the brackets of `error[unknown-name]`
    #[arg(required_unless_present = "list")]
    code: Option<String>,
    /// List all codes instead
    #[arg(long, conflicts_with = "code")]
    list: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Some(slug) = &args.code else {
        return print(&list());
    };
    let Some(code) = Code::from_slug(slug) else {
        let similar = did_you_mean(slug, Code::ALL.iter().map(|code| code.slug()));
        let hint = similar.map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
        return Err(Failure::Message(format!("there is no code `{slug}`{hint}; `updraft explain --list` shows all")));
    };
    let explanation = code.explain();
    let width = columns().unwrap_or(80).min(100);
    let mut text = format!("{}[{code}]\n\n{}\n", level(code), wrap(explanation.what, width, 0));
    match explanation.bad {
        Some(bad) => {
            let file = SourceFile::new("example.opt", bad);
            let findings = check(&parse(&file)).map_or_else(|errors| errors, |checked| checked.lints);
            text += &format!("\nThis file\n\n{}\n", indented(bad));
            text += &format!("is answered with\n\n{}\n", indented(&render_all(&file, &findings, color(&io::stdout()))));
            text += &format!("and this one is fine:\n\n{}", indented(explanation.good));
        }
        None => text += &format!("\nA file that is well within it:\n\n{}", indented(explanation.good)),
    }
    print(&text)
}

fn level(code: Code) -> &'static str {
    match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Every code with the beginning of its explanation.
fn list() -> String {
    let width = Code::ALL.iter().map(|code| code.slug().len()).max().unwrap_or(0);
    let mut text = String::new();
    for &code in Code::ALL {
        let what = code.explain().what;
        let first = what.split_inclusive(". ").next().unwrap_or(what).trim_end();
        let margin = width + 11;
        let first = columns().map_or(first.to_string(), |columns| wrap(first, columns, margin));
        text += &format!("{:<width$}  {:<7}  {first}\n", code.slug(), level(code));
    }
    text
}
