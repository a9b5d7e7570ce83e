//! Random rules with reductions: what they are made of, and their text.
//!
//! A rule is generated as a small tree of choices without extents. Writing it decides them: whatever an expression is
//! asked for, it becomes a valid one that fits, and whatever part of the tree is taken away leaves a valid rule, so that
//! a failing one shrinks to a short file. It reaches every reduction to and of every extent, states and locals of every
//! extent, draws, skips, reports, and conditions that are late, early, of elements and of smaller arrays.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use updraft::check::program::Extent;

/// Which tensors a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// Of any rank: no value per matrix, row, column or unit.
    Any,
    /// Of rank 2 and more, with such values anywhere.
    Two,
    /// Of any rank, with such values where the rank is asked first.
    Asked,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct GenRule {
    pub axes: Axes,
    pub stmts: Vec<GenStmt>,
    pub inits: Vec<Expr>,
    pub flags: [bool; 3],
}

/// A statement.
#[derive(Clone, Debug)]
pub enum GenStmt {
    /// A value for p, g, a state or a local: which, the operator, the value.
    Assign(u8, u8, Expr),
    /// What rules do most with a reduction: a variable over its own norm.
    Normalize(u8, u8, u8),
    /// A new local: of which extent, whether it is said, the value.
    Let(u8, bool, Expr),
    /// A new local that is a condition.
    LetCond(u8, bool, Cond),
    /// Blocks, and what the condition may differ by.
    If(u8, Cond, Vec<GenStmt>, Vec<GenStmt>),
    /// Blocks that the shape chooses from.
    Ask(bool, Vec<GenStmt>, Vec<GenStmt>),
    Skip(u8, Cond),
    Report(u8, Expr),
}

/// An expression, by the production and its operands.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A name or a number: of which extent, which of those.
    Leaf(u8, u8),
    Draw(u8),
    Unary(u8, Box<Expr>),
    Binary(u8, Box<Expr>, Box<Expr>),
    Ternary(u8, Box<Expr>, Box<Expr>, Box<Expr>),
    Power(Box<Expr>, i8),
    /// Which function, to which extent, of which; `dot` has the second operand.
    Reduce(u8, u8, u8, Box<Expr>, Box<Expr>),
    /// `count` or `mean` of a condition.
    Share(bool, u8, u8, Box<Cond>),
    If(Box<Cond>, Box<Expr>, Box<Expr>),
    /// The shape chooses.
    Ask(Box<Expr>, Box<Expr>),
    Def(u8, Box<Expr>),
}

/// A condition.
#[derive(Clone, Debug)]
pub enum Cond {
    Flag(u8),
    Local(u8),
    Compare(u8, Expr, Expr),
    Finite(Expr),
    Not(Box<Cond>),
    Join(bool, Box<Cond>, Box<Cond>),
    /// `any` or `all`.
    Reduce(bool, u8, u8, Box<Cond>),
}

fn expr(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = any::<(u8, u8)>().prop_map(|(extent, which)| Expr::Leaf(extent, which));
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || expr(depth - 1).prop_map(Box::new);
    let cond = || cond(depth - 1).prop_map(Box::new);
    prop_oneof![
        6 => leaf,
        1 => any::<u8>().prop_map(Expr::Draw),
        3 => (any::<u8>(), inner()).prop_map(|(op, a)| Expr::Unary(op, a)),
        9 => (any::<u8>(), inner(), inner()).prop_map(|(op, a, b)| Expr::Binary(op, a, b)),
        1 => (any::<u8>(), inner(), inner(), inner()).prop_map(|(op, a, b, c)| Expr::Ternary(op, a, b, c)),
        1 => (inner(), -2i8..6).prop_map(|(a, n)| Expr::Power(a, n)),
        8 => (any::<[u8; 3]>(), inner(), inner()).prop_map(|([f, to, of], a, b)| Expr::Reduce(f, to, of, a, b)),
        1 => (any::<bool>(), any::<[u8; 2]>(), cond()).prop_map(|(mean, [to, of], c)| Expr::Share(mean, to, of, c)),
        1 => (cond(), inner(), inner()).prop_map(|(c, a, b)| Expr::If(c, a, b)),
        1 => (inner(), inner()).prop_map(|(a, b)| Expr::Ask(a, b)),
        1 => (any::<u8>(), inner()).prop_map(|(which, a)| Expr::Def(which, a)),
    ]
    .boxed()
}

fn cond(depth: u32) -> BoxedStrategy<Cond> {
    let compare = (any::<u8>(), expr(depth.min(1)), expr(0)).prop_map(|(op, a, b)| Cond::Compare(op, a, b));
    if depth == 0 {
        return prop_oneof![
            4 => compare,
            1 => any::<u8>().prop_map(Cond::Flag),
            1 => any::<u8>().prop_map(Cond::Local),
        ]
        .boxed();
    }
    let inner = || cond(depth - 1).prop_map(Box::new);
    prop_oneof![
        4 => compare,
        1 => any::<u8>().prop_map(Cond::Flag),
        2 => any::<u8>().prop_map(Cond::Local),
        1 => expr(depth - 1).prop_map(Cond::Finite),
        1 => inner().prop_map(Cond::Not),
        1 => (any::<bool>(), inner(), inner()).prop_map(|(and, a, b)| Cond::Join(and, a, b)),
        2 => (any::<bool>(), any::<[u8; 2]>(), inner()).prop_map(|(all, [to, of], c)| Cond::Reduce(all, to, of, c)),
    ]
    .boxed()
}

fn stmt(depth: u32) -> BoxedStrategy<GenStmt> {
    let assign = || (any::<u8>(), any::<u8>(), expr(3)).prop_map(|(to, op, e)| GenStmt::Assign(to, op, e));
    if depth == 0 {
        return assign().boxed();
    }
    let block = || prop::collection::vec(stmt(depth - 1), 0..3);
    prop_oneof![
        8 => assign(),
        2 => any::<[u8; 3]>().prop_map(|[var, to, form]| GenStmt::Normalize(var, to, form)),
        3 => (any::<u8>(), any::<bool>(), expr(2)).prop_map(|(of, says, e)| GenStmt::Let(of, says, e)),
        2 => (any::<u8>(), any::<bool>(), cond(2)).prop_map(|(of, says, c)| GenStmt::LetCond(of, says, c)),
        2 => (any::<u8>(), cond(2), block(), block()).prop_map(|(of, c, a, b)| GenStmt::If(of, c, a, b)),
        2 => (any::<bool>(), block(), block()).prop_map(|(not, a, b)| GenStmt::Ask(not, a, b)),
        1 => (any::<u8>(), cond(1)).prop_map(|(form, c)| GenStmt::Skip(form, c)),
        1 => (any::<u8>(), expr(2)).prop_map(|(of, e)| GenStmt::Report(of, e)),
    ]
    .boxed()
}

/// Any rule.
pub fn rule() -> impl Strategy<Value = GenRule> {
    let axes = prop_oneof![Just(Axes::Any), Just(Axes::Two), Just(Axes::Asked)];
    // A skip can only stand first, so that is where it is often tried.
    let first = prop_oneof![
        3 => Just(None),
        1 => (any::<u8>(), cond(1)).prop_map(|(form, c)| Some(GenStmt::Skip(form, c))),
    ];
    let inits = prop::collection::vec(prop_oneof![2 => Just(Expr::Leaf(0, 1)), 1 => expr(2)], STATES.len());
    (axes, first, prop::collection::vec(stmt(2), 1..9), inits, any::<[bool; 3]>()).prop_map(
        |(axes, first, stmts, inits, flags)| GenRule {
            axes,
            stmts: first.into_iter().chain(stmts).collect(),
            inits,
            flags,
        },
    )
}

/// The states of a rule. Those that need axes are declared where the rule has any.
const STATES: [(&str, Extent); 9] = [
    ("m", Extent::Element),
    ("v", Extent::Element),
    ("sr", Extent::Row),
    ("sc", Extent::Col),
    ("sx", Extent::Matrix),
    ("su", Extent::Unit),
    ("kt", Extent::Tensor),
    ("kg", Extent::Group),
    ("km", Extent::Model),
];

/// Larger ones first: what a choice of 0 stands for comes first.
const EXTENTS: [Extent; 8] = [
    Extent::Element,
    Extent::Tensor,
    Extent::Model,
    Extent::Group,
    Extent::Row,
    Extent::Col,
    Extent::Matrix,
    Extent::Unit,
];

/// The reductions of numbers.
const REDUCTIONS: [&str; 7] = ["sum", "norm", "mean", "max", "min", "rms", "dot"];

/// The functions of a rule: what each is of, what it gives, whether it draws.
const DEFS: [(&str, Extent, &str); 7] = [
    ("centered", Extent::Element, "y - mean(y)"),
    ("relative", Extent::Element, "y/(0.5 + norm(y per model))"),
    ("share", Extent::Tensor, "count(y > 0)/(1 + numel)"),
    ("greatest", Extent::Model, "max(abs(y) per model)"),
    ("noisy", Extent::Element, "y + 0.125*normal()"),
    ("across", Extent::Row, "dot(y, y + 1 per row)"),
    ("along", Extent::Element, "y - mean(y per col)"),
];

/// Where an expression stands, and what it is asked for.
#[derive(Clone, Copy)]
struct Here {
    /// What it has to fit in.
    target: Extent,
    /// Whether it may reduce: no condition of arrays is around.
    reduces: bool,
    /// Whether it may be of an extent that needs axes.
    axes: bool,
    /// Whether it is the first value of a state.
    init: bool,
}

impl Here {
    fn of(self, target: Extent) -> Here {
        Here { target, ..self }
    }

    fn has(self, extent: Extent) -> bool {
        extent.fits_in(self.target) && (self.axes || !extent.needs_axes())
    }
}

struct Local {
    name: String,
    extent: Extent,
    is_condition: bool,
    /// How many conditions are around its `let`.
    depth: usize,
}

struct Writer {
    axes: Axes,
    out: String,
    locals: Vec<Local>,
    made: usize,
    /// The extent of each condition around, and whether it is late.
    around: Vec<(Extent, bool)>,
    /// Whether the rank has been asked.
    asked: bool,
    /// Whether p or a state has been assigned.
    changed: bool,
    /// The variables that may depend on a reduction.
    late: BTreeSet<String>,
    /// Whether what has been written does.
    is_late: bool,
    reports: usize,
}

/// One of them; of the first as often as of all others together.
fn pick<T: Copy>(all: &[T], which: u8) -> T {
    let index = usize::from(which) % (2 * all.len());
    all[if index < all.len() { index } else { 0 }]
}

/// A form with its letters replaced.
fn fill(form: &str, operands: &[&str]) -> String {
    let mut out = String::new();
    for c in form.chars() {
        match "XYZ".find(c) {
            Some(index) => out.push_str(operands[index]),
            None => out.push(c),
        }
    }
    out
}

impl GenRule {
    /// The text of the rule, called `generated`.
    pub fn text(&self) -> String {
        let mut w = Writer {
            axes: self.axes,
            out: String::new(),
            locals: Vec::new(),
            made: 0,
            around: Vec::new(),
            asked: self.axes == Axes::Two,
            changed: false,
            late: BTreeSet::new(),
            is_late: false,
            reports: 0,
        };
        w.out.push_str("optimizer generated\nhyper a = 0.3\nhyper b = 0.9\nhyper c = -1.7\nhyper d = 0\n");
        let [f1, f2, f3] = self.flags;
        let _ = writeln!(w.out, "hyper f1 = {f1}\nhyper f2 = {f2}\nhyper f3 per model = {f3}\nhyper h per model = 0.5");
        w.out.push_str("input x = 0.75\ninput w per tensor = -0.5\n");
        w.out.push_str("def square(y) = y*y\ndef mix(y, z) = h*y + z/2.5\n");
        for (name, of, body) in DEFS {
            if !of.needs_axes() && name != "along" || self.axes != Axes::Any {
                let _ = writeln!(w.out, "def {name}(y) = {body}");
            }
        }
        for ((name, extent), init) in STATES.iter().zip(&self.inits) {
            if extent.needs_axes() && self.axes == Axes::Any {
                continue;
            }
            let axes = self.axes == Axes::Two || extent.needs_axes();
            let (init, _) = w.number(init, Here { target: *extent, reduces: true, axes, init: true });
            let per = if *extent == Extent::Element { String::new() } else { format!(" per {}", extent.name()) };
            let _ = writeln!(w.out, "state {name}{per} = {init}");
        }
        w.out.push('\n');
        w.stmts(&self.stmts, 0);
        w.out
    }
}

impl Writer {
    // Statements.

    fn here(&self, target: Extent) -> Here {
        let reduces = self.around.iter().all(|(extent, _)| extent.is_scalar());
        Here { target, reduces, axes: self.asked, init: false }
    }

    /// The extents that a value may have here, larger ones first.
    fn extents(&self) -> Vec<Extent> {
        EXTENTS.into_iter().filter(|extent| self.asked || !extent.needs_axes()).collect()
    }

    /// The variables that may be assigned here.
    fn variables(&self) -> Vec<(String, Extent)> {
        let mut all = vec![("p".to_string(), Extent::Element, 0), ("g".to_string(), Extent::Element, 0)];
        let has = |extent: Extent| self.asked || !extent.needs_axes();
        all.extend(STATES.iter().filter(|(_, of)| has(*of)).map(|(name, of)| (name.to_string(), *of, 0)));
        let locals = self.locals.iter().filter(|local| !local.is_condition);
        all.extend(locals.map(|local| (local.name.clone(), local.extent, local.depth)));
        all.retain(|(_, extent, depth)| self.around[*depth..].iter().all(|(around, _)| around.fits_in(*extent)));
        all.into_iter().map(|(name, extent, _)| (name, extent)).collect()
    }

    fn assign(&mut self, margin: &str, name: &str, op: &str, value: &str) {
        let is_local = self.locals.iter().any(|local| local.name == name);
        self.changed |= !is_local && name != "g";
        if self.is_late || self.around.iter().any(|(_, late)| *late) {
            self.late.insert(name.to_string());
        }
        let _ = writeln!(self.out, "{margin}{name} {op} {value}");
    }

    fn stmts(&mut self, stmts: &[GenStmt], indent: usize) {
        let margin = "    ".repeat(indent);
        for stmt in stmts {
            self.is_late = false;
            match stmt {
                GenStmt::Assign(to, op, e) => {
                    let variables = self.variables();
                    let Some((name, extent)) = variables.get(usize::from(*to) % variables.len().max(1)) else {
                        continue;
                    };
                    let op = ["=", "=", "+=", "-=", "*="][usize::from(*op) % 5];
                    self.is_late |= op != "=" && self.late.contains(name);
                    let (value, _) = self.number(e, self.here(*extent));
                    self.assign(&margin, name, op, &value);
                }
                GenStmt::Normalize(var, to, form) => {
                    let variables = self.variables();
                    let Some((name, extent)) = variables.get(usize::from(*var) % variables.len().max(1)) else {
                        continue;
                    };
                    let here = self.here(*extent);
                    let smaller: Vec<Extent> = EXTENTS.into_iter().filter(|e| here.has(*e) && e != extent).collect();
                    if smaller.is_empty() || !here.reduces {
                        continue;
                    }
                    let per = pick(&smaller, *to).name();
                    let form = [
                        "X/(0.5 + norm(X per Y))",
                        "X*min(1, 2/rms(X per Y))",
                        "X - mean(X per Y)",
                        "X/(0.25 + max(abs(X) per Y))",
                    ][usize::from(*form) % 4];
                    self.is_late = true;
                    self.assign(&margin, name, "=", &fill(form, &[name, per]));
                }
                GenStmt::Let(of, says, e) => {
                    let target = pick(&self.extents(), *of);
                    let (value, actual) = self.number(e, self.here(target));
                    self.new_local(&margin, ("l", false), (*says, target, actual), &value);
                }
                GenStmt::LetCond(of, says, c) => {
                    let target = pick(&self.extents(), *of);
                    let (value, actual) = self.condition(c, self.here(target));
                    self.new_local(&margin, ("q", true), (*says, target, actual), &value);
                }
                GenStmt::If(of, c, then, otherwise) => {
                    let target = pick(&self.extents(), of.wrapping_add(1));
                    let (text, actual) = self.condition(c, self.here(target));
                    self.around.push((actual, self.is_late));
                    self.branch(&text, (then, otherwise), (self.asked, self.asked), indent);
                    self.around.pop();
                }
                GenStmt::Ask(not, then, otherwise) => {
                    self.around.push((Extent::Tensor, false));
                    let outer = self.asked;
                    match (self.axes == Axes::Asked && !outer, not) {
                        (true, false) => self.branch("rank >= 2", (then, otherwise), (true, false), indent),
                        (true, true) => self.branch("rank < 2", (then, otherwise), (false, true), indent),
                        (false, _) => self.branch("cols > rows", (then, otherwise), (outer, outer), indent),
                    }
                    self.around.pop();
                }
                GenStmt::Skip(form, c) => {
                    let is_inside = self.around.iter().any(|(extent, late)| !extent.is_scalar() || *late);
                    if self.changed || is_inside {
                        continue;
                    }
                    let (c, _) = self.condition(c, self.here(Extent::Tensor));
                    let form = [
                        "not all(isfinite(g))",
                        "max(abs(g)) > 3.9",
                        "(X) and t == 2",
                        "norm(g per model) > 40",
                        "(X) and max(abs(g)) > 3.5",
                        "not all(isfinite(g) per model)",
                        "h > 1",
                        "t == 3 and cols > 4",
                        "max(abs(g) per group) < 3.8",
                    ][usize::from(*form) % 9];
                    let _ = writeln!(self.out, "{margin}skip if {}", fill(form, &[&c]));
                }
                GenStmt::Report(of, e) => {
                    if !self.around.is_empty() {
                        continue;
                    }
                    let target = [Extent::Tensor, Extent::Model, Extent::Group][usize::from(*of) % 3];
                    let (value, _) = self.number(e, self.here(target));
                    let _ = writeln!(self.out, "{margin}report r{} = {value}", self.reports);
                    self.reports += 1;
                }
            }
        }
    }

    fn new_local(
        &mut self,
        margin: &str,
        (letter, is_condition): (&str, bool),
        (says, target, actual): (bool, Extent, Extent),
        value: &str,
    ) {
        let name = format!("{letter}{}", self.made);
        self.made += 1;
        let (extent, per) = if says { (target, format!(" per {}", target.name())) } else { (actual, String::new()) };
        let _ = writeln!(self.out, "{margin}let {name}{per} = {value}");
        if self.is_late {
            self.late.insert(name.clone());
        }
        self.locals.push(Local { name, extent, is_condition, depth: self.around.len() });
    }

    fn branch(
        &mut self,
        cond: &str,
        (then, otherwise): (&[GenStmt], &[GenStmt]),
        (asked_then, asked_otherwise): (bool, bool),
        indent: usize,
    ) {
        let margin = "    ".repeat(indent);
        let _ = writeln!(self.out, "{margin}if {cond} {{");
        self.block(then, asked_then, indent + 1);
        if !otherwise.is_empty() {
            let _ = writeln!(self.out, "{margin}}} else {{");
            self.block(otherwise, asked_otherwise, indent + 1);
        }
        let _ = writeln!(self.out, "{margin}}}");
    }

    fn block(&mut self, stmts: &[GenStmt], asked: bool, indent: usize) {
        let locals = self.locals.len();
        let outer = std::mem::replace(&mut self.asked, asked);
        self.stmts(stmts, indent);
        self.asked = outer;
        self.locals.truncate(locals);
    }

    // Expressions: each gives its text and its extent.

    /// The names and numbers of an extent.
    fn names(&self, extent: Extent, here: Here) -> Vec<String> {
        let (always, in_steps): (&[&str], &[&str]) = match extent {
            Extent::Model => (&["h", "2", "0.1", "1e-3", "pi"], &["km", "old(km)", "x"]),
            Extent::Group => (&["a", "b", "c", "d"], &["kg", "old(kg)"]),
            Extent::Tensor => (&["numel", "rank", "rows", "cols", "epsilon"], &["t", "kt", "old(kt)", "w"]),
            Extent::Element => (&["p"], &["g", "m", "v", "p", "g", "old(p)", "old(g)", "old(m)", "old(v)"]),
            Extent::Row => (&[], &["sr", "sr", "old(sr)"]),
            Extent::Col => (&[], &["sc", "sc", "old(sc)"]),
            Extent::Matrix => (&[], &["sx", "sx", "old(sx)"]),
            Extent::Unit => (&[], &["su", "su", "old(su)"]),
        };
        let mut names: Vec<String> = always.iter().map(|name| name.to_string()).collect();
        if !here.init {
            names.extend(in_steps.iter().map(|name| name.to_string()));
            let locals = self.locals.iter().filter(|local| local.extent == extent && !local.is_condition);
            names.extend(locals.flat_map(|local| [local.name.clone(), local.name.clone()]));
        }
        names
    }

    fn leaf(&mut self, extent: u8, which: u8, here: Here) -> (String, Extent) {
        let mut extents: Vec<Extent> = EXTENTS.into_iter().filter(|extent| here.has(*extent)).collect();
        extents.sort_by_key(|extent| *extent != here.target);
        extents.retain(|extent| !self.names(*extent, here).is_empty());
        let extent = pick(&extents, extent);
        let names = self.names(extent, here);
        let name = names[usize::from(which) % names.len()].clone();
        self.is_late |= self.late.contains(&name);
        (name, extent)
    }

    /// A value of at least this extent, so that it can be reduced to a smaller one.
    fn at_least(&mut self, (text, actual): (String, Extent), extent: Extent, here: Here) -> (String, Extent) {
        if extent.fits_in(actual) {
            return (text, actual);
        }
        let other = match self.names(extent, here).first() {
            Some(name) => name.clone(),
            None => format!("mean(p per {})", extent.name()),
        };
        self.is_late |= self.late.contains(&other);
        (format!("({text} + {other})"), actual.join(extent))
    }

    /// To what a reduction goes, and of what it is.
    fn reduced(&self, to: u8, of: u8, here: Here) -> (Extent, Extent) {
        let mut smaller: Vec<Extent> = EXTENTS.into_iter().filter(|e| here.has(*e) && *e != Extent::Element).collect();
        if here.axes && here.target == Extent::Element {
            // Else those of scalars would be most.
            smaller.extend([Extent::Row, Extent::Col, Extent::Matrix, Extent::Unit]);
        }
        let to = smaller[usize::from(to) % smaller.len()];
        let here = here.of(Extent::Element);
        // Of elements half the time, and of scalars often enough among the extents that need axes.
        let larger = EXTENTS.into_iter().chain([Extent::Tensor, Extent::Tensor]);
        let larger: Vec<Extent> = larger.filter(|e| here.has(*e) && to.fits_in(*e) && *e != to).collect();
        (to, pick(&larger, of))
    }

    fn number(&mut self, e: &Expr, here: Here) -> (String, Extent) {
        match e {
            Expr::Leaf(extent, which) => self.leaf(*extent, *which, here),
            Expr::Draw(which) if here.target == Extent::Element && !here.init => {
                let name = ["uniform()", "normal()", "rademacher()"][usize::from(*which) % 3];
                (name.to_string(), Extent::Element)
            }
            Expr::Draw(which) => self.leaf(*which, *which, here),
            Expr::Unary(op, a) => {
                let (a, extent) = self.number(a, here);
                let forms = [
                    "(-X)",
                    "abs(X)",
                    "sqrt(abs(X))",
                    "rsqrt(0.5 + abs(X))",
                    "sign(X)",
                    "floor(X)",
                    "ceil(X)",
                    "round(X)",
                    "square(X)",
                    "log(0.5 + abs(X))",
                    "sin(X)",
                    "cos(X)",
                    "exp(-abs(X))",
                    "tanh(X)",
                    "sigmoid(X)",
                    "cbrt(X)",
                    "log(X)",
                    "sqrt(X)",
                    "exp(X)",
                    "(X)^-1",
                ];
                (fill(forms[usize::from(*op) % forms.len()], &[&a]), extent)
            }
            Expr::Binary(op, a, b) => {
                let ((a, of_a), (b, of_b)) = (self.number(a, here), self.number(b, here));
                let mut forms = vec![
                    "(X + Y)",
                    "(X - Y)",
                    "(X)*(Y)",
                    "(X)/(1 + abs(Y))",
                    "min(X, Y)",
                    "max(X, Y)",
                    "(0.9*(X) + 0.1*(Y))",
                    "mix(X, Y)",
                    "(X - h*(Y))",
                    "(X)/(Y)",
                    "(0.5 + abs(X))^(Y)",
                ];
                if of_a.join(of_b).is_scalar() {
                    forms.push("((X) % (Y))");
                }
                (fill(forms[usize::from(*op) % forms.len()], &[&a, &b]), of_a.join(of_b))
            }
            Expr::Ternary(op, a, b, c) => {
                let ((a, of_a), (b, of_b), (c, of_c)) =
                    (self.number(a, here), self.number(b, here), self.number(c, here));
                let form = ["clamp(X, Y, Z)", "lerp(X, Y, Z)", "fma(X, Y, Z)"][usize::from(*op) % 3];
                (fill(form, &[&a, &b, &c]), of_a.join(of_b).join(of_c))
            }
            Expr::Power(a, n) => {
                let (a, extent) = self.number(a, here);
                (format!("({a})^{n}"), extent)
            }
            Expr::Reduce(f, to, of, a, b) => {
                if !here.reduces {
                    return self.number(a, here);
                }
                let (to, of) = self.reduced(*to, *of, here);
                let a = self.number(a, here.of(of));
                let (a, _) = self.at_least(a, of, here);
                let function = REDUCTIONS[usize::from(*f) % REDUCTIONS.len()];
                let second = match function {
                    "dot" => format!(", {}", self.number(b, here.of(of)).0),
                    _ => String::new(),
                };
                (self.reduction(function, &format!("{a}{second}"), to), to)
            }
            Expr::Share(mean, to, of, c) => {
                if !here.reduces {
                    return self.leaf(*to, *of, here);
                }
                let (to, of) = self.reduced(*to, *of, here);
                let c = self.condition_at_least(c, of, here);
                (self.reduction(if *mean { "mean" } else { "count" }, &c, to), to)
            }
            Expr::If(c, a, b) => {
                let (c, of_c) = self.condition(c, here);
                let arms = Here { reduces: here.reduces && of_c.is_scalar(), ..here };
                let ((a, of_a), (b, of_b)) = (self.number(a, arms), self.number(b, arms));
                (format!("(if {c} then {a} else {b})"), of_c.join(of_a).join(of_b))
            }
            Expr::Ask(a, b) => {
                if here.target != Extent::Element {
                    return self.number(a, here);
                }
                let asks = self.axes == Axes::Asked && !here.axes;
                let a = self.number(a, Here { axes: here.axes || asks, ..here });
                // Only a condition over arrays selects the plan.
                let (a, _) = self.at_least(a, Extent::Element, here);
                let (b, _) = self.number(b, here);
                let asked = if asks { "rank >= 2" } else { "rows > cols" };
                (format!("(if {asked} then {a} else {b})"), Extent::Element)
            }
            Expr::Def(which, a) => {
                let has = |(_, of, body): &(&str, Extent, &str)| {
                    here.has(*of)
                        && (here.axes || *body != "y - mean(y per col)")
                        && !(here.init && body.contains("()"))
                };
                let defs: Vec<_> = DEFS.into_iter().filter(has).collect();
                if defs.is_empty() || !here.reduces {
                    return self.number(a, here);
                }
                let (name, of, _) = defs[usize::from(*which) % defs.len()];
                let here = here.of(Extent::Element);
                let a = self.number(a, here);
                let (a, _) = self.at_least(a, Extent::Element, here);
                self.is_late = true;
                (format!("{name}({a})"), of)
            }
        }
    }

    fn reduction(&mut self, function: &str, operands: &str, to: Extent) -> String {
        self.is_late = true;
        let per = if to == Extent::Tensor { String::new() } else { format!(" per {}", to.name()) };
        format!("{function}({operands}{per})")
    }

    fn condition_at_least(&mut self, c: &Cond, extent: Extent, here: Here) -> String {
        let (c, actual) = self.condition(c, here.of(extent));
        if extent.fits_in(actual) {
            return c;
        }
        let (other, _) = self.at_least(("0".to_string(), Extent::Model), extent, here);
        format!("({c}) or {other} > 1")
    }

    fn condition(&mut self, c: &Cond, here: Here) -> (String, Extent) {
        match c {
            Cond::Flag(which) => {
                let flags = [("f1", Extent::Group), ("f2", Extent::Group), ("f3", Extent::Model)];
                let fitting: Vec<_> = flags.into_iter().filter(|(_, extent)| here.has(*extent)).collect();
                let (name, extent) = fitting[usize::from(*which) % fitting.len()];
                (name.to_string(), extent)
            }
            Cond::Local(which) => {
                let fitting = self.locals.iter().filter(|l| l.is_condition && here.has(l.extent) && !here.init);
                let fitting: Vec<(String, Extent)> = fitting.map(|l| (l.name.clone(), l.extent)).collect();
                match fitting.get(usize::from(*which) % fitting.len().max(1)) {
                    Some((name, extent)) => {
                        self.is_late |= self.late.contains(name);
                        (name.clone(), *extent)
                    }
                    None => self.condition(&Cond::Flag(*which), here),
                }
            }
            Cond::Compare(op, a, b) => {
                let ((a, of_a), (b, of_b)) = (self.number(a, here), self.number(b, here));
                let op = [">", "<", "<=", ">=", "!=", "=="][usize::from(*op) % 6];
                (format!("({a}) {op} ({b})"), of_a.join(of_b))
            }
            Cond::Finite(a) => {
                let (a, extent) = self.number(a, here);
                (format!("isfinite({a})"), extent)
            }
            Cond::Not(c) => {
                let (c, extent) = self.condition(c, here);
                (format!("not ({c})"), extent)
            }
            Cond::Join(and, a, b) => {
                let ((a, of_a), (b, of_b)) = (self.condition(a, here), self.condition(b, here));
                (format!("({a}) {} ({b})", if *and { "and" } else { "or" }), of_a.join(of_b))
            }
            Cond::Reduce(all, to, of, c) => {
                if !here.reduces {
                    return self.condition(c, here);
                }
                let (to, of) = self.reduced(*to, *of, here);
                let c = self.condition_at_least(c, of, here);
                (self.reduction(if *all { "all" } else { "any" }, &c, to), to)
            }
        }
    }
}
