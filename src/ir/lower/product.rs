//! [`Math::Fast`]: products whose scalar factors are gathered, and sums that contract them.

use super::Lowering;
use crate::check::program::{BinaryOp, Extent};
use crate::ir::op::{Binary, Op, Unary, Value};
#[cfg(doc)]
use crate::ir::step::Math;
use crate::ir::step::StepInst;

/// A lowered expression.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    /// A value.
    Value(Value),
    /// A product of elements whose scalar factors are still to be placed; under [`Math::Fast`] only.
    Product(Product),
}

/// A tree of `*` and `/` that is not finished.
///
/// Evaluation rule 5a gathers the scalar factors of the whole tree, and multiplies the tree of the element factors by
/// the result at the end; or, where a numerator holds no element factor, puts the result there. So the scalars are kept
/// in a list until the tree is complete, and so is the path from such a numerator to the root.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The scalar factors in the order written; `true`: in a numerator.
    scalars: Vec<(bool, Value)>,
    elements: Elements,
}

/// The element factors of a [`Product`].
#[derive(Clone, Debug)]
pub(super) enum Elements {
    /// None.
    Empty,
    /// A finished value that is not a multiplication.
    Value(Value),
    /// The multiplication of two values, not yet an instruction: an addition may contract it.
    Mul(Value, Value),
    /// The first numerator without an element factor, and what is done to it from there to the root.
    Numerator(Vec<Outward>),
}

/// One operation on the way from a numerator to the root of its tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outward {
    /// Times a value on its right.
    Times(Value),
    /// A value on its left times it.
    TimedBy(Value),
    /// Divided by a value.
    Over(Value),
}

/// What the root of a finished product is.
pub(super) enum Root {
    Mul(Value, Value),
    Value(Value),
}

impl Lowering<'_> {
    pub(super) fn product(&mut self, lowered: Lowered) -> Product {
        match lowered {
            Lowered::Product(product) => product,
            Lowered::Value(v) if self.is_array(v) => Product { scalars: Vec::new(), elements: Elements::Value(v) },
            Lowered::Value(v) => Product { scalars: vec![(true, v)], elements: Elements::Empty },
        }
    }

    pub(super) fn times(&mut self, a: Product, b: Product) -> Product {
        let mut scalars = a.scalars;
        scalars.extend(b.scalars);
        let elements = match (a.elements, b.elements) {
            (Elements::Empty, b) => b,
            (a, Elements::Empty) => a,
            (Elements::Numerator(mut path), b) => {
                let b = self.with_one(b);
                path.push(Outward::Times(b));
                Elements::Numerator(path)
            }
            (a, Elements::Numerator(mut path)) => {
                let a = self.with_one(a);
                path.push(Outward::TimedBy(a));
                Elements::Numerator(path)
            }
            (a, b) => Elements::Mul(self.with_one(a), self.with_one(b)),
        };
        Product { scalars, elements }
    }

    pub(super) fn over(&mut self, a: Product, b: Product) -> Product {
        let mut scalars = a.scalars;
        scalars.extend(b.scalars.iter().map(|(in_numerator, v)| (!in_numerator, *v)));
        let elements = match (a.elements, b.elements) {
            (a, Elements::Empty) => a,
            (Elements::Empty, b) => {
                let b = self.with_one(b);
                Elements::Numerator(vec![Outward::Over(b)])
            }
            (Elements::Numerator(mut path), b) => {
                let b = self.with_one(b);
                path.push(Outward::Over(b));
                Elements::Numerator(path)
            }
            (a, b) => {
                let (a, b) = (self.with_one(a), self.with_one(b));
                Elements::Value(self.op(Op::Binary(Binary::Div, a, b)))
            }
        };
        Product { scalars, elements }
    }

    /// The value of element factors; an empty numerator among them is 1, because it is not the first of its tree.
    fn with_one(&mut self, elements: Elements) -> Value {
        match elements {
            Elements::Value(v) => v,
            Elements::Mul(a, b) => self.op(Op::Binary(Binary::Mul, a, b)),
            // Whatever it meets says of which extent it is.
            Elements::Empty => self.constant(1.0),
            Elements::Numerator(path) => {
                let one = self.constant(1.0);
                let root = self.outward(one, &path);
                self.root_value(root)
            }
        }
    }

    /// From a numerator to the root.
    fn outward(&mut self, factor: Value, path: &[Outward]) -> Root {
        let extent = match path.first() {
            Some(Outward::Times(v) | Outward::TimedBy(v) | Outward::Over(v)) => self.values[v.index()].0,
            None => Extent::Model,
        };
        let mut root = Root::Value(self.raise(factor, extent));
        for step in path {
            let value = self.root_value(root);
            root = match *step {
                Outward::Times(b) => Root::Mul(value, b),
                Outward::TimedBy(a) => Root::Mul(a, value),
                Outward::Over(b) => Root::Value(self.op(Op::Binary(Binary::Div, value, b))),
            };
        }
        root
    }

    fn root_value(&mut self, root: Root) -> Value {
        match root {
            Root::Value(v) => v,
            Root::Mul(a, b) => self.op(Op::Binary(Binary::Mul, a, b)),
        }
    }

    /// Places the gathered scalar factor.
    fn root(&mut self, product: Product) -> Root {
        let factor = self.gather(&product.scalars);
        match (product.elements, factor) {
            (Elements::Value(v), None) => Root::Value(v),
            (Elements::Mul(a, b), None) => Root::Mul(a, b),
            (Elements::Numerator(path), factor) => {
                let factor = match factor {
                    Some(factor) => factor,
                    None => self.constant(1.0),
                };
                self.outward(factor, &path)
            }
            (Elements::Empty, Some(factor)) => Root::Value(factor),
            (elements, Some(factor)) => {
                let value = self.with_one(elements);
                let factor = self.raise(factor, self.values[value.index()].0);
                Root::Mul(value, factor)
            }
            (Elements::Empty, None) => Root::Value(self.constant(1.0)),
        }
    }

    /// The scalar factors in f64, in the order written, beginning with the first one in a numerator (else 1).
    fn gather(&mut self, scalars: &[(bool, Value)]) -> Option<Value> {
        if scalars.is_empty() {
            return None;
        }
        let first = scalars.iter().position(|(in_numerator, _)| *in_numerator);
        let mut factor = match first {
            Some(index) => scalars[index].1,
            None => self.constant(1.0),
        };
        for (index, (in_numerator, v)) in scalars.iter().enumerate() {
            if Some(index) == first {
                continue;
            }
            let op = if *in_numerator { Binary::Mul } else { Binary::Div };
            factor = self.op(Op::Binary(op, factor, *v));
        }
        Some(factor)
    }

    /// Rule 5b: `a + b` and `a - b`, contracted to fma if the right operand is a multiplication of the sum's own extent,
    /// else if the left is.
    pub(super) fn contract(&mut self, op: BinaryOp, a: Lowered, b: Lowered) -> Value {
        let subtract = op == BinaryOp::Sub;
        let b = match b {
            Lowered::Product(product) => match self.root(product) {
                Root::Mul(x, y) if self.extent(&a).fits_in(self.join(&[x, y])) => {
                    let a = self.finish(a);
                    let a = self.raise(a, self.join(&[x, y]));
                    let (x, y) = if subtract { self.negate_product(x, y) } else { (x, y) };
                    return self.op(Op::Fma(x, y, a));
                }
                root => self.root_value(root),
            },
            Lowered::Value(v) => v,
        };
        let a = match a {
            Lowered::Product(product) => match self.root(product) {
                Root::Mul(x, y) if self.join(&[b]).fits_in(self.join(&[x, y])) => {
                    let extent = self.join(&[x, y]);
                    let b = if subtract { self.negate(b, extent) } else { self.raise(b, extent) };
                    return self.op(Op::Fma(x, y, b));
                }
                root => self.root_value(root),
            },
            Lowered::Value(v) => v,
        };
        self.arithmetic(if subtract { Binary::Sub } else { Binary::Add }, a, b)
    }

    /// Of which extent it will be.
    fn extent(&self, lowered: &Lowered) -> Extent {
        let Product { scalars, elements } = match lowered {
            Lowered::Value(v) => return self.join(&[*v]),
            Lowered::Product(product) => product,
        };
        let scalars = scalars.iter().fold(Extent::Model, |all, (_, v)| all.join(self.join(&[*v])));
        scalars.join(match elements {
            Elements::Empty => Extent::Model,
            Elements::Value(v) => self.join(&[*v]),
            Elements::Mul(a, b) => self.join(&[*a, *b]),
            Elements::Numerator(path) => path.iter().fold(Extent::Model, |all, outward| {
                let (Outward::Times(v) | Outward::TimedBy(v) | Outward::Over(v)) = *outward;
                all.join(self.join(&[v]))
            }),
        })
    }

    /// Factors of `-(x*y)`: the sign goes to a scalar where there is one, so that it is changed once a step.
    fn negate_product(&mut self, x: Value, y: Value) -> (Value, Value) {
        let (of_x, of_y) = (self.values[x.index()].0, self.values[y.index()].0);
        if matches!(self.insts[y.index()], StepInst::Round(_)) {
            (x, self.negate(y, of_y))
        } else {
            (self.negate(x, of_x), y)
        }
    }

    /// `-v` for arrays; a scalar becomes one of this extent. Changing the sign is exact, before rounding as after it.
    fn negate(&mut self, v: Value, extent: Extent) -> Value {
        let scalar = match self.insts[v.index()] {
            StepInst::Round(scalar) => Some(scalar),
            _ if !self.is_array(v) => Some(v),
            _ => None,
        };
        match scalar {
            Some(scalar) => {
                let negated = self.op(Op::Unary(Unary::Neg, scalar));
                self.raise(negated, extent)
            }
            None => self.op(Op::Unary(Unary::Neg, v)),
        }
    }

    pub(super) fn finish(&mut self, lowered: Lowered) -> Value {
        match lowered {
            Lowered::Value(v) => v,
            Lowered::Product(product) => {
                let root = self.root(product);
                self.root_value(root)
            }
        }
    }
}
