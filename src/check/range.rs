//! What values an expression may have: interval arithmetic over a program.
//!
//! Two questions use it. Before any step: may this square root be of a negative number? Then hypers range over their
//! intervals and states over what [`lints`](super::lints) has found invariant. And: is this division 0/0 in the first
//! step? Then every hyper is its default, `t` is 1, `g` is 0, and an interval of one point is a known value, computed
//! with the functions that the engines use.
//!
//! An interval holds the values that a number may have if it is one: that it may be NaN as well is left out of account. A
//! value that is known to be NaN is `Number(NaN, NaN)`.

use super::program::{
    BinaryOp, CompareOp, DrawFn, ExprId, Function, HyperDefault, HyperId, ListFn, ListRef, NodeKind, Program, ReduceFn,
    Ty, Var,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// A number from low to high, both included.
    Number(f64, f64),
    /// A condition, and its outcome if there is only one.
    Condition(Option<bool>),
}

pub(super) const ANY: Known = Known::Number(f64::NEG_INFINITY, f64::INFINITY);

impl Known {
    pub(super) fn point(x: f64) -> Known {
        Known::Number(x, x)
    }

    /// A value that is known, NaN apart.
    pub(super) fn as_point(self) -> Option<f64> {
        self.value().filter(|x| !x.is_nan())
    }

    /// A value that is known, NaN included.
    pub(super) fn value(self) -> Option<f64> {
        match self {
            Known::Number(low, high) if low == high || low.is_nan() => Some(low),
            _ => None,
        }
    }

    fn bounds(self) -> (f64, f64) {
        match self {
            Known::Number(low, high) => (low, high),
            Known::Condition(_) => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    fn outcome(self) -> Option<bool> {
        match self {
            Known::Condition(outcome) => outcome,
            Known::Number(..) => None,
        }
    }

    /// What holds of a value that is one or the other.
    pub(super) fn or(self, other: Known) -> Known {
        match (self, other) {
            (Known::Number(a, b), Known::Number(c, d)) => Known::Number(a.min(c), b.max(d)),
            (Known::Condition(a), Known::Condition(b)) if a == b => self,
            (Known::Condition(_), _) | (_, Known::Condition(_)) => Known::Condition(None),
        }
    }
}

/// What is known of the leaves of expressions.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) hypers: Vec<Known>,
    /// Whether every mode and every list is its default.
    pub(super) at_defaults: bool,
    pub(super) inputs: Vec<Known>,
    pub(super) t: Known,
    /// Where a variable is absent, nothing is known of it.
    pub(super) vars: BTreeMap<Var, Known>,
    /// Before the step.
    pub(super) old: BTreeMap<Var, Known>,
}

impl Facts {
    /// Each hyper is its default; nothing else is known.
    pub(super) fn defaults(program: &Program) -> Facts {
        let mut facts = Facts {
            hypers: Vec::new(),
            at_defaults: true,
            inputs: vec![ANY; program.inputs.len()],
            t: Known::Number(1.0, f64::INFINITY),
            vars: BTreeMap::new(),
            old: BTreeMap::new(),
        };
        for hyper in &program.hypers {
            let known = match &hyper.default {
                HyperDefault::Flag(flag) => Known::Condition(Some(*flag)),
                HyperDefault::Number(id) => evaluate(program, *id, &facts),
                HyperDefault::Mode(_) | HyperDefault::List(_) => ANY,
            };
            facts.hypers.push(known);
        }
        facts
    }

    /// Each hyper is anything in its interval.
    pub(super) fn intervals(program: &Program) -> Facts {
        let hypers = program.hypers.iter().map(|hyper| match (&hyper.default, &hyper.interval) {
            (HyperDefault::Flag(_), _) => Known::Condition(None),
            (_, Some(range)) => Known::Number(range.low, range.high),
            (_, None) => ANY,
        });
        Facts { hypers: hypers.collect(), at_defaults: false, ..Facts::defaults(program) }
    }
}

/// The default of a hyper that is a number, as the defaults of earlier hypers give it.
pub(super) fn default_value(program: &Program, id: HyperId) -> Option<f64> {
    Facts::defaults(program).hypers[id.index()].value()
}

/// What is known of `root`.
pub(super) fn evaluate(program: &Program, root: ExprId, facts: &Facts) -> Known {
    values(program, root, facts)[&root]
}

/// What is known of `root`. Calls `visit` with each of the nodes that its value may come from, and what is known of the
/// node's operands: the arm of an `if` that is known not to be taken is left out.
pub(super) fn examine(
    program: &Program,
    root: ExprId,
    facts: &Facts,
    visit: &mut dyn FnMut(ExprId, &[Known]),
) -> Known {
    let known = values(program, root, facts);
    let mut needed = BTreeSet::from([root]);
    for &id in known.keys().rev() {
        if !needed.contains(&id) {
            continue;
        }
        match &program.node(id).kind {
            NodeKind::If(c, a, b) => match known[c].outcome() {
                Some(true) => needed.extend([*c, *a]),
                Some(false) => needed.extend([*c, *b]),
                None => needed.extend([*c, *a, *b]),
            },
            kind => kind.for_each_operand(|operand| needed.extend([operand])),
        }
    }
    for id in needed {
        let mut operands = Vec::new();
        program.node(id).kind.for_each_operand(|operand| operands.push(known[&operand]));
        visit(id, &operands);
        if let NodeKind::Outcome(condition) = program.node(id).kind {
            examine(program, program.conditions[condition.index()].cond, facts, visit);
        }
    }
    known[&root]
}

/// What is known of everything that `root` is made of.
fn values(program: &Program, root: ExprId, facts: &Facts) -> BTreeMap<ExprId, Known> {
    let mut known = BTreeMap::new();
    for id in program.postorder(root) {
        let mut operands = Vec::new();
        program.node(id).kind.for_each_operand(|operand| operands.push(known[&operand]));
        let value = node(program, id, &operands, facts);
        known.insert(id, if is_square(program, id, &known) { at_least_zero(value) } else { value });
    }
    known
}

fn node(program: &Program, id: ExprId, of: &[Known], facts: &Facts) -> Known {
    let var = |vars: &BTreeMap<Var, Known>, var: &Var| {
        let unknown = if program.node(id).ty == Ty::Condition { Known::Condition(None) } else { ANY };
        vars.get(var).copied().unwrap_or(unknown)
    };
    match &program.node(id).kind {
        NodeKind::Number(x) => Known::point(*x),
        NodeKind::Epsilon => Known::Number(f64::EPSILON, f64::from(f32::EPSILON)),
        NodeKind::Bool(b) => Known::Condition(Some(*b)),
        NodeKind::Hyper(id) | NodeKind::Flag(id) => facts.hypers[id.index()],
        NodeKind::Input(id) => facts.inputs[id.index()],
        NodeKind::T => facts.t,
        NodeKind::Shape(_) => Known::Number(0.0, f64::INFINITY),
        NodeKind::Draw(DrawFn::Uniform, _) => Known::Number(0.0, 1.0),
        NodeKind::Draw(DrawFn::Rademacher, _) => Known::Number(-1.0, 1.0),
        NodeKind::Draw(DrawFn::Normal, _) => ANY,
        NodeKind::Reduce(function, args, _) => reduction(*function, of, same(program, args[0], args[args.len() - 1])),
        NodeKind::S => Known::Number(0.0, f64::INFINITY),
        NodeKind::Base => ANY,
        NodeKind::Given(_) => Known::Condition(None),
        NodeKind::IsMode(_, mode) => Known::Condition(facts.at_defaults.then_some(*mode == 0)),
        NodeKind::List(ListFn::Increasing, which, _) => {
            let increases = |list: &[f64]| list.windows(2).all(|pair| pair[0] < pair[1]);
            Known::Condition(list(program, *which, facts).map(increases))
        }
        NodeKind::List(ListFn::Len, which, _) if list(program, *which, facts).is_some() => {
            Known::point(list(program, *which, facts).map_or(0, <[f64]>::len) as f64)
        }
        NodeKind::List(ListFn::Count(_) | ListFn::Len, ..) => Known::Number(0.0, f64::INFINITY),
        NodeKind::List(ListFn::Index | ListFn::Prod, ..) => ANY,
        NodeKind::Read(v) => var(&facts.vars, v),
        NodeKind::Old(v) => var(&facts.old, v),
        NodeKind::Own(_) => of[0],
        NodeKind::Outcome(condition) => evaluate(program, program.conditions[condition.index()].cond, facts),
        NodeKind::Not(_) => Known::Condition(of[0].outcome().map(|b| !b)),
        NodeKind::Neg(_) => {
            let (low, high) = of[0].bounds();
            Known::Number(-high, -low)
        }
        NodeKind::Binary(BinaryOp::And, ..) => Known::Condition(match (of[0].outcome(), of[1].outcome()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        NodeKind::Binary(BinaryOp::Or, ..) => Known::Condition(match (of[0].outcome(), of[1].outcome()) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }),
        NodeKind::Binary(op, a, b) => {
            let square = *op == BinaryOp::Mul && same(program, *a, *b);
            binary(*op, of[0], of[1], square)
        }
        NodeKind::Compare(op, ..) => Known::Condition(compare(*op, of[0].bounds(), of[1].bounds())),
        NodeKind::Power(_, n) => power(of[0], *n),
        NodeKind::If(..) => match of[0].outcome() {
            Some(true) => of[1],
            Some(false) => of[2],
            None => of[1].or(of[2]),
        },
        NodeKind::Call(Function::Fma, args) if of.iter().any(|x| x.value().is_none()) => {
            let product = binary(BinaryOp::Mul, of[0], of[1], same(program, args[0], args[1]));
            binary(BinaryOp::Add, product, of[2], false)
        }
        NodeKind::Call(function, _) => call(*function, of),
    }
}

/// What a reduction of such values may give. That there may be none is left out of account.
fn reduction(function: ReduceFn, of: &[Known], of_squares: bool) -> Known {
    let (low, high) = of[0].bounds();
    let is_zero = |known: &Known| known.as_point() == Some(0.0);
    match function {
        // Of nothing but zeros, and of no values, it is zero. (That a mean of no values is NaN is left out of account.)
        ReduceFn::Sum | ReduceFn::Mean | ReduceFn::Norm | ReduceFn::Rms if is_zero(&of[0]) => Known::point(0.0),
        ReduceFn::Dot if of.iter().any(is_zero) => Known::point(0.0),
        ReduceFn::Any if of[0].outcome() == Some(false) => Known::Condition(Some(false)),
        ReduceFn::All if of[0].outcome() == Some(true) => Known::Condition(Some(true)),
        ReduceFn::Norm | ReduceFn::Rms | ReduceFn::Count => Known::Number(0.0, f64::INFINITY),
        ReduceFn::Dot if of_squares => Known::Number(0.0, f64::INFINITY),
        ReduceFn::Any | ReduceFn::All => Known::Condition(None),
        ReduceFn::Sum if low >= 0.0 => Known::Number(0.0, f64::INFINITY),
        ReduceFn::Sum if high <= 0.0 => Known::Number(f64::NEG_INFINITY, 0.0),
        ReduceFn::Mean if matches!(of[0], Known::Condition(_)) => Known::Number(0.0, 1.0),
        // Rounding keeps the mean of numbers of one sign of that sign, but not between the two bounds.
        ReduceFn::Mean if low >= 0.0 => Known::Number(0.0, f64::INFINITY),
        ReduceFn::Mean if high <= 0.0 => Known::Number(f64::NEG_INFINITY, 0.0),
        ReduceFn::Min | ReduceFn::Max => Known::Number(low, high),
        ReduceFn::Sum | ReduceFn::Mean | ReduceFn::Dot => ANY,
    }
}

/// The elements of a list, if they are known.
fn list<'a>(program: &'a Program, list: ListRef, facts: &Facts) -> Option<&'a [f64]> {
    match list {
        ListRef::Constant(index) => Some(&program.lists[index as usize]),
        ListRef::Hyper(id) => match &program.hypers[id.index()].default {
            HyperDefault::List(elements) if facts.at_defaults => Some(elements),
            _ => None,
        },
    }
}

/// Whether a product is of pairs of equal factors and of factors that are not negative: `(1 - beta2)*g*g`.
fn is_square(program: &Program, id: ExprId, known: &BTreeMap<ExprId, Known>) -> bool {
    // Longer products are not looked into: pairs are searched for at each of their multiplications.
    const MOST_FACTORS: usize = 8;
    let (mut factors, mut pending) = (Vec::new(), vec![id]);
    while let Some(id) = pending.pop() {
        match &program.node(id).kind {
            NodeKind::Binary(BinaryOp::Mul, a, b) => pending.extend([*a, *b]),
            NodeKind::Own(a) => pending.push(*a),
            _ if known.get(&id).is_some_and(|factor| factor.bounds().0 >= 0.0) => {}
            _ => factors.push(id),
        }
        if factors.len() + pending.len() > MOST_FACTORS {
            return false;
        }
    }
    if factors.is_empty() || factors == [id] {
        return false;
    }
    while let Some(factor) = factors.pop() {
        let Some(other) = factors.iter().position(|other| same(program, factor, *other)) else { return false };
        factors.swap_remove(other);
    }
    true
}

fn at_least_zero(known: Known) -> Known {
    match known {
        Known::Number(low, high) if low < 0.0 => Known::Number(0.0, high.max(0.0)),
        other => other,
    }
}

/// Whether two expressions are the same text over the same variables, so that their product is a square.
fn same(program: &Program, a: ExprId, b: ExprId) -> bool {
    let mut pairs = vec![(a, b)];
    // What a `def` shares is compared once.
    let mut seen = BTreeSet::new();
    while let Some((a, b)) = pairs.pop() {
        if a == b || !seen.insert((a, b)) {
            continue;
        }
        let (x, y) = (&program.node(a).kind, &program.node(b).kind);
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        x.for_each_operand(|id| xs.push(id));
        y.for_each_operand(|id| ys.push(id));
        let alike = match (x, y) {
            (NodeKind::Binary(p, ..), NodeKind::Binary(q, ..)) => p == q,
            (NodeKind::Call(p, _), NodeKind::Call(q, _)) => p == q,
            (NodeKind::Power(_, p), NodeKind::Power(_, q)) => p == q,
            (NodeKind::Neg(_), NodeKind::Neg(_)) | (NodeKind::Own(_), NodeKind::Own(_)) => true,
            _ => xs.is_empty() && x == y,
        };
        if !alike || xs.len() != ys.len() {
            return false;
        }
        pairs.extend(xs.into_iter().zip(ys));
    }
    true
}

fn binary(op: BinaryOp, a: Known, b: Known, square: bool) -> Known {
    if let (Some(x), Some(y)) = (a.value(), b.value()) {
        return Known::point(match op {
            BinaryOp::Add => x + y,
            BinaryOp::Sub => x - y,
            BinaryOp::Mul => x * y,
            BinaryOp::Div => x / y,
            _ => remainder(x, y),
        });
    }
    if is_nan(a) || is_nan(b) {
        return Known::point(f64::NAN);
    }
    let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
    match op {
        BinaryOp::Add => number(al + bl, ah + bh),
        BinaryOp::Sub => number(al - bh, ah - bl),
        BinaryOp::Mul if square => number(0.0, (al * al).max(ah * ah)),
        BinaryOp::Mul => products([(al, bl), (al, bh), (ah, bl), (ah, bh)]),
        BinaryOp::Div if bl > 0.0 || bh < 0.0 => {
            // Bounds are approached: infinity over infinity is anything from 0 on, and the other ends say to where.
            let quotient = |x: f64, y: f64| if x.is_infinite() && y.is_infinite() { 0.0 } else { x / y };
            let quotients = [quotient(al, bl), quotient(al, bh), quotient(ah, bl), quotient(ah, bh)];
            number(least(&quotients), greatest(&quotients))
        }
        // Zero may be divided by: a quotient of numbers that are never negative is never negative (or NaN).
        BinaryOp::Div if bl >= 0.0 && al >= 0.0 => number(0.0, f64::INFINITY),
        BinaryOp::Div if bl >= 0.0 && ah <= 0.0 => number(f64::NEG_INFINITY, 0.0),
        BinaryOp::Rem if bl > 0.0 => number(0.0, bh),
        _ => ANY,
    }
}

/// An interval; a bound that is NaN is unknown.
fn number(low: f64, high: f64) -> Known {
    Known::Number(if low.is_nan() { f64::NEG_INFINITY } else { low }, if high.is_nan() { f64::INFINITY } else { high })
}

fn products(pairs: [(f64, f64); 4]) -> Known {
    // A bound is approached, so 0 times an infinite bound is 0 here.
    let products = pairs.map(|(x, y)| if x == 0.0 || y == 0.0 { 0.0 } else { x * y });
    number(least(&products), greatest(&products))
}

fn least(xs: &[f64]) -> f64 {
    xs.iter().copied().fold(f64::INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) })
}

fn greatest(xs: &[f64]) -> f64 {
    xs.iter().copied().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
}

fn compare(op: CompareOp, (al, ah): (f64, f64), (bl, bh): (f64, f64)) -> Option<bool> {
    if al.is_nan() || bl.is_nan() {
        return Some(op == CompareOp::Ne);
    }
    let less = if ah < bl {
        Some(true)
    } else if al >= bh {
        Some(false)
    } else {
        None
    };
    let greater = if al > bh {
        Some(true)
    } else if ah <= bl {
        Some(false)
    } else {
        None
    };
    match op {
        CompareOp::Lt => less,
        CompareOp::Ge => less.map(|b| !b),
        CompareOp::Gt => greater,
        CompareOp::Le => greater.map(|b| !b),
        CompareOp::Eq | CompareOp::Ne => {
            let equal = if al == ah && bl == bh && al == bl {
                Some(true)
            } else if ah < bl || bh < al {
                Some(false)
            } else {
                None
            };
            if op == CompareOp::Eq { equal } else { equal.map(|b| !b) }
        }
    }
}

fn power(a: Known, n: i32) -> Known {
    if let Some(x) = a.value() {
        return Known::point(powi(x, n));
    }
    let (low, high) = a.bounds();
    let positive = match n.unsigned_abs() {
        0 => Known::point(1.0),
        n => {
            let at = |x: f64| libm::pow(x, f64::from(n));
            match n % 2 {
                0 if low >= 0.0 => number(at(low), at(high)),
                0 if high <= 0.0 => number(at(high), at(low)),
                0 => number(0.0, at(low).max(at(high))),
                _ => number(at(low), at(high)),
            }
        }
    };
    if n >= 0 { positive } else { binary(BinaryOp::Div, Known::point(1.0), positive, false) }
}

/// `x^n` as the engines compute it: from the left, binary.
fn powi(x: f64, n: i32) -> f64 {
    let m = n.unsigned_abs();
    let mut power = if m == 0 { 1.0 } else { x };
    for bit in (0..m.checked_ilog2().unwrap_or(0)).rev() {
        power *= power;
        if m >> bit & 1 == 1 {
            power *= x;
        }
    }
    if n < 0 { 1.0 / power } else { power }
}

/// The floored remainder.
fn remainder(x: f64, y: f64) -> f64 {
    let r = x % y;
    if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
}

fn is_nan(known: Known) -> bool {
    known.value().is_some_and(f64::is_nan)
}

/// A function of numbers that are known.
fn constant(function: Function, xs: &[f64]) -> Known {
    let x = xs[0];
    let least = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
    let greatest = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    Known::point(match function {
        Function::Abs => x.abs(),
        Function::Sign if x > 0.0 => 1.0,
        Function::Sign if x < 0.0 => -1.0,
        Function::Sign => x,
        Function::Sqrt => libm::sqrt(x),
        Function::Rsqrt => 1.0 / libm::sqrt(x),
        Function::Cbrt => libm::cbrt(x),
        Function::Exp => libm::exp(x),
        Function::Log => libm::log(x),
        Function::Tanh => libm::tanh(x),
        Function::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        Function::Sin => libm::sin(x),
        Function::Cos => libm::cos(x),
        Function::Floor => libm::floor(x),
        Function::Ceil => libm::ceil(x),
        Function::Round => x.round_ties_even(),
        Function::Min => least(x, xs[1]),
        Function::Max => greatest(x, xs[1]),
        Function::Clamp => least(greatest(x, xs[1]), xs[2]),
        Function::Lerp => x + xs[2] * (xs[1] - x),
        Function::Fma => libm::fma(x, xs[1], xs[2]),
        Function::Pow => libm::pow(x, xs[1]),
        Function::Isfinite => return Known::Condition(Some(x.is_finite())),
    })
}

fn call(function: Function, of: &[Known]) -> Known {
    let points: Option<Vec<f64>> = of.iter().map(|known| known.value()).collect();
    if let Some(points) = points {
        return constant(function, &points);
    }
    if of.iter().any(|known| is_nan(*known)) && function != Function::Isfinite {
        return Known::point(f64::NAN);
    }
    let (low, high) = of[0].bounds();
    let monotonic = |f: fn(f64) -> f64| number(f(low), f(high));
    match function {
        Function::Abs if low >= 0.0 => of[0],
        Function::Abs => number(if high < 0.0 { -high } else { 0.0 }, high.max(-low)),
        Function::Sign => number(
            if low > 0.0 {
                1.0
            } else if low == 0.0 {
                0.0
            } else {
                -1.0
            },
            if high > 0.0 { 1.0 } else { 0.0 },
        ),
        Function::Sqrt => number(libm::sqrt(low.max(0.0)), libm::sqrt(high.max(0.0))),
        Function::Rsqrt => binary(BinaryOp::Div, Known::point(1.0), call(Function::Sqrt, of), false),
        Function::Cbrt => monotonic(libm::cbrt),
        Function::Exp => monotonic(libm::exp),
        Function::Log => number(libm::log(low.max(0.0)), libm::log(high.max(0.0))),
        Function::Tanh => monotonic(libm::tanh),
        Function::Sigmoid => number(0.0, 1.0),
        Function::Sin | Function::Cos => number(-1.0, 1.0),
        Function::Floor => monotonic(f64::floor),
        Function::Ceil => monotonic(f64::ceil),
        Function::Round => monotonic(f64::round_ties_even),
        Function::Min => minimum(of[0], of[1]),
        Function::Max => maximum(of[0], of[1]),
        Function::Clamp => minimum(maximum(of[0], of[1]), of[2]),
        Function::Lerp => {
            let difference = binary(BinaryOp::Sub, of[1], of[0], false);
            let sum = binary(BinaryOp::Add, of[0], binary(BinaryOp::Mul, of[2], difference, false), false);
            // With a weight from 0 to 1 the result lies between its ends.
            match of[2] {
                Known::Number(w, x) if w >= 0.0 && x <= 1.0 => of[0].or(of[1]),
                _ => sum,
            }
        }
        Function::Fma => binary(BinaryOp::Add, binary(BinaryOp::Mul, of[0], of[1], false), of[2], false),
        Function::Isfinite => Known::Condition(None),
        Function::Pow => match (of[0], of[1]) {
            // From 0 to 1 to a positive power stays there.
            (Known::Number(x, y), Known::Number(n, _)) if x >= 0.0 && y <= 1.0 && n >= 0.0 => {
                number(0.0, if x == y && x < 1.0 { libm::pow(x, n) } else { 1.0 })
            }
            (Known::Number(x, _), _) if x >= 0.0 => number(0.0, f64::INFINITY),
            _ => ANY,
        },
    }
}

fn minimum(a: Known, b: Known) -> Known {
    let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
    number(al.min(bl), ah.min(bh))
}

fn maximum(a: Known, b: Known) -> Known {
    let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
    number(al.max(bl), ah.max(bh))
}
