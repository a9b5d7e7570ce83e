//! The scan before the grammar: limits, brackets, braces, and the cut into pieces.
//!
//! Comes in: a source file. Goes out: a [`Scan`]: the tree of [`Piece`]s (each one declaration, one statement, one `if COND`
//! or one `else [if COND]`), the comments, and the text with comments and line ends blanked, byte for byte as long as the
//! original, so that every offset in it is an offset in the file. The scan guarantees that no piece, and no tree made from
//! one, nests deeper than [`MAX_NESTING`], and that each piece it has complained about is marked `broken`, so that it gives
//! no second error. It takes linear time. It does not know what a well-formed piece is: that is the grammar's business.

use super::parse::Comment;
use super::token::{Kind, Token, tokens};
use crate::diagnostic::{Code, Diagnostic, MAX_ERRORS};
use crate::source::{SourceFile, Span};

/// The most bytes that a file may have.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// How many words and signs a statement or a declaration may have. No expression of so many is within the limit of
/// operations, and no list within that of elements; it bounds the memory of their trees.
const MAX_TOKENS: usize = 1 << 15;
/// How deep brackets, blocks, prefix operators, `^` and `if then else` may nest, all counted together.
pub(super) const MAX_NESTING: usize = 64;

/// The words that begin a declaration or a statement and nothing else: one at the start of a line ends what stands before
/// it, even inside a bracket. `if` is not among them, because it also begins an expression.
#[rustfmt::skip]
pub(super) const STARTERS: &[&str] = &[
    "optimizer", "fragment", "schedule", "hyper", "state", "input", "def", "require", "let", "use", "skip",
    "report", "view",
];

/// What the scan found.
pub(super) struct Scan {
    /// The text with comments, line ends and a byte order mark blanked; offsets are those of the file.
    pub(super) clean: String,
    /// The pieces outside of blocks, in order.
    pub(super) pieces: Vec<Piece>,
    /// All comments, in order.
    pub(super) comments: Vec<Comment>,
    /// What is wrong so far.
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// What one rule of the grammar is to match.
pub(super) struct Piece {
    /// From its first to its last byte; empty for a block without a head.
    pub(super) span: Span,
    /// What stands before it on its line.
    pub(super) place: Place,
    /// Whether an error about it has been reported.
    pub(super) broken: bool,
    /// The block that follows.
    pub(super) block: Option<PieceBlock>,
    /// The comment at the end of its line, as an index.
    pub(super) comment: Option<usize>,
}

/// The pieces between two braces.
pub(super) struct PieceBlock {
    /// In order.
    pub(super) pieces: Vec<Piece>,
    /// From `{` to `}`, or to where the block was taken as closed.
    pub(super) span: Span,
}

/// What stands before a piece on its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing, or a `{`.
    Start,
    /// The `}` of the piece before it.
    AfterBlock,
    /// A `}` that closes nothing, which has been reported.
    AfterStray,
}

/// Scans a file.
pub(super) fn scan(file: &SourceFile) -> Scan {
    let text = file.text();
    if text.len() > MAX_SOURCE_BYTES {
        let message = format!("the file has {} bytes; a rule file has at most {MAX_SOURCE_BYTES}", text.len());
        let diagnostic = Diagnostic::new(Code::SourceTooLong, Span::new(0, 0), message)
            .help("an update rule is a page of formulas: is this the right file?");
        return Scan { clean: String::new(), pieces: Vec::new(), comments: Vec::new(), diagnostics: vec![diagnostic] };
    }
    let mut scanner = Scanner {
        text,
        clean: String::with_capacity(text.len()),
        comments: Vec::new(),
        diagnostics: Vec::new(),
        open: Vec::new(),
        pieces: Vec::new(),
        piece: None,
        place: Place::Start,
        line_start: 0,
        statement_line: 0,
        too_deep: 0,
        missing_braces: 0,
    };
    for token in tokens(text, 0) {
        scanner.take(token);
    }
    scanner.finish()
}

/// A block that is still open.
struct OpenBlock {
    /// The pieces before it in the block around it; its head is the last of them.
    outside: Vec<Piece>,
    /// The `{`.
    brace: Span,
}

/// The piece that is being read.
struct OpenPiece {
    start: usize,
    end: usize,
    broken: bool,
    /// Whether it begins with `if` or `else`.
    is_head: bool,
    /// One for the piece and one for each open bracket.
    levels: Vec<Level>,
    /// The sum of what the levels count.
    depth: usize,
    /// How many words and signs it has.
    tokens: usize,
    /// The token before.
    last: Token,
}

/// What nests at one level of brackets.
struct Level {
    /// The bracket; `None` for the piece itself.
    bracket: Option<Token>,
    /// How many `if` have begun: each is the `else` of the one before, or inside it.
    ifs: usize,
    /// How many prefix operators and `^` the operand stands under.
    prefixes: usize,
}

struct Scanner<'a> {
    text: &'a str,
    clean: String,
    comments: Vec<Comment>,
    diagnostics: Vec<Diagnostic>,
    open: Vec<OpenBlock>,
    pieces: Vec<Piece>,
    piece: Option<OpenPiece>,
    place: Place,
    line_start: usize,
    /// Where the last line began that is not the middle of a bracket.
    statement_line: usize,
    /// How many blocks are open beyond the limit; what is inside is skipped.
    too_deep: usize,
    /// How many `if` or `else` lines had no `{`: as many `}` too many say nothing new.
    missing_braces: usize,
}

impl Scanner<'_> {
    /// Reports an error, unless there are enough.
    fn say(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_ERRORS {
            self.diagnostics.push(diagnostic);
        }
    }

    fn take(&mut self, token: Token) {
        match token.kind {
            Kind::Newline => {
                if !self.goes_on_after(token) {
                    self.end_piece();
                    self.place = Place::Start;
                    self.statement_line = token.end;
                }
                self.line_start = token.end;
            }
            Kind::Comment => self.take_comment(token),
            Kind::BraceOpen => self.open_block(token),
            Kind::BraceClose => self.close_block(token),
            _ if self.too_deep > 0 => {}
            _ => self.extend_piece(token),
        }
    }

    /// Copies the text up to `end`, then blanks up to `upto`.
    fn blank(&mut self, end: usize, upto: usize) {
        self.clean.push_str(&self.text[self.clean.len()..end]);
        self.clean.extend(std::iter::repeat_n(' ', upto - end));
    }

    fn extend_piece(&mut self, token: Token) {
        let word = token.text(self.text);
        let limit = MAX_NESTING - self.open.len();
        let Some(piece) = &mut self.piece else {
            let mut piece = OpenPiece {
                start: token.start,
                end: token.end,
                broken: false,
                is_head: matches!(word, "if" | "else"),
                levels: vec![Level { bracket: None, ifs: 0, prefixes: 0 }],
                depth: 0,
                tokens: 1,
                last: token,
            };
            piece.nest(token, word, true);
            self.piece = Some(piece);
            self.check_text(token);
            return;
        };
        // The `if` of `else if COND` is no expression.
        let begins = piece.last.start == piece.start && piece.last.text(self.text) == "else" && word == "if";
        let after_operand = ends_operand(piece.last, self.text);
        piece.nest_after(token, word, begins, after_operand);
        piece.end = token.end;
        piece.last = token;
        piece.tokens += 1;
        if piece.tokens > MAX_TOKENS && !piece.broken {
            piece.broken = true;
            let message = format!("this statement has more than {MAX_TOKENS} words and signs");
            let diagnostic = Diagnostic::new(Code::SourceTooLong, span(token), message)
                .label("the limit is passed here")
                .help("an update rule is a page of formulas: is this the right file?");
            self.say(diagnostic);
        } else if piece.depth > limit && !piece.broken {
            piece.broken = true;
            let diagnostic = Diagnostic::new(
                Code::NestingTooDeep,
                span(token),
                format!("this nests deeper than {MAX_NESTING} levels"),
            )
            .label("one level too deep")
            .help("give an inner part a name of its own with `let`");
            self.say(diagnostic);
        }
        self.check_text(token);
    }

    fn check_text(&mut self, token: Token) {
        if token.kind != (Kind::Text { closed: false }) {
            return;
        }
        let diagnostic = Diagnostic::new(Code::UnterminatedText, span(token), "this text has no closing quote")
            .label("it ends with its line")
            .help("close it with `\"`");
        if let Some(piece) = &mut self.piece
            && !piece.broken
        {
            piece.broken = true;
            self.say(diagnostic);
        }
    }

    fn take_comment(&mut self, token: Token) {
        self.blank(token.start, token.end);
        let own_line = self.text[self.line_start..token.start].trim_start_matches('\u{FEFF}').trim().is_empty();
        let index = self.comments.len();
        let text = token.text(self.text)[1..].trim_end().to_owned();
        self.comments.push(Comment {
            text,
            span: Span::new(token.start, token.start + token.text(self.text).trim_end().len()),
            own_line,
        });
        if own_line || self.too_deep > 0 {
            return;
        }
        match &self.piece {
            Some(piece) if piece.levels.len() > 1 => return,
            Some(_) => self.end_piece(),
            None => {}
        }
        // Behind a `{` it belongs to the head of that block; else to the piece that ends on this line, or to the `if` whose
        // blocks end on this line if that began here too.
        let line = self.statement_line as u32;
        let target = match self.open.last_mut() {
            Some(open) if self.pieces.is_empty() && open.brace.start >= line => open.outside.last_mut(),
            _ => {
                let first = self.pieces.iter().rposition(|piece| piece.place == Place::Start);
                let here = |piece: &&mut Piece| match piece.block {
                    Some(_) => piece.span.start >= line,
                    None => piece.span.end > line,
                };
                first.and_then(|i| self.pieces.get_mut(i)).filter(here)
            }
        };
        if let Some(piece) = target {
            piece.comment = Some(index);
        }
    }

    /// Whether the piece goes on after the line end `newline`, because a bracket is open. If one is open and the piece
    /// plainly does not go on, that is reported.
    fn goes_on_after(&mut self, newline: Token) -> bool {
        let Some(piece) = &self.piece else {
            self.blank_newline(newline);
            return false;
        };
        if piece.levels.len() == 1 {
            self.blank_newline(newline);
            return false;
        }
        let rest = &self.text[newline.end..];
        let indent = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
        let mut line = tokens(self.text, newline.end + indent);
        let first = line.next();
        // Inside brackets a name before `=` is the name of an argument, which stands behind `(` or `,`.
        let may_be_named = matches!(piece.last.kind, Kind::Open) || piece.last.text(self.text) == ",";
        let because = match first {
            None => Some((None, "")),
            Some(t) if t.kind == Kind::Newline => Some((None, "")),
            Some(t) if t.kind == Kind::Word => {
                let sign = line.next().filter(|s| s.kind == Kind::Sign).map_or("", |s| s.text(self.text));
                let is_starter = STARTERS.contains(&t.text(self.text));
                let is_assignment = matches!(sign, "+=" | "-=" | "*=" | "/=") || (sign == "=" && !may_be_named);
                (is_starter || is_assignment).then_some((Some(span(t)), "here the next statement begins"))
            }
            Some(_) => None,
        };
        self.blank_newline(newline);
        if let Some((place, text)) = because {
            self.report_open_bracket(place.map(|place| (place, text)));
        }
        because.is_none()
    }

    fn blank_newline(&mut self, newline: Token) {
        let carriage_return = self.text[..newline.start].ends_with('\r');
        self.blank(newline.start - usize::from(carriage_return && self.clean.len() < newline.start), newline.end);
    }

    fn report_open_bracket(&mut self, also: Option<(Span, &str)>) {
        let Some(piece) = &mut self.piece else { return };
        let Some(bracket) = piece.levels.last().and_then(|level| level.bracket) else { return };
        if std::mem::replace(&mut piece.broken, true) {
            return;
        }
        let (open, close) = if bracket.text(self.text) == "[" { ('[', ']') } else { ('(', ')') };
        let mut diagnostic =
            Diagnostic::new(Code::UnclosedBracket, span(bracket), format!("this `{open}` is never closed"))
                .label("opened here")
                .help(format!("close it with `{close}` before the statement ends"));
        if let Some((place, text)) = also {
            diagnostic = diagnostic.also(place, text);
        }
        self.say(diagnostic);
    }

    fn end_piece(&mut self) {
        if let Some(piece) = &self.piece
            && piece.is_head
        {
            self.missing_braces += 1;
        }
        self.push_piece();
    }

    fn push_piece(&mut self) {
        let Some(piece) = self.piece.take() else { return };
        self.pieces.push(Piece {
            span: Span::new(piece.start, piece.end),
            place: self.place,
            broken: piece.broken,
            block: None,
            comment: None,
        });
        self.place = Place::Start;
    }

    fn open_block(&mut self, token: Token) {
        if self.too_deep > 0 {
            self.too_deep += 1;
            return;
        }
        self.report_open_bracket(Some((span(token), "here a block begins")));
        if self.open.len() == MAX_NESTING {
            if let Some(piece) = &mut self.piece {
                piece.broken = true;
            }
            self.push_piece();
            self.too_deep = 1;
            let message = format!("blocks nest deeper than {MAX_NESTING} levels");
            let diagnostic = Diagnostic::new(Code::NestingTooDeep, span(token), message)
                .label("one level too deep")
                .help("join conditions with `and`");
            self.say(diagnostic);
            return;
        }
        if self.piece.is_none() {
            // The block has no head. One such error is enough for a run of braces.
            let follows_brace =
                self.pieces.is_empty() && self.open.last().is_some_and(|o| o.outside.last().is_some_and(|p| p.broken));
            if !follows_brace {
                let diagnostic =
                    Diagnostic::new(Code::UnexpectedToken, span(token), "a block needs `if` before its `{`")
                        .label("nothing stands before it")
                        .help("write `if CONDITION {`, or delete the braces");
                self.say(diagnostic);
            }
            self.pieces.push(Piece {
                span: span(token).at_start(),
                place: Place::Start,
                broken: true,
                block: None,
                comment: None,
            });
        }
        self.push_piece();
        self.place = Place::Start;
        self.open.push(OpenBlock { outside: std::mem::take(&mut self.pieces), brace: span(token) });
    }

    fn close_block(&mut self, token: Token) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        self.report_open_bracket(Some((span(token), "here the block ends")));
        self.end_piece();
        if self.close(span(token).end) {
            self.place = Place::AfterBlock;
            return;
        }
        self.place = Place::AfterStray;
        if self.missing_braces > 0 {
            self.missing_braces -= 1;
            return;
        }
        let diagnostic = Diagnostic::new(Code::UnmatchedBrace, span(token), "this `}` closes nothing")
            .label("no block is open here")
            .help("delete it, or add the `{` that is missing above");
        self.say(diagnostic);
    }

    /// Ends the innermost block at byte `end`, if one is open.
    fn close(&mut self, end: u32) -> bool {
        let Some(open) = self.open.pop() else { return false };
        let pieces = std::mem::replace(&mut self.pieces, open.outside);
        if let Some(head) = self.pieces.last_mut() {
            head.block = Some(PieceBlock { pieces, span: Span { start: open.brace.start, end } });
        }
        true
    }

    fn finish(mut self) -> Scan {
        self.report_open_bracket(None);
        self.end_piece();
        if let Some(open) = self.open.last()
            && self.too_deep == 0
        {
            let diagnostic = Diagnostic::new(Code::UnmatchedBrace, open.brace, "this `{` is never closed")
                .label("the block begins here")
                .help("add `}` on a line of its own where the block ends");
            self.say(diagnostic);
        }
        let end = self.text.trim_end().len();
        while self.close(end as u32) {}
        self.blank(self.text.len(), self.text.len());
        if self.clean.starts_with('\u{FEFF}') {
            self.clean.replace_range(..'\u{FEFF}'.len_utf8(), "   ");
        }
        Scan { clean: self.clean, pieces: self.pieces, comments: self.comments, diagnostics: self.diagnostics }
    }
}

impl OpenPiece {
    fn nest_after(&mut self, token: Token, word: &str, begins: bool, after_operand: bool) {
        match word {
            "-" if after_operand => self.end_operand(),
            _ => self.nest(token, word, begins),
        }
    }

    /// Counts what `token` opens or ends; `begins` if it is the `if` of a statement.
    fn nest(&mut self, token: Token, word: &str, begins: bool) {
        match token.kind {
            Kind::Open => {
                self.levels.push(Level { bracket: Some(token), ifs: 0, prefixes: 0 });
                self.depth += 1;
            }
            Kind::Close if self.levels.len() > 1 => {
                if let Some(level) = self.levels.pop() {
                    self.depth -= 1 + level.ifs + level.prefixes;
                }
            }
            Kind::Word if word == "if" && !begins => {
                self.end_operand();
                if let Some(level) = self.levels.last_mut() {
                    level.ifs += 1;
                    self.depth += 1;
                }
            }
            Kind::Word if word == "not" => self.add_prefix(),
            Kind::Word if matches!(word, "and" | "or" | "then" | "else") => self.end_operand(),
            Kind::Sign => match word {
                "-" | "^" => self.add_prefix(),
                "," => {
                    self.end_operand();
                    if let Some(level) = self.levels.last_mut() {
                        self.depth -= std::mem::take(&mut level.ifs);
                    }
                }
                _ => self.end_operand(),
            },
            _ => {}
        }
    }

    fn add_prefix(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.prefixes += 1;
            self.depth += 1;
        }
    }

    fn end_operand(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            self.depth -= std::mem::take(&mut level.prefixes);
        }
    }
}

/// Whether an operand may end with this token, so that a `-` behind it is a subtraction.
pub(super) fn ends_operand(token: Token, text: &str) -> bool {
    match token.kind {
        Kind::Word => !matches!(token.text(text), "and" | "or" | "not" | "if" | "then" | "else" | "in" | "require"),
        Kind::Number | Kind::Text { .. } | Kind::Close => true,
        _ => false,
    }
}

fn span(token: Token) -> Span {
    Span::new(token.start, token.end)
}
