//! Source files and places in them.
//!
//! Comes in: the text of one rule file. Goes out: [`SourceFile`], which turns byte offsets into lines and columns, and
//! [`Span`], the half-open range of bytes that every syntax node, name and diagnostic carries. A span is always on
//! character boundaries of its own file. Nothing here reads the disk.

use std::fmt;
use std::sync::Arc;

/// A half-open range of bytes of one source file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span of bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end);
        Span { start: start as u32, end: end as u32 }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The bytes as a range, to index a string with.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The empty span at this one's first byte.
    pub fn at_start(self) -> Span {
        Span { start: self.start, end: self.start }
    }

    /// The empty span just behind this one.
    pub fn at_end(self) -> Span {
        Span { start: self.end, end: self.end }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// One rule file: its name for messages, and its text. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
    shipped: bool,
}

impl SourceFile {
    /// A file called `name` (a path or a bare name; its stem is the name that the rule must have) that holds `text`.
    ///
    /// ```
    /// let file = updraft::SourceFile::new("optimizers/sgd.opt", "optimizer sgd\n");
    /// assert_eq!(file.stem(), "sgd");
    /// assert_eq!(file.line_column(10), (1, 11));
    /// ```
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile { name: name.into(), text: text.into(), shipped: false }
    }

    /// A file that is part of the crate: what it names is, too.
    pub(crate) fn shipped(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceFile {
        SourceFile { shipped: true, ..SourceFile::new(name, text) }
    }

    /// Whether it is part of the crate.
    pub(crate) fn is_shipped(&self) -> bool {
        self.shipped
    }

    /// The name as given, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file name without folders and extension: what the header must say.
    pub fn stem(&self) -> &str {
        let file = self.name.rsplit(['/', '\\']).next().unwrap_or(&self.name);
        match file.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem,
            _ => file,
        }
    }

    /// The text of a span.
    pub fn slice(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    /// The bytes of the whole lines that a span touches.
    pub(crate) fn lines_of(&self, span: Span) -> std::ops::Range<u32> {
        let start = self.text[..span.start as usize].rfind('\n').map_or(0, |i| i + 1);
        let end = self.text[span.end as usize..].find('\n').map_or(self.text.len(), |i| span.end as usize + i + 1);
        start as u32..end as u32
    }

    /// The line and the column (both from 1, the column in characters) of a byte offset.
    pub fn line_column(&self, offset: u32) -> (usize, usize) {
        let before = &self.text[..(offset as usize).min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}
