//! Values of hypers: what has been set, what follows from defaults, and whether the rule accepts it.

use super::error::Error;
use super::rule::Rule;
use crate::check::expression_text;
use crate::check::program::{Extent, HyperDefault, Program};
use crate::diagnostic::did_you_mean;
use crate::ir::Scalar;
use crate::ir::region::{Level, Region};
use crate::ir::step::Source;
use std::fmt;

/// The value of a hyper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HyperValue {
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
}

impl HyperValue {
    /// The number, if it is one.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            HyperValue::Number(x) => Some(x),
            HyperValue::Flag(_) => None,
        }
    }

    /// The flag, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            HyperValue::Number(_) => None,
            HyperValue::Flag(flag) => Some(flag),
        }
    }

    pub(super) fn scalar(self) -> Scalar {
        match self {
            HyperValue::Number(x) => Scalar::F64(x),
            HyperValue::Flag(flag) => Scalar::Bool(flag),
        }
    }
}

impl fmt::Display for HyperValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HyperValue::Number(x) => f.write_str(&crate::check::number_text(*x)),
            HyperValue::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl From<f64> for HyperValue {
    fn from(x: f64) -> HyperValue {
        HyperValue::Number(x)
    }
}

impl From<i32> for HyperValue {
    fn from(x: i32) -> HyperValue {
        HyperValue::Number(x.into())
    }
}

impl From<bool> for HyperValue {
    fn from(flag: bool) -> HyperValue {
        HyperValue::Flag(flag)
    }
}

/// The hypers of one group: what has been set, and the value of each.
#[derive(Clone, Debug)]
pub(super) struct Hypers {
    set: Vec<Option<HyperValue>>,
    values: Vec<HyperValue>,
    /// The default of each input that has one: it may depend on hypers.
    inputs: Vec<Option<f64>>,
}

impl Hypers {
    /// Nothing is set.
    pub(super) fn new(rule: &Rule) -> Hypers {
        let set = vec![None; rule.program().hypers.len()];
        let mut hypers = Hypers { set, values: Vec::new(), inputs: Vec::new() };
        hypers.evaluate(rule);
        hypers
    }

    pub(super) fn value(&self, index: usize) -> HyperValue {
        self.values[index]
    }

    pub(super) fn scalar(&self, index: usize) -> Scalar {
        self.values[index].scalar()
    }

    /// What an input is if the host gives none.
    pub(super) fn input_default(&self, index: usize) -> Option<f64> {
        self.inputs[index]
    }

    /// Sets a hyper without looking at intervals and `require`: [`Hypers::check`] does.
    pub(super) fn set(&mut self, index: usize, value: HyperValue) {
        self.set[index] = Some(value);
    }

    /// What has been set here, else in `base`.
    pub(super) fn over(&self, base: &Hypers) -> Hypers {
        let set = self.set.iter().zip(&base.set).map(|(mine, base)| mine.or(*base)).collect();
        Hypers { set, values: base.values.clone(), inputs: base.inputs.clone() }
    }

    /// Gives each hyper that is not set its default, which may use those before it, and then each input.
    fn evaluate(&mut self, rule: &Rule) {
        self.values.clear();
        for (index, hyper) in rule.program().hypers.iter().enumerate() {
            let value = match (self.set[index], hyper.default) {
                (Some(value), _) => value,
                (None, HyperDefault::Flag(flag)) => HyperValue::Flag(flag),
                (None, HyperDefault::Number(_)) => {
                    let x = rule.default_code(index).and_then(|code| self.number(code));
                    HyperValue::Number(x.unwrap_or(f64::NAN))
                }
            };
            self.values.push(value);
        }
        self.inputs.clear();
        for index in 0..rule.program().inputs.len() {
            let default = rule.input_default(index).and_then(|code| self.number(code));
            self.inputs.push(default);
        }
    }

    /// The one output of scalar code that reads hypers.
    fn number(&self, code: &Region) -> Option<f64> {
        let mut registers = Vec::new();
        code.run((Level::Model, Level::Tensor), &mut registers, |s| self.source(s), |_, _| ());
        match registers.get(code.outputs.first()?.index())? {
            Scalar::F64(x) => Some(*x),
            Scalar::Bool(_) => None,
        }
    }

    fn source(&self, source: Source) -> Scalar {
        match source {
            Source::Hyper(id) | Source::Flag(id) => self.scalar(id.index()),
            // check allows nothing else in a default or a `require`.
            Source::Input(_) | Source::T | Source::State(_) => Scalar::F64(f64::NAN),
        }
    }

    /// Brings the values up to date and holds them to the rule.
    pub(super) fn check(&mut self, rule: &Rule, group: &str) -> Result<(), Error> {
        self.evaluate(rule);
        for (hyper, value) in rule.program().hypers.iter().zip(&self.values) {
            if let HyperValue::Number(x) = value
                && (x.is_nan() || hyper.interval.is_some_and(|range| !range.contains(*x)))
            {
                let interval = hyper.interval.map(|range| range.to_string());
                return Err(Error::HyperOutOfRange { hyper: hyper.name.to_string(), value: *x, interval });
            }
        }
        let code = rule.require_code();
        let mut registers = Vec::new();
        code.run((Level::Model, Level::Tensor), &mut registers, |s| self.source(s), |_, _| ());
        for (require, output) in rule.program().requires.iter().zip(&code.outputs) {
            if registers[output.index()] != Scalar::Bool(true) {
                return Err(Error::Require {
                    rule: rule.name().to_string(),
                    condition: expression_text(rule.program(), require.cond),
                    message: require.message.to_string(),
                    group: group.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// The index of a hyper, if it exists and a value of this kind and in its interval is given.
pub(super) fn find(program: &Program, name: &str, value: HyperValue) -> Result<usize, Error> {
    let index = index(program, name)?;
    let hyper = &program.hypers[index];
    match (hyper.default, value) {
        (HyperDefault::Number(_), HyperValue::Number(x)) => {
            if x.is_nan() || hyper.interval.is_some_and(|range| !range.contains(x)) {
                let interval = hyper.interval.map(|range| range.to_string());
                return Err(Error::HyperOutOfRange { hyper: name.to_string(), value: x, interval });
            }
        }
        (HyperDefault::Flag(_), HyperValue::Flag(_)) => {}
        (HyperDefault::Number(_), HyperValue::Flag(flag)) => {
            let given = format!("`{flag}`");
            return Err(Error::HyperKind { hyper: name.to_string(), expected: "a number", given });
        }
        (HyperDefault::Flag(_), HyperValue::Number(x)) => {
            let given = format!("the number {x}");
            return Err(Error::HyperKind { hyper: name.to_string(), expected: "a flag (true or false)", given });
        }
    }
    Ok(index)
}

/// The index of a hyper.
pub(super) fn index(program: &Program, name: &str) -> Result<usize, Error> {
    program.hypers.iter().position(|hyper| &*hyper.name == name).ok_or_else(|| Error::UnknownHyper {
        rule: program.name.to_string(),
        hyper: name.to_string(),
        similar: did_you_mean(name, program.hypers.iter().map(|hyper| &*hyper.name)).map(str::to_string),
        known: program.hypers.iter().map(|hyper| hyper.name.to_string()).collect(),
    })
}

/// Whether a hyper has one value for all groups.
pub(super) fn is_per_model(program: &Program, index: usize) -> bool {
    program.hypers[index].extent == Extent::Model
}
