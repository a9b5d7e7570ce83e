//! What the compiler says about a rule file: codes, labels, help, and how they are drawn.
//!
//! Comes in: what a stage found, with spans. Goes out: [`Diagnostic`], data that tests and `--json` read, and
//! [`render`], the text that a person reads. A diagnostic says what is wrong (the message), where (the primary label),
//! what else matters (secondary labels) and what to type (the help). It never echoes control characters of the source.

mod explain;
mod render;
mod suggest;

pub use explain::Explanation;
pub(crate) use render::harmless;
#[cfg(feature = "cli")]
pub(crate) use render::harmless_json;
pub use render::{Color, json, render, render_all};
pub use suggest::did_you_mean;

use crate::source::{SourceFile, Span};
use std::fmt;

/// The most errors of one file that are found. Who writes a rule sees the first few; more would be the work of a
/// file that is none.
pub const MAX_ERRORS: usize = 256;

/// The most bytes of a text in a diagnostic: names may be as long as a file.
const LONGEST_TEXT: usize = 2000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A lint: the rule compiles.
    Warning,
    /// The rule is rejected.
    Error,
}

/// A span with a few words under the carets.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is to be seen there; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub primary: Label,
    /// What else matters.
    pub secondary: Vec<Label>,
    /// What to type.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding of kind `code` at `span`.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            message: message.into(),
            primary: Label { span, text: String::new() },
            secondary: Vec::new(),
            help: None,
        }
    }

    /// With words under the carets.
    pub fn label(mut self, text: impl Into<String>) -> Diagnostic {
        self.primary.text = text.into();
        self
    }

    /// With another place to look at.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// With what to type.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }

    /// Cuts texts short that nobody would read to the end.
    pub(crate) fn shorten(&mut self) {
        let labels = self.secondary.iter_mut().map(|label| &mut label.text);
        for text in labels.chain([&mut self.message, &mut self.primary.text]).chain(&mut self.help) {
            if text.len() > LONGEST_TEXT {
                text.truncate(text.floor_char_boundary(LONGEST_TEXT));
                text.push_str("...");
            }
        }
    }

    /// Whether the rule is rejected for it.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// The errors of one file, in order of their place: what the entry points of the library return. Its `Display` is the
/// text that [`render_all`] draws without colour.
#[derive(Clone, Debug)]
pub struct CompileError {
    file: SourceFile,
    diagnostics: Vec<Diagnostic>,
}

impl CompileError {
    /// The findings about `file`, of which at least one is an error.
    pub(crate) fn new(file: SourceFile, mut diagnostics: Vec<Diagnostic>) -> CompileError {
        sort(&mut diagnostics);
        CompileError { file, diagnostics }
    }

    /// The file.
    pub fn file(&self) -> &SourceFile {
        &self.file
    }

    /// What was found, sorted by place; lints are among them.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render_all(&self.file, &self.diagnostics, Color::Never))
    }
}

impl std::error::Error for CompileError {}

/// Sorts findings by place, then by code, so that every run prints the same text.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|d| (d.primary.span.start, d.primary.span.end, d.code as u8));
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $slug:literal, $severity:ident;)*) => {
        /// The kinds of findings. The slug is stable: it names the kind in messages, in `allow` comments and for
        /// `updraft explain`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])* $variant,)* }

        impl Code {
            /// Every code, errors first.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The name that people see.
            pub fn slug(self) -> &'static str {
                match self { $(Code::$variant => $slug,)* }
            }

            /// Whether a rule with this finding is rejected.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    // The scan and the parser.
    /// The file is longer than 256 KiB.
    SourceTooLong = "source-too-long", Error;
    /// Brackets, blocks or prefix operators are nested deeper than 64.
    NestingTooDeep = "nesting-too-deep", Error;
    /// A `(` or `[` that nothing closes.
    UnclosedBracket = "unclosed-bracket", Error;
    /// A `{` or `}` without its partner.
    UnmatchedBrace = "unmatched-brace", Error;
    /// A text without its closing quote.
    UnterminatedText = "unterminated-text", Error;
    /// Something that the grammar does not allow there.
    UnexpectedToken = "unexpected-token", Error;
    /// A number such as `1.` or `.5`.
    MalformedNumber = "malformed-number", Error;
    /// No `optimizer NAME`, more than one, or not at the top.
    MisplacedHeader = "misplaced-header", Error;
    // Names.
    /// The header's name is not the file's stem.
    WrongFileName = "wrong-file-name", Error;
    /// A name that nothing declares.
    UnknownName = "unknown-name", Error;
    /// A call of something that is not a function.
    UnknownFunction = "unknown-function", Error;
    /// `per` something that is no extent.
    UnknownExtent = "unknown-extent", Error;
    /// A name declared twice.
    DuplicateName = "duplicate-name", Error;
    /// A keyword or a built-in name used as a name of one's own.
    ReservedName = "reserved-name", Error;
    /// A declaration inside a block or after a statement.
    MisplacedDeclaration = "misplaced-declaration", Error;
    /// Part of the language that this version does not have.
    UnknownDtype = "unknown-dtype", Error;
    // Values.
    /// A call with too few or too many arguments.
    WrongArity = "wrong-arity", Error;
    /// A `def` that calls itself.
    RecursiveDef = "recursive-def", Error;
    /// A condition where a number is needed.
    NotANumber = "not-a-number", Error;
    /// A number where a condition is needed.
    NotACondition = "not-a-condition", Error;
    /// A name that means nothing at that place: `p` in the default of a hyper, `t` in an initial value.
    NotAllowedHere = "not-allowed-here", Error;
    /// An assignment to something that does not change.
    NotAssignable = "not-assignable", Error;
    /// A value of larger extent than what it is assigned to, or under a condition of larger extent.
    ExtentGrows = "extent-grows", Error;
    /// A reduction whose result is of no smaller extent than what it is of.
    NothingToReduce = "nothing-to-reduce", Error;
    /// `per` in a call of something that is no reduction.
    NotAReduction = "not-a-reduction", Error;
    /// A reduction under a condition that differs within a tensor.
    ReductionUnderCondition = "reduction-under-condition", Error;
    /// A `skip` after an assignment, or a statement in a block that only the top level has.
    MisplacedStatement = "misplaced-statement", Error;
    /// An operation that only scalars have.
    ScalarOnly = "scalar-only", Error;
    /// A number that overflows.
    LiteralOutOfRange = "literal-out-of-range", Error;
    /// A default outside the hyper's own interval.
    DefaultOutOfInterval = "default-out-of-interval", Error;
    /// An interval without a value.
    EmptyInterval = "empty-interval", Error;
    /// A schedule that does not assign `value` on every path, or reads it before.
    ValueNotAssigned = "value-not-assigned", Error;
    /// A call of a schedule that has state or inputs.
    StatefulCall = "stateful-call", Error;
    /// A file that another one calls or uses has errors of its own, or names it back.
    BrokenCall = "broken-call", Error;
    /// More than 4096 operations once every `def` is inlined.
    TooManyOperations = "too-many-operations", Error;
    /// More than 64 states or 256 hypers.
    TooManyNames = "too-many-names", Error;
    // Lints.
    /// A hyper that nothing reads.
    UnusedHyper = "unused-hyper", Warning;
    /// A state that nothing reads.
    UnusedState = "unused-state", Warning;
    /// An input that nothing reads.
    UnusedInput = "unused-input", Warning;
    /// A `def` that nothing calls.
    UnusedDef = "unused-def", Warning;
    /// A value that is assigned and never read.
    UnusedValue = "unused-value", Warning;
    /// A state that is read and never assigned.
    StateNeverUpdated = "state-never-updated", Warning;
    /// A rule that never assigns `p`.
    ParameterNeverUpdated = "parameter-never-updated", Warning;
    /// A division that is 0/0 at the defaults in the first step if the gradient is 0.
    ZeroOverZero = "zero-over-zero", Warning;
    /// A square root of an element value that may be negative.
    SqrtOfNegative = "sqrt-of-negative", Warning;
    /// An `allow` comment of no known lint, or one that silences nothing.
    UnusedAllow = "unused-allow", Warning;
}

impl Code {
    /// The code with this slug.
    ///
    /// ```
    /// assert_eq!(updraft::Code::from_slug("unknown-name"), Some(updraft::Code::UnknownName));
    /// ```
    pub fn from_slug(slug: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.slug() == slug)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}
