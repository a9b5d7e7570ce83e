//! Texts that are read, laid out and judged.

use super::{Files, text};
use updraft::check::{MAX_HYPERS, MAX_STATES, check_with, print_program};
use updraft::diagnostic::{Color, json, render_all};
use updraft::syntax::{self, Parsed};
use updraft::{Diagnostic, Severity, SourceFile};

/// Parsing comes to an end; what it says is about places of the file, and can be shown without harm.
pub fn parse(data: &[u8]) {
    let text = text(data);
    let parsed = syntax::parse(&Files::new(&text).main);
    shown(&parsed.file, &parsed.diagnostics);
    assert_eq!(syntax::print(&parsed).is_none(), parsed.has_errors(), "only what has no error is printed");
}

/// The canonical layout of a file has the same tree and the same comments, and is its own canonical layout.
pub fn fmt(data: &[u8]) {
    let text = text(data);
    let file = Files::new(&text).main;
    let parsed = syntax::parse(&file);
    let Some(printed) = syntax::print(&parsed) else { return };
    let again = syntax::parse(&SourceFile::new(file.name(), printed.as_str()));
    assert!(
        !again.has_errors(),
        "the layout has an error\n{}",
        render_all(&again.file, &again.diagnostics, Color::Never)
    );
    assert_eq!(tree(&again), tree(&parsed), "the layout is another file\n{printed}");
    assert_eq!(comments(&again), comments(&parsed), "comments were lost or changed\n{printed}");
    assert_eq!(syntax::print(&again).as_deref(), Some(printed.as_str()), "the layout has another layout");
    assert!(printed.is_empty() || printed.ends_with('\n') && !printed.ends_with("\n\n"), "{printed:?}");
}

/// A file is a program or has an error. A program keeps the limits, and its canonical layout is the same program.
pub fn check(data: &[u8]) {
    let text = text(data);
    let files = Files::new(&text);
    let parsed = syntax::parse(&files.main);
    match check_with(&parsed, &files) {
        Err(found) => {
            assert!(found.iter().any(|d| d.severity() == Severity::Error), "refused without an error: {found:?}");
            shown(&files.main, &found);
        }
        Ok(checked) => {
            assert!(!parsed.has_errors(), "accepted with an error");
            assert!(checked.lints.iter().all(|d| d.severity() == Severity::Warning), "{:?}", checked.lints);
            shown(&files.main, &checked.lints);
            assert!(checked.program.states.len() <= MAX_STATES && checked.program.hypers.len() <= MAX_HYPERS);
            let printed = syntax::print(&parsed).expect("it has no error");
            let layout = SourceFile::new(files.main.name(), printed.as_str());
            let again = check_with(&syntax::parse(&layout), &files).expect("the layout is accepted too");
            assert_eq!(print_program(&again.program), print_program(&checked.program), "the layout is another program");
        }
    }
}

/// What is said is about places of the file and has no control characters, drawn or as data.
fn shown(file: &SourceFile, found: &[Diagnostic]) {
    for diagnostic in found {
        let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
        for span in labels.map(|label| label.span) {
            let is_place = |offset: u32| file.text().is_char_boundary(offset as usize);
            assert!(span.start <= span.end && is_place(span.start) && is_place(span.end), "{diagnostic:?}");
        }
    }
    // Each is drawn alone: a few are enough.
    let few = &found[..found.len().min(2)];
    let drawn = render_all(file, few, Color::Never);
    assert!(!drawn.contains(is_harmful), "{drawn:?}");
    few.iter().for_each(|diagnostic| drop(json(file, diagnostic)));
}

/// What could move a terminal's cursor, or reorder or hide what it shows.
fn is_harmful(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
        || matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

fn comments(parsed: &Parsed) -> Vec<&str> {
    parsed.comments.iter().map(|comment| comment.text.trim()).collect()
}

/// The tree as text, without the places in it: every `12..34` becomes `..`.
fn tree(parsed: &Parsed) -> String {
    let text = format!("{:?}", parsed.ast);
    let mut parts = text.split("..");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.truncate(kept.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        kept.push_str("..");
        kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    kept
}
