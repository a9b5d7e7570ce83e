//! Random rule files: well-formed, meaningless, and laid out as badly as the language allows.
//!
//! Comes in: a seed. Goes out: the text of an `optimizer sample` that parses without a diagnostic, with everything that the
//! grammar has: odd blanks, comments and line ends wherever they may stand, names that need normalisation. The same seed
//! always gives the same text.

#![allow(dead_code, reason = "each test crate uses a part")]

/// Random numbers (splitmix64), so that a failure comes back with its seed.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const NAMES: &[&str] = &[
    "p",
    "g",
    "m",
    "v",
    "lr",
    "β1",
    "e\u{301}ta",
    "x_2",
    "one",
    "of",
    "iffy",
    "notable",
    "_",
    "漢字",
    "a_rather_long_name",
];
const USED_NAMES: &[&str] = &["adam.m", "adam.inner.v"];
const NUMBERS: &[&str] = &["0", "1", "0.5", "1e-3", "1E+3", "64", "123456789.25", "1e999"];
const EXTENTS: &[&str] = &["model", "group", "tensor", "row", "unit"];
const COMMENTS: &[&str] = &[
    "#",
    "# text",
    "#text",
    "#!bang",
    "#   indented",
    "## twice",
    "# allow(unused-value): reason",
    "# \"quoted",
    "# (open",
    "#\ttab",
    "# }",
    "# Größe",
    "#allow(sqrt-of-negative):x",
];
const BOUNDS: &[&str] = &["0", "-1", "1", "inf", "-inf", "1e-3", "0.999"];

/// A file.
pub fn source(seed: u64) -> String {
    let mut random = Random(seed);
    let mut writer = Writer { out: String::new(), tokens: Vec::new(), random: &mut random };
    writer.file();
    writer.out
}

struct Writer<'a> {
    out: String,
    /// The words and signs of the statement that is being written.
    tokens: Vec<String>,
    random: &'a mut Random,
}

impl Writer<'_> {
    fn file(&mut self) {
        self.between_lines();
        self.put("optimizer sample");
        self.end_line();
        for _ in 0..self.random.below(12) {
            self.declaration();
            self.end_line();
        }
        for _ in 0..self.random.below(12) {
            self.statement(0);
            self.end_line();
        }
        if self.random.chance(20) {
            self.out.truncate(self.out.trim_end().len());
        }
    }

    /// Adds words and signs, given with blanks between them.
    fn put(&mut self, text: &str) {
        self.tokens.extend(text.split(' ').map(str::to_owned));
    }

    /// Writes the statement, with random blanks, and line ends and comments where a bracket is open.
    fn flush(&mut self) {
        let mut depth = 0usize;
        let mut before = String::new();
        for token in std::mem::take(&mut self.tokens) {
            let is_word =
                |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == '\u{301}');
            let touches = is_word(before.chars().next_back()) && is_word(token.chars().next()) && token != "..";
            if depth > 0 && self.random.chance(8) {
                if self.random.chance(40) {
                    let comment = self.random.pick(COMMENTS);
                    self.out.push(' ');
                    self.out.push_str(comment);
                }
                self.line_end();
                let blanks = self.random.below(6);
                self.blanks(blanks);
                // A line with a comment only; a blank line would end the statement.
                if self.random.chance(15) {
                    let comment = self.random.pick(COMMENTS);
                    self.out.push_str(comment);
                    self.line_end();
                }
            } else {
                let blanks = [1, 1, 1, 0, 2, 3][self.random.below(6)].max(usize::from(touches));
                self.blanks(if before.is_empty() { 0 } else { blanks });
            }
            match token.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                _ => {}
            }
            self.out.push_str(&token);
            before = token;
        }
    }

    fn blanks(&mut self, count: usize) {
        for _ in 0..count {
            self.out.push(if self.random.chance(5) { '\t' } else { ' ' });
        }
    }

    fn line_end(&mut self) {
        self.out.push_str(if self.random.chance(5) { "\r\n" } else { "\n" });
    }

    /// Ends the line of a statement, with or without a comment, and goes to the start of another.
    fn end_line(&mut self) {
        self.flush();
        let blanks = self.random.below(3);
        self.blanks(blanks);
        if self.random.chance(25) {
            let comment = self.random.pick(COMMENTS);
            self.out.push_str(comment);
        }
        self.line_end();
        self.between_lines();
    }

    fn between_lines(&mut self) {
        while self.random.chance(35) {
            let blanks = self.random.below(5);
            self.blanks(blanks);
            if self.random.chance(50) {
                let comment = self.random.pick(COMMENTS);
                self.out.push_str(comment);
            }
            self.line_end();
        }
        let blanks = self.random.below(5);
        self.blanks(blanks);
    }

    fn name(&mut self) {
        let name = self.random.pick(NAMES);
        self.put(name);
    }

    fn per(&mut self, percent: usize) {
        if self.random.chance(percent) {
            let extent = self.random.pick(EXTENTS);
            self.put(&format!("per {extent}"));
        }
    }

    fn value(&mut self) {
        self.put("=");
        self.expr(0);
    }

    fn declaration(&mut self) {
        match self.random.below(9) {
            0..=3 => self.hyper(),
            4 | 5 => {
                self.put("state");
                self.name();
                self.per(30);
                if self.random.chance(30) {
                    self.put("as bf16");
                }
                self.value();
            }
            6 => {
                self.put("input");
                self.name();
                self.per(30);
                if self.random.chance(50) {
                    self.value();
                }
            }
            7 => {
                self.put("def");
                self.name();
                self.put("(");
                for index in 0..self.random.below(4) {
                    if index > 0 {
                        self.put(",");
                    }
                    self.name();
                }
                self.put(")");
                self.value();
            }
            _ => {
                self.put("require");
                self.expr(0);
                self.put(",");
                let message = self.random.pick(&["\"\"", "\"lr  # is a rate\"", "\"{(\""]);
                self.tokens.push(message.to_owned());
            }
        }
    }

    fn hyper(&mut self) {
        self.put("hyper");
        self.name();
        self.per(20);
        self.put("=");
        match self.random.below(6) {
            0 => {
                self.tokens.push("one of".to_owned());
                self.name();
                while self.random.chance(60) {
                    self.put("|");
                    self.name();
                }
            }
            1 => {
                self.put("[");
                for index in 0..self.random.below(4) {
                    if index > 0 {
                        self.put(",");
                    }
                    self.expr(2);
                }
                self.put("]");
            }
            _ => self.expr(1),
        }
        match self.random.below(4) {
            0 => {
                let (low, high) = (self.random.pick(BOUNDS), self.random.pick(BOUNDS));
                let (open, close) = (self.random.pick(&["[", "("]), self.random.pick(&["]", ")"]));
                self.put(&format!("in {open} {low} , {high} {close}"));
            }
            1 => {
                let range = self.random.pick(&["in 1 ..", "in 0 .. 10", "in -3 .."]);
                self.put(range);
            }
            _ => {}
        }
        if self.random.chance(20) {
            self.put("fixed");
        }
    }

    fn statement(&mut self, depth: usize) {
        match self.random.below(14) {
            0 | 1 => {
                self.put("let");
                self.name();
                self.per(20);
                self.value();
            }
            2 | 3 if depth < 3 => self.if_statement(depth),
            4 => {
                self.put("use adam");
                if self.random.chance(40) {
                    self.put("as inner");
                }
                if self.random.chance(60) {
                    self.put("( lr");
                    self.value();
                    if self.random.chance(50) {
                        self.put(", eps");
                        self.value();
                    }
                    self.put(")");
                }
            }
            5 => {
                self.put("skip if");
                self.expr(0);
            }
            6 => {
                let keyword = self.random.pick(&["report", "view"]);
                self.put(keyword);
                self.name();
                self.value();
            }
            _ => {
                if self.random.chance(10) {
                    let name = self.random.pick(USED_NAMES);
                    self.put(name);
                } else {
                    self.name();
                }
                let op = self.random.pick(&["=", "+=", "-=", "*=", "/="]);
                self.put(op);
                self.expr(0);
            }
        }
    }

    fn if_statement(&mut self, depth: usize) {
        self.put("if");
        self.expr(0);
        self.block(depth);
        while self.random.chance(30) {
            self.put("else if");
            self.expr(1);
            self.block(depth);
        }
        if self.random.chance(40) {
            self.put("else");
            self.block(depth);
        }
    }

    fn block(&mut self, depth: usize) {
        self.put("{");
        match self.random.below(4) {
            0 => {}
            1 => self.statement(depth + 1),
            _ => {
                self.end_line();
                for _ in 0..self.random.below(4) {
                    self.statement(depth + 1);
                    self.end_line();
                }
            }
        }
        self.put("}");
    }

    fn expr(&mut self, depth: usize) {
        if self.random.chance(6) && depth < 4 {
            self.put("if");
            self.expr(depth + 1);
            self.put("then");
            self.expr(depth + 1);
            self.put("else");
            return self.expr(depth + 1);
        }
        self.chain(
            depth,
            &[&["or"], &["and"], &["not"], &["<", "<=", "==", "!=", ">", ">="], &["+", "-"], &["*", "/", "%"]],
        );
    }

    fn chain(&mut self, depth: usize, levels: &[&[&str]]) {
        let Some((operators, tighter)) = levels.split_first() else { return self.unary(depth) };
        let percent = [25, 15, 10, 5, 2, 1][depth.min(5)];
        match operators {
            ["not"] => {
                while self.random.chance(8) {
                    self.put("not");
                }
                self.chain(depth, tighter);
            }
            ["<", ..] => {
                self.chain(depth, tighter);
                if self.random.chance(percent / 2) {
                    let op = self.random.pick(operators);
                    self.put(op);
                    self.chain(depth, tighter);
                }
            }
            _ => {
                let percent = if operators.len() > 1 { percent * 2 } else { percent / 3 };
                self.chain(depth, tighter);
                while self.random.chance(percent) {
                    let op = self.random.pick(operators);
                    self.put(op);
                    self.chain(depth, tighter);
                }
            }
        }
    }

    fn unary(&mut self, depth: usize) {
        while self.random.chance(10) {
            self.put("-");
        }
        self.operand(depth);
        if self.random.chance(15) {
            self.put("^");
            self.unary(depth + 1);
        }
    }

    fn operand(&mut self, depth: usize) {
        match self.random.below(if depth < 5 { 12 } else { 6 }) {
            0 | 1 => {
                let number = self.random.pick(NUMBERS);
                self.put(number);
            }
            2 => {
                let name = self.random.pick(&["true", "false", "adam.m", "inf"]);
                self.put(name);
            }
            3..=5 => self.name(),
            6 => {
                self.name();
                self.put("[");
                self.expr(depth + 1);
                self.put("]");
            }
            7 | 8 => {
                self.put("(");
                self.expr(depth + 1);
                self.put(")");
            }
            _ => {
                self.name();
                self.put("(");
                for index in 0..self.random.below(4) {
                    if index > 0 {
                        self.put(",");
                    }
                    if self.random.chance(10) {
                        self.name();
                        self.put("=");
                    }
                    self.expr(depth + 1);
                }
                self.per(20);
                self.put(")");
            }
        }
    }
}
