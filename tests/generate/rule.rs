//! Random rules: what they are made of, and their text.
//!
//! A rule is generated as a small tree that can always be written as a valid rule, whatever part of it is taken away, so
//! that a failing one shrinks to a short file. It reaches every statement, operator and function that elements have, all
//! functions of scalars, conditions of every extent, `def`, `old`, and states of every extent.

use proptest::prelude::*;
use std::fmt::Write as _;

/// A rule.
#[derive(Clone, Debug)]
pub struct GenRule {
    pub stmts: Vec<GenStmt>,
    pub inits: [u8; 3],
    pub flags: [bool; 2],
}

/// A statement.
#[derive(Clone, Debug)]
pub enum GenStmt {
    /// A value for one of p, g, the states m, v, w per element, and the locals so far.
    Element(u8, u8, Element),
    /// A value for the states per tensor, group or model; only where every condition around is scalar.
    Scalar(u8, Number),
    /// A new local.
    LetElement(Element),
    LetScalar(Number),
    /// A condition of scalars.
    IfScalar(Condition, Vec<GenStmt>, Vec<GenStmt>),
    /// A condition of elements.
    Choice(ElementCondition, Vec<GenStmt>, Vec<GenStmt>),
}

/// An expression per element, by the production and its operands.
#[derive(Clone, Debug)]
pub enum Element {
    Leaf(u8),
    Scalar(Number),
    Unary(u8, Box<Element>),
    Binary(u8, Box<Element>, Box<Element>),
    Ternary(u8, Box<Element>, Box<Element>, Box<Element>),
    Power(Box<Element>, i8),
    IfScalar(Box<Condition>, Box<Element>, Box<Element>),
    Choice(Box<ElementCondition>, Box<Element>, Box<Element>),
}

/// A scalar expression.
#[derive(Clone, Debug)]
pub enum Number {
    Leaf(u8),
    Unary(u8, Box<Number>),
    Binary(u8, Box<Number>, Box<Number>),
    If(Box<Condition>, Box<Number>, Box<Number>),
}

/// A condition of scalars.
#[derive(Clone, Debug)]
pub enum Condition {
    Flag(bool),
    Compare(u8, Number, Number),
    Not(Box<Condition>),
    Join(bool, Box<Condition>, Box<Condition>),
}

/// A condition of elements.
#[derive(Clone, Debug)]
pub enum ElementCondition {
    Compare(u8, Element, Element),
    Finite(Element),
    Not(Box<ElementCondition>),
    Join(bool, Box<ElementCondition>, Box<ElementCondition>),
    /// Joined with a condition of scalars.
    Mixed(bool, Condition, Box<ElementCondition>),
}

fn number(depth: u32) -> BoxedStrategy<Number> {
    let leaf = any::<u8>().prop_map(Number::Leaf);
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || number(depth - 1).prop_map(Box::new);
    prop_oneof![
        3 => leaf,
        1 => (any::<u8>(), inner()).prop_map(|(op, a)| Number::Unary(op, a)),
        3 => (any::<u8>(), inner(), inner()).prop_map(|(op, a, b)| Number::Binary(op, a, b)),
        1 => (condition(depth - 1).prop_map(Box::new), inner(), inner()).prop_map(|(c, a, b)| Number::If(c, a, b)),
    ]
    .boxed()
}

fn condition(depth: u32) -> BoxedStrategy<Condition> {
    let compare = (any::<u8>(), number(depth.min(1)), number(0)).prop_map(|(op, a, b)| Condition::Compare(op, a, b));
    let flag = any::<bool>().prop_map(Condition::Flag);
    if depth == 0 {
        return prop_oneof![2 => compare, 1 => flag].boxed();
    }
    let inner = || condition(depth - 1).prop_map(Box::new);
    prop_oneof![
        3 => compare,
        1 => flag,
        1 => inner().prop_map(Condition::Not),
        1 => (any::<bool>(), inner(), inner()).prop_map(|(and, a, b)| Condition::Join(and, a, b)),
    ]
    .boxed()
}

fn element_condition(depth: u32) -> BoxedStrategy<ElementCondition> {
    let compare =
        (any::<u8>(), element(depth.min(1)), element(0)).prop_map(|(op, a, b)| ElementCondition::Compare(op, a, b));
    if depth == 0 {
        return compare.boxed();
    }
    let inner = || element_condition(depth - 1).prop_map(Box::new);
    prop_oneof![
        4 => compare,
        1 => element(depth - 1).prop_map(ElementCondition::Finite),
        1 => inner().prop_map(ElementCondition::Not),
        1 => (any::<bool>(), inner(), inner()).prop_map(|(and, a, b)| ElementCondition::Join(and, a, b)),
        1 => (any::<bool>(), condition(0), inner()).prop_map(|(and, a, b)| ElementCondition::Mixed(and, a, b)),
    ]
    .boxed()
}

fn element(depth: u32) -> BoxedStrategy<Element> {
    let leaf = any::<u8>().prop_map(Element::Leaf);
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || element(depth - 1).prop_map(Box::new);
    prop_oneof![
        3 => leaf,
        3 => number(depth - 1).prop_map(Element::Scalar),
        2 => (any::<u8>(), inner()).prop_map(|(op, a)| Element::Unary(op, a)),
        8 => (any::<u8>(), inner(), inner()).prop_map(|(op, a, b)| Element::Binary(op, a, b)),
        2 => (any::<u8>(), inner(), inner(), inner()).prop_map(|(op, a, b, c)| Element::Ternary(op, a, b, c)),
        1 => (inner(), -5i8..12).prop_map(|(a, n)| Element::Power(a, n)),
        1 => (condition(0).prop_map(Box::new), inner(), inner()).prop_map(|(c, a, b)| Element::IfScalar(c, a, b)),
        1 => (element_condition(depth - 1).prop_map(Box::new), inner(), inner())
            .prop_map(|(c, a, b)| Element::Choice(c, a, b)),
    ]
    .boxed()
}

fn stmt(depth: u32) -> BoxedStrategy<GenStmt> {
    let assign = (any::<u8>(), any::<u8>(), element(3)).prop_map(|(to, op, e)| GenStmt::Element(to, op, e));
    if depth == 0 {
        return assign.boxed();
    }
    let block = || prop::collection::vec(stmt(depth - 1), 0..3);
    prop_oneof![
        6 => assign,
        2 => (any::<u8>(), number(2)).prop_map(|(to, n)| GenStmt::Scalar(to, n)),
        1 => element(2).prop_map(GenStmt::LetElement),
        1 => number(2).prop_map(GenStmt::LetScalar),
        1 => (condition(1), block(), block()).prop_map(|(c, a, b)| GenStmt::IfScalar(c, a, b)),
        1 => (element_condition(1), block(), block()).prop_map(|(c, a, b)| GenStmt::Choice(c, a, b)),
    ]
    .boxed()
}

/// Any rule.
pub fn rule() -> impl Strategy<Value = GenRule> {
    (prop::collection::vec(stmt(2), 1..8), any::<[u8; 3]>(), any::<[bool; 2]>())
        .prop_map(|(stmts, inits, flags)| GenRule { stmts, inits, flags })
}

/// The hypers that a generated rule declares, with their defaults. One is infinite, one is 0, one is negative.
pub const HYPERS: [(&str, &str); 5] = [("a", "0.3"), ("b", "0.9"), ("c", "-1.7"), ("d", "0"), ("e", "2.5")];

struct Writer {
    out: String,
    /// How many locals there are per element, and how many scalars, in the blocks around.
    elements: Vec<String>,
    scalars: Vec<String>,
    made: usize,
    /// Whether a condition of elements is around.
    selected: bool,
}

impl GenRule {
    /// The text of the rule, called `generated`.
    pub fn text(&self) -> String {
        let mut w = Writer { out: String::new(), elements: Vec::new(), scalars: Vec::new(), made: 0, selected: false };
        w.out.push_str("optimizer generated\n");
        for (name, default) in HYPERS {
            let _ = writeln!(w.out, "hyper {name} = {default}");
        }
        let _ = writeln!(w.out, "hyper f1 = {}\nhyper f2 = {}", self.flags[0], self.flags[1]);
        w.out.push_str("hyper h per model = 0.5\n");
        let inits = ["0", "1.5", "p", "-0.25*p", "a*b", "p*p + a", "if f1 then p else 2"];
        for (name, init) in ["m", "v", "w"].iter().zip(self.inits) {
            let _ = writeln!(w.out, "state {name} = {}", inits[usize::from(init) % inits.len()]);
        }
        w.out.push_str("state kt per tensor = a\nstate kg per group = 2\nstate km per model = h\n");
        w.out.push_str("input x = 0.75\n");
        w.out.push_str("def square(y) = y*y\ndef mix(y, z) = a*y + z/e\n\n");
        w.stmts(&self.stmts, 0);
        w.out
    }
}

impl Writer {
    fn stmts(&mut self, stmts: &[GenStmt], indent: usize) {
        let margin = "    ".repeat(indent);
        for stmt in stmts {
            match stmt {
                GenStmt::Element(to, op, e) => {
                    let mut names: Vec<&str> = vec!["p", "g", "m", "v", "w"];
                    names.extend(self.elements.iter().map(String::as_str));
                    let name = names[usize::from(*to) % names.len()].to_string();
                    let op = ["=", "=", "+=", "-=", "*=", "/="][usize::from(*op) % 6];
                    let e = self.element(e);
                    let _ = writeln!(self.out, "{margin}{name} {op} {e}");
                }
                GenStmt::Scalar(to, n) => {
                    if self.selected {
                        continue;
                    }
                    // A state per model or group may only be given values of its own extent: those of `t` are not.
                    let n = self.number(n);
                    match to % 4 {
                        0 => drop(writeln!(self.out, "{margin}kt = {n}")),
                        1 if indent == 0 => drop(writeln!(self.out, "{margin}kg = kg*0.5 + a*x")),
                        2 if indent == 0 => drop(writeln!(self.out, "{margin}km = km + h*x")),
                        _ => drop(writeln!(self.out, "{margin}kt += {n}")),
                    }
                }
                GenStmt::LetElement(e) => {
                    let e = self.element(e);
                    let name = format!("l{}", self.made);
                    self.made += 1;
                    let _ = writeln!(self.out, "{margin}let {name} per element = {e}");
                    self.elements.push(name);
                }
                GenStmt::LetScalar(n) => {
                    let n = self.number(n);
                    let name = format!("s{}", self.made);
                    self.made += 1;
                    let _ = writeln!(self.out, "{margin}let {name} = {n}");
                    self.scalars.push(name);
                }
                GenStmt::IfScalar(c, then, otherwise) => {
                    let c = self.condition(c);
                    self.branch(&c, then, otherwise, indent);
                }
                GenStmt::Choice(c, then, otherwise) => {
                    let c = self.element_condition(c);
                    let outer = std::mem::replace(&mut self.selected, true);
                    self.branch(&c, then, otherwise, indent);
                    self.selected = outer;
                }
            }
        }
    }

    fn branch(&mut self, cond: &str, then: &[GenStmt], otherwise: &[GenStmt], indent: usize) {
        let margin = "    ".repeat(indent);
        let _ = writeln!(self.out, "{margin}if {cond} {{");
        self.block(then, indent + 1);
        if !otherwise.is_empty() {
            let _ = writeln!(self.out, "{margin}}} else {{");
            self.block(otherwise, indent + 1);
        }
        let _ = writeln!(self.out, "{margin}}}");
    }

    fn block(&mut self, stmts: &[GenStmt], indent: usize) {
        let (elements, scalars) = (self.elements.len(), self.scalars.len());
        self.stmts(stmts, indent);
        self.elements.truncate(elements);
        self.scalars.truncate(scalars);
    }

    fn element(&self, e: &Element) -> String {
        match e {
            Element::Leaf(which) => {
                let mut names: Vec<&str> = vec!["p", "g", "m", "v", "w", "old(p)", "old(g)", "old(m)", "g", "p"];
                names.extend(self.elements.iter().map(String::as_str));
                names[usize::from(*which) % names.len()].to_string()
            }
            Element::Scalar(n) => self.number(n),
            Element::Unary(op, a) => {
                let a = self.element(a);
                let forms = [
                    "(-X)",
                    "abs(X)",
                    "sqrt(X)",
                    "rsqrt(X)",
                    "sign(X)",
                    "floor(X)",
                    "ceil(X)",
                    "round(X)",
                    "square(X)",
                    "(X)^2",
                ];
                forms[usize::from(*op) % forms.len()].replace('X', &a)
            }
            Element::Binary(op, a, b) => {
                let (a, b) = (self.element(a), self.element(b));
                // Parentheses around some operands only: the grammar's precedences are reached too.
                let forms = [
                    "(X + Y)",
                    "(X - Y)",
                    "(X * Y)",
                    "(X / Y)",
                    "X + Y",
                    "(X) - (Y)",
                    "(X)*(Y)",
                    "(X)/(Y)",
                    "(a*(X) + b*(Y))",
                    "min(X, Y)",
                    "max(X, Y)",
                    "mix(X, Y)",
                    "(X)*e*(Y)",
                    "c/(X)*(Y)",
                    "(X - e*(Y))",
                ];
                forms[usize::from(*op) % forms.len()].replace('X', "\u{1}").replace('Y', &b).replace('\u{1}', &a)
            }
            Element::Ternary(op, a, b, c) => {
                let (a, b, c) = (self.element(a), self.element(b), self.element(c));
                let forms = ["clamp(X, Y, Z)", "lerp(X, Y, Z)", "fma(X, Y, Z)", "lerp(X, Y, b)"];
                let form = forms[usize::from(*op) % forms.len()];
                form.replace('X', "\u{1}")
                    .replace('Y', "\u{2}")
                    .replace('Z', &c)
                    .replace('\u{2}', &b)
                    .replace('\u{1}', &a)
            }
            Element::Power(a, n) => format!("({})^{n}", self.element(a)),
            Element::IfScalar(c, a, b) => {
                format!("(if {} then {} else {})", self.condition(c), self.element(a), self.element(b))
            }
            Element::Choice(c, a, b) => {
                format!("(if {} then {} else {})", self.element_condition(c), self.element(a), self.element(b))
            }
        }
    }

    fn number(&self, n: &Number) -> String {
        match n {
            Number::Leaf(which) => {
                let mut names: Vec<&str> =
                    vec!["a", "b", "c", "d", "e", "h", "t", "kt", "kg", "km", "x", "2", "0.1", "1e-3", "epsilon", "pi"];
                names.extend(self.scalars.iter().map(String::as_str));
                names[usize::from(*which) % names.len()].to_string()
            }
            Number::Unary(op, a) => {
                let a = self.number(a);
                let forms = [
                    "(-X)",
                    "abs(X)",
                    "sqrt(X)",
                    "exp(X)",
                    "log(X)",
                    "tanh(X)",
                    "sigmoid(X)",
                    "sin(X)",
                    "cos(X)",
                    "cbrt(X)",
                    "sign(X)",
                    "floor(X)",
                    "round(X)",
                    "(X)^3",
                    "(X)^-1",
                    "rsqrt(X)",
                ];
                forms[usize::from(*op) % forms.len()].replace('X', &a)
            }
            Number::Binary(op, a, b) => {
                let (a, b) = (self.number(a), self.number(b));
                let forms = [
                    "(X + Y)",
                    "(X - Y)",
                    "X*(Y)",
                    "X/(Y)",
                    "((X) % (Y))",
                    "(X)^(Y)",
                    "min(X, Y)",
                    "max(X, Y)",
                    "(1 - (X)^t)*(Y)",
                ];
                forms[usize::from(*op) % forms.len()].replace('X', "\u{1}").replace('Y', &b).replace('\u{1}', &a)
            }
            Number::If(c, a, b) => {
                format!("(if {} then {} else {})", self.condition(c), self.number(a), self.number(b))
            }
        }
    }

    fn condition(&self, c: &Condition) -> String {
        match c {
            Condition::Flag(first) => if *first { "f1" } else { "f2" }.to_string(),
            Condition::Compare(op, a, b) => {
                format!("{} {} {}", self.number(a), compare(*op), self.number(b))
            }
            Condition::Not(c) => format!("not ({})", self.condition(c)),
            Condition::Join(and, a, b) => {
                format!("({}) {} ({})", self.condition(a), if *and { "and" } else { "or" }, self.condition(b))
            }
        }
    }

    fn element_condition(&self, c: &ElementCondition) -> String {
        let join = |and: bool| if and { "and" } else { "or" };
        match c {
            ElementCondition::Compare(op, a, b) => {
                format!("({}) {} ({})", self.element(a), compare(*op), self.element(b))
            }
            ElementCondition::Finite(a) => format!("isfinite({} + g)", self.element(a)),
            ElementCondition::Not(c) => format!("not ({})", self.element_condition(c)),
            ElementCondition::Join(and, a, b) => {
                format!("({}) {} ({})", self.element_condition(a), join(*and), self.element_condition(b))
            }
            ElementCondition::Mixed(and, a, b) => {
                format!("({}) {} ({})", self.condition(a), join(*and), self.element_condition(b))
            }
        }
    }
}

fn compare(op: u8) -> &'static str {
    ["==", "!=", "<", "<=", ">", ">="][usize::from(op) % 6]
}
