//! Words, numbers and signs, for the scan and for messages.
//!
//! Comes in: text from any byte on. Goes out: [`Token`]s that cover everything but blanks. Any text has tokens: what no
//! rule file may contain is a sign of one character, and signs of other languages (`**`, `&&`, `//`) are one sign each, so
//! that a message can name them. What the tokens mean is the grammar's business, not decided here.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name, dots included: `adam.m`.
    Word,
    /// A number as the grammar has it; what clings to its end is the next token.
    Number,
    /// A quoted text; not closed if the line ends first.
    Text {
        /// Whether the second quote is there.
        closed: bool,
    },
    /// `#` and what follows on its line.
    Comment,
    /// A line feed.
    Newline,
    /// `(` or `[`.
    Open,
    /// `)` or `]`.
    Close,
    /// `{`.
    BraceOpen,
    /// `}`.
    BraceClose,
    /// Anything else.
    Sign,
}

/// One word, number or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Its first byte.
    pub(super) start: usize,
    /// One past its last byte.
    pub(super) end: usize,
}

impl Token {
    /// Its text, in the text that it was read from.
    pub(super) fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.end]
    }
}

/// Signs of more than one character, longest first: ours, and those that people bring from other languages. No two signs of
/// ours that may stand side by side make one of these.
const LONG_SIGNS: &[&str] = &[
    "===", "!==", "**=", "//=", "...", "**", "++", "&&", "||", "==", "!=", "<=", ">=", "<>", "+=", "-=", "*=", "/=",
    "%=", "^=", "->", "=>", ":=", "//", "/*", "..", "::",
];

/// Whether a name may begin with `c`.
pub(super) fn begins_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || (!c.is_ascii() && pest::unicode::XID_START(c))
}

/// Whether a name may go on with `c`.
pub(super) fn continues_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || (!c.is_ascii() && pest::unicode::XID_CONTINUE(c))
}

/// The length of the number at the start of `text`; 0 if there is none.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if end == 0 {
        return 0;
    }
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if end + 1 + sign <= bytes.len() && digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    end
}

/// The length of the word at the start of `text`; 0 if there is none.
fn word_length(text: &str) -> usize {
    let segment = |text: &str| match text.chars().next() {
        Some(c) if begins_name(c) => text.find(|c| !continues_name(c)).unwrap_or(text.len()),
        _ => 0,
    };
    let mut end = segment(text);
    while end > 0 && text[end..].starts_with('.') {
        match segment(&text[end + 1..]) {
            0 => break,
            more => end += 1 + more,
        }
    }
    end
}

/// The tokens of `text` from byte `from` on, which is a character boundary.
pub(super) fn tokens(text: &str, from: usize) -> Tokens<'_> {
    Tokens { text, at: from }
}

/// An iterator of [`Token`]s.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b' ' | b'\t' => self.at += 1,
                b'\r' if bytes.get(self.at + 1) == Some(&b'\n') => self.at += 1,
                // A byte order mark is allowed where it belongs.
                0xEF if self.at == 0 && self.text.starts_with('\u{FEFF}') => self.at = '\u{FEFF}'.len_utf8(),
                _ => break,
            }
        }
        let start = self.at;
        let rest = &self.text[start..];
        let (kind, length) = match bytes[start] {
            b'\n' => (Kind::Newline, 1),
            b'#' => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            b'"' => match rest[1..].find(['"', '\n']) {
                Some(i) if rest.as_bytes()[i + 1] == b'"' => (Kind::Text { closed: true }, i + 2),
                Some(i) => (Kind::Text { closed: false }, rest[..i + 1].trim_end().len()),
                None => (Kind::Text { closed: false }, rest.trim_end().len()),
            },
            b'(' | b'[' => (Kind::Open, 1),
            b')' | b']' => (Kind::Close, 1),
            b'{' => (Kind::BraceOpen, 1),
            b'}' => (Kind::BraceClose, 1),
            _ => match (word_length(rest), number_length(rest)) {
                (0, 0) => {
                    let long = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| sign.len());
                    (Kind::Sign, long.or(rest.chars().next().map(char::len_utf8)).unwrap_or(1))
                }
                (0, number) => (Kind::Number, number),
                (word, _) => (Kind::Word, word),
            },
        };
        self.at = start + length;
        Some(Token { kind, start, end: self.at })
    }
}
