//! The syntax tree of one rule file, as written: names are strings, nothing is resolved, every node has its span.
//!
//! The tree is flat where the language is flat: a chain such as `a + b - c` is one node with a list, so the depth of a
//! tree is bounded by the nesting limit of the scan and recursion over it is safe. Parentheses are kept, because the
//! formatter keeps them.

use crate::source::Span;
use std::sync::Arc;

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Ast {
    /// The comment block before the header, one string a line, without `#`.
    pub docs: Vec<String>,
    /// `optimizer`, `fragment` or `schedule`, and the name; `None` if the header is missing or broken (reported).
    pub header: Option<Header>,
    /// Declarations and statements in file order.
    pub items: Vec<Item>,
}

/// The line `optimizer NAME`.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// What the file holds.
    pub kind: FileKind,
    /// The name.
    pub name: Ident,
    /// The whole line.
    pub span: Span,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A complete update rule.
    Optimizer,
    /// Statements for other rules to `use`.
    Fragment,
    /// A schedule of a hyper.
    Schedule,
}

impl FileKind {
    /// The keyword of the header.
    pub fn keyword(self) -> &'static str {
        match self {
            FileKind::Optimizer => "optimizer",
            FileKind::Fragment => "fragment",
            FileKind::Schedule => "schedule",
        }
    }

    /// What the name of such a file ends with, after the dot.
    pub fn extension(self) -> &'static str {
        match self {
            FileKind::Optimizer | FileKind::Fragment => "opt",
            FileKind::Schedule => "sched",
        }
    }
}

/// A name and where it stands. Its text is in Unicode normalization form C. `adam.m` is one name.
#[derive(Clone, Debug)]
pub struct Ident {
    /// The name.
    pub text: Arc<str>,
    /// Where.
    pub span: Span,
}

/// Names are equal if their texts are: where they stand does not matter.
impl PartialEq for Ident {
    fn eq(&self, other: &Ident) -> bool {
        self.text == other.text
    }
}

/// A declaration or a statement, with the comment at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// From its first to its last byte, blocks included, the comment not.
    pub span: Span,
    /// The comment at the end of its (first) line, without `#`, unless it is an `allow`.
    pub doc: Option<String>,
    /// `# allow(CODE): reason` at the end of its (first) line.
    pub allow: Option<Allow>,
}

/// `# allow(CODE): reason`.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow {
    /// The slug, as written.
    pub code: Ident,
    /// The reason: what follows the colon.
    pub reason: String,
}

/// The kinds of declarations and statements.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `hyper NAME [per model] = VALUE [in INTERVAL] [fixed]`
    Hyper {
        /// The name.
        name: Ident,
        /// `per EXTENT`.
        per: Option<Ident>,
        /// The default.
        value: HyperValue,
        /// `in INTERVAL`.
        interval: Option<Interval>,
        /// `fixed`: where the word stands.
        fixed: Option<Span>,
    },
    /// `state NAME [per EXTENT] [as DTYPE] = EXPR`
    State {
        /// The name.
        name: Ident,
        /// `per EXTENT`.
        per: Option<Ident>,
        /// `as DTYPE`.
        dtype: Option<Ident>,
        /// The value before the first step.
        init: Expr,
    },
    /// `input NAME [per EXTENT] [= DEFAULT]`
    Input {
        /// The name.
        name: Ident,
        /// `per EXTENT`.
        per: Option<Ident>,
        /// The value if the host gives none.
        default: Option<Expr>,
    },
    /// `def f(a, b) = EXPR`
    Def {
        /// The name.
        name: Ident,
        /// The parameters.
        params: Vec<Ident>,
        /// The body.
        body: Expr,
    },
    /// `require COND, "message"`
    Require {
        /// What must hold.
        cond: Expr,
        /// What is said if it does not.
        message: String,
    },
    /// `let NAME [per EXTENT] = EXPR`
    Let {
        /// The name.
        name: Ident,
        /// `per EXTENT`.
        per: Option<Ident>,
        /// The initialiser.
        value: Expr,
    },
    /// `NAME = EXPR` and `NAME += EXPR` and so on.
    Assign {
        /// What is assigned to.
        name: Ident,
        /// `=`, `+=`, ...
        op: AssignOp,
        /// The right side.
        value: Expr,
    },
    /// `if COND { ... } else if COND { ... } else { ... }`
    If {
        /// Each condition with its block, in order.
        branches: Vec<Branch>,
        /// The last `else`.
        otherwise: Option<Block>,
    },
    /// `use RULE [as NAME](hyper = EXPR, ...)`
    Use {
        /// The other file's stem.
        rule: Ident,
        /// `as NAME`.
        alias: Option<Ident>,
        /// The bound hypers.
        bindings: Vec<(Ident, Expr)>,
    },
    /// `skip if COND`
    Skip {
        /// When nothing changes.
        cond: Expr,
    },
    /// `report NAME = EXPR`
    Report {
        /// The name.
        name: Ident,
        /// The value.
        value: Expr,
    },
    /// `view NAME = EXPR`
    View {
        /// The name.
        name: Ident,
        /// The value.
        value: Expr,
    },
    /// A piece that did not parse (reported). If it was plainly meant to declare a name, later uses of that name are
    /// not reported as unknown.
    Broken {
        /// The name that it would have declared.
        declares: Option<Ident>,
    },
}

/// One `if COND { ... }` of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// The condition.
    pub cond: Expr,
    /// The statements.
    pub block: Block,
}

/// The statements between braces.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// In order.
    pub items: Vec<Item>,
    /// From `{` to `}`, both included.
    pub span: Span,
}

/// The default of a hyper.
#[derive(Clone, Debug, PartialEq)]
pub enum HyperValue {
    /// A number, or a flag (`true`, `false`).
    Expr(Expr),
    /// `one of linear | cosine`.
    Modes(Vec<Ident>),
    /// `[30, 60]`.
    List(Vec<Expr>),
}

/// The values that a hyper may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// The least value.
    pub low: f64,
    /// Whether it may be taken.
    pub low_closed: bool,
    /// The greatest value.
    pub high: f64,
    /// Whether it may be taken.
    pub high_closed: bool,
    /// `1..`: whole numbers only.
    pub integers: bool,
    /// Where it stands.
    pub span: Span,
}

/// The operators of assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AssignOp {
    Set,
    Add,
    Sub,
    Mul,
    Div,
}

impl AssignOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            AssignOp::Set => "=",
            AssignOp::Add => "+=",
            AssignOp::Sub => "-=",
            AssignOp::Mul => "*=",
            AssignOp::Div => "/=",
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1e-3`. The text is kept, because the formatter keeps it.
    Number {
        /// The nearest f64; infinite if the text overflows (check rejects it).
        value: f64,
        /// As written.
        text: Arc<str>,
    },
    /// `true` or `false`.
    Bool(bool),
    /// A name, possibly of a used rule: `adam.m`.
    Name(Ident),
    /// `milestones[i]`
    Index {
        /// The list.
        list: Ident,
        /// Which.
        index: Box<Expr>,
    },
    /// `f(a, b)`, `mean(g^2 per row)`, `cosine(at = s - warmup)`
    Call {
        /// What is called.
        function: Ident,
        /// The arguments, in order.
        args: Vec<Arg>,
        /// `per EXTENT`, last in the call.
        per: Option<Ident>,
    },
    /// `(a)`
    Paren(Box<Expr>),
    /// `-a`, `not a`
    Unary {
        /// Which.
        op: UnaryOp,
        /// Of what.
        operand: Box<Expr>,
    },
    /// `a^b`
    Power {
        /// The base.
        base: Box<Expr>,
        /// The exponent.
        exponent: Box<Expr>,
    },
    /// Operators of one precedence, from the left: `a * b / c`, `a + b - c`, `a and b`.
    Chain {
        /// The first operand.
        first: Box<Expr>,
        /// Each operator with its right operand; never empty.
        rest: Vec<(BinaryOp, Expr)>,
    },
    /// `a < b`
    Compare {
        /// Which.
        op: CompareOp,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
    },
    /// `if c then a else b`
    If {
        /// The condition.
        cond: Box<Expr>,
        /// The value where it holds.
        then: Box<Expr>,
        /// The value where it does not.
        otherwise: Box<Expr>,
    },
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// `NAME =`, in calls of schedules.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnaryOp {
    Neg,
    Not,
}

/// Operators that chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Or,
    And,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
        }
    }
}

/// Comparisons. None holds for NaN but `!=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl CompareOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        }
    }
}
