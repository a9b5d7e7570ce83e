//! How a diagnostic is drawn, and how it is written as JSON.
//!
//! Comes in: a file and what was found in it. Goes out: text in the style of rustc, with the source line and carets, or a JSON
//! value with the same contents. Nothing of the source reaches the text unfiltered: characters that could move a terminal's
//! cursor, change its colours or reorder what it shows are replaced one for one. Only the lines around a finding are looked
//! at, so that drawing many findings takes linear time. Whether the reader is a terminal is the caller's business.

use super::{Diagnostic, Label, Severity};
use crate::source::{SourceFile, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json as object};
use std::borrow::Cow;

/// Whether the text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Never,
    /// With the escape sequences of terminals.
    Always,
}

/// Draws one finding about `file`. The text ends with a line end.
pub fn render(file: &SourceFile, diagnostic: &Diagnostic, color: Color) -> String {
    draw(file, &line_starts(file.text()), diagnostic, color)
}

/// Draws all findings, one blank line between two.
pub fn render_all(file: &SourceFile, diagnostics: &[Diagnostic], color: Color) -> String {
    let lines = line_starts(file.text());
    let drawn: Vec<String> = diagnostics.iter().map(|diagnostic| draw(file, &lines, diagnostic, color)).collect();
    drawn.join("\n")
}

/// A finding as data: `code`, `severity`, `message`, `file`, `line`, `column`, `end_line`, `end_column` (from 1, in
/// characters), `span` (bytes), `label`, `secondary` and `help`.
pub fn json(file: &SourceFile, diagnostic: &Diagnostic) -> Value {
    let mut value = object!({
        "code": diagnostic.code.slug(),
        "severity": match diagnostic.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "file": file.name(),
        "help": diagnostic.help,
        "secondary": diagnostic.secondary.iter().map(|label| place(file, label)).collect::<Vec<_>>(),
    });
    if let (Value::Object(whole), Value::Object(primary)) = (&mut value, place(file, &diagnostic.primary)) {
        whole.extend(primary);
    }
    value
}

fn place(file: &SourceFile, label: &Label) -> Value {
    let (line, column) = file.line_column(label.span.start);
    let (end_line, end_column) = file.line_column(label.span.end);
    object!({
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "span": [label.span.start, label.span.end],
        "label": label.text,
    })
}

/// `text` without control characters and without characters that reorder or hide text. Tabs and line feeds are kept.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    match text.contains(is_harmful) {
        true => Cow::Owned(text.chars().map(replacement).collect()),
        false => Cow::Borrowed(text),
    }
}

/// What is shown for `c`: itself, or something harmless of as many bytes, so that every offset stays.
fn replacement(c: char) -> char {
    match (is_harmful(c), c.len_utf8()) {
        (false, _) => c,
        (true, 1) => '?',
        (true, 2) => '\u{B7}',
        (true, _) => '\u{FFFD}',
    }
}

/// JSON that says the same with such characters as escapes: they stand in its texts only.
#[cfg(feature = "cli")]
pub(crate) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmful(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

fn is_harmful(c: char) -> bool {
    let is_control = c.is_control() && c != '\n' && c != '\t';
    let reorders = matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    is_control || reorders
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// The line, from 0, that holds byte `offset`.
fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|&start| start <= offset).saturating_sub(1)
}

fn draw(file: &SourceFile, starts: &[usize], diagnostic: &Diagnostic, color: Color) -> String {
    let text = file.text();
    let labels: Vec<&Label> = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary).collect();
    let bytes = |span: Span| {
        let start = (span.start as usize).min(text.len());
        start..(span.end as usize).clamp(start, text.len())
    };
    let first = labels.iter().map(|label| line_of(starts, bytes(label.span).start)).min().unwrap_or(0);
    let last = labels.iter().map(|label| line_of(starts, bytes(label.span).end)).max().unwrap_or(0);
    let from = starts.get(first).copied().unwrap_or(0);
    let to = starts.get(last + 1).copied().unwrap_or(text.len());
    // The renderer shows ASCII control characters as symbols of their own, and knows Windows line ends.
    let source: String = text[from..to].chars().map(|c| if c.is_ascii() { c } else { replacement(c) }).collect();

    let path = harmless(file.name()).replace(['\n', '\t'], "?");
    let mut snippet = Snippet::source(source).line_start(first + 1).path(path).fold(true);
    for (index, label) in labels.into_iter().enumerate() {
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let range = bytes(label.span);
        let annotation = kind.span(range.start - from..range.end - from);
        let words = harmless(&label.text).into_owned();
        snippet = snippet.annotation(if words.is_empty() { annotation } else { annotation.label(words) });
    }
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(harmless(&diagnostic.message).into_owned()).id(diagnostic.code.slug());
    let mut group: Group<'_> = title.element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(harmless(help).into_owned()));
    }
    let renderer = match color {
        Color::Never => Renderer::plain(),
        Color::Always => Renderer::styled(),
    };
    let mut drawn = renderer.render(&[group]);
    drawn.push('\n');
    drawn
}
