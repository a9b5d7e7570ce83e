//! Values of hypers: what has been set, what follows from defaults, and whether the rule accepts it.

use super::error::Error;
use super::rule::Rule;
use crate::check::expression_text;
use crate::check::program::{Extent, HyperDefault, ListRef, Program};
use crate::diagnostic::did_you_mean;
use crate::ir::Scalar;
use crate::ir::region::{Level, Outside, Region};
use crate::ir::step::Source;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The value of a hyper.
#[derive(Clone, Debug, PartialEq)]
pub enum HyperValue {
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// The name of a mode.
    Mode(Arc<str>),
    /// A list of numbers.
    List(Arc<[f64]>),
}

impl HyperValue {
    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            HyperValue::Number(x) => Some(*x),
            _ => None,
        }
    }

    /// The flag, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            HyperValue::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// What it is, for messages.
    fn describe(&self) -> String {
        match self {
            HyperValue::Number(_) => format!("the number {self}"),
            HyperValue::Flag(_) => format!("`{self}`"),
            HyperValue::Mode(_) => format!("the name `{self}`"),
            HyperValue::List(_) => format!("the list {self}"),
        }
    }
}

impl fmt::Display for HyperValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HyperValue::Number(x) => f.write_str(&crate::check::number_text(*x)),
            HyperValue::Flag(flag) => write!(f, "{flag}"),
            HyperValue::Mode(mode) => f.write_str(mode),
            HyperValue::List(elements) => f.write_str(&crate::check::list_text(elements)),
        }
    }
}

/// `1e-3`, `true`, `[30, 60]`, and any other word as the name of a mode: what the command line takes.
impl FromStr for HyperValue {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<HyperValue, Self::Err> {
        let text = text.trim();
        let number = |text: &str| text.trim().parse::<f64>().ok();
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let elements = inner.split(',').filter(|element| !element.trim().is_empty());
            if let Some(elements) = elements.map(number).collect::<Option<Vec<f64>>>() {
                return Ok(HyperValue::List(elements.into()));
            }
        }
        Ok(match (text, number(text)) {
            ("true", _) => HyperValue::Flag(true),
            ("false", _) => HyperValue::Flag(false),
            (_, Some(x)) => HyperValue::Number(x),
            (mode, None) => HyperValue::Mode(mode.into()),
        })
    }
}

impl From<&str> for HyperValue {
    fn from(mode: &str) -> HyperValue {
        HyperValue::Mode(mode.into())
    }
}

impl From<&[f64]> for HyperValue {
    fn from(elements: &[f64]) -> HyperValue {
        HyperValue::List(elements.into())
    }
}

impl<const N: usize> From<[f64; N]> for HyperValue {
    fn from(elements: [f64; N]) -> HyperValue {
        HyperValue::List(elements.into())
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

/// The hypers of one group: what has been set, what schedules say, and the value of each.
#[derive(Clone, Debug)]
pub(crate) struct Hypers {
    set: Vec<Option<HyperValue>>,
    /// The value that a schedule gives.
    driven: Vec<Option<f64>>,
    /// What each would be without a schedule.
    own: Vec<HyperValue>,
    values: Vec<HyperValue>,
    /// The default of each input that has one: it may depend on hypers.
    inputs: Vec<Option<f64>>,
    registers: Vec<Scalar>,
}

impl Hypers {
    /// Nothing is set.
    pub(crate) fn new(rule: &Rule) -> Hypers {
        let n = rule.program().hypers.len();
        let mut hypers = Hypers {
            set: vec![None; n],
            driven: vec![None; n],
            own: Vec::new(),
            values: Vec::new(),
            inputs: Vec::new(),
            registers: Vec::new(),
        };
        hypers.evaluate(rule);
        hypers
    }

    pub(crate) fn value(&self, index: usize) -> &HyperValue {
        &self.values[index]
    }

    /// A hyper as scalar code reads it.
    pub(crate) fn scalar(&self, program: &Program, source: Source) -> Option<Scalar> {
        Some(match source {
            Source::Hyper(id) => Scalar::F64(self.values[id.index()].as_f64()?),
            Source::Flag(id) => Scalar::Bool(self.values[id.index()].as_bool()?),
            Source::Mode(id, mode) => {
                let HyperDefault::Mode(modes) = &program.hypers[id.index()].default else { return None };
                let HyperValue::Mode(value) = &self.values[id.index()] else { return None };
                Scalar::Bool(modes.get(mode as usize) == Some(value))
            }
            _ => return None,
        })
    }

    /// What a hyper is without its schedule.
    pub(crate) fn own(&self, index: usize) -> &HyperValue {
        &self.own[index]
    }

    /// Gives a hyper the value of its schedule; whether that is another one than before.
    pub(crate) fn drive(&mut self, index: usize, value: Option<f64>) -> bool {
        let old = std::mem::replace(&mut self.driven[index], value);
        old.map(f64::to_bits) != value.map(f64::to_bits)
    }

    /// What has been set, by name.
    pub(crate) fn settings<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = (&'a str, &'a HyperValue)> {
        let names = program.hypers.iter().map(|hyper| &*hyper.name);
        names.zip(&self.set).filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// The elements of a list.
    pub(crate) fn list<'a>(&'a self, program: &'a Program, list: ListRef) -> &'a [f64] {
        match list {
            ListRef::Constant(index) => &program.lists[index as usize],
            ListRef::Hyper(id) => match &self.values[id.index()] {
                HyperValue::List(elements) => elements,
                _ => &[],
            },
        }
    }

    /// What an input is if the host gives none.
    pub(crate) fn input_default(&self, index: usize) -> Option<f64> {
        self.inputs[index]
    }

    /// Sets a hyper without looking at intervals and `require`: [`Hypers::check`] does.
    pub(crate) fn set(&mut self, index: usize, value: HyperValue) {
        self.set[index] = Some(value);
    }

    /// With the values that a checkpoint says, `set` being those that did not follow from their defaults: they are set, and
    /// so is one whose default gives another value today. What is decided when building stays. The text says what does not
    /// fit the rule, and the second of the pair which of the values that stay are others. `driven` is what schedules had
    /// in force then, on which defaults may rest.
    pub(super) fn restored(
        &self,
        rule: &Rule,
        group: &str,
        (saved, set): (&BTreeMap<String, String>, &[String]),
        driven: impl Iterator<Item = (usize, Option<f64>)>,
    ) -> Result<(Hypers, Vec<String>), String> {
        let mut hypers = self.clone();
        hypers.driven.fill(None);
        driven.for_each(|(index, value)| hypers.driven[index] = value);
        let mut stay = Vec::new();
        let mut values = Vec::new();
        for (index, hyper) in rule.program().hypers.iter().enumerate() {
            let Some(text) = saved.get(&*hyper.name) else { continue };
            let value = match hyper.default {
                HyperDefault::Mode(_) => HyperValue::Mode(text.as_str().into()),
                _ => text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
            };
            find(rule.program(), &hyper.name, &value).map_err(|error| error.to_string())?;
            if !hyper.fixed {
                hypers.set[index] = Some(value.clone()).filter(|_| set.iter().any(|name| **name == *hyper.name));
                values.push((index, value));
            } else if value != self.own[index] {
                stay.push(format!("`{}` was {value} and is {} now", hyper.name, self.own[index]));
            }
        }
        hypers.evaluate(rule);
        // In their order, as a default may use those before it.
        for (index, value) in values {
            if hypers.own[index] != value {
                hypers.set[index] = Some(value);
                hypers.evaluate(rule);
            }
        }
        hypers.check(rule, group).map_err(|error| error.to_string())?;
        Ok((hypers, stay))
    }

    /// Takes the hypers per model of another group: they have one value for all.
    pub(super) fn take_per_model(&mut self, rule: &Rule, of: &Hypers) {
        for index in (0..self.set.len()).filter(|index| is_per_model(rule.program(), *index)) {
            self.set[index] = of.set[index].clone();
        }
        self.evaluate(rule);
    }

    /// What has been set here, else in `base`.
    pub(crate) fn over(&self, base: &Hypers) -> Hypers {
        let set = self.set.iter().zip(&base.set).map(|(mine, base)| mine.clone().or(base.clone())).collect();
        Hypers { set, ..base.clone() }
    }

    /// Gives each hyper that is not set its default, which may use those before it, and each that a schedule drives its
    /// value; then each input its default.
    pub(crate) fn evaluate(&mut self, rule: &Rule) {
        self.values.clear();
        self.own.clear();
        let mut registers = std::mem::take(&mut self.registers);
        for (index, hyper) in rule.program().hypers.iter().enumerate() {
            let own = match (&self.set[index], &hyper.default) {
                (Some(value), _) => value.clone(),
                (None, HyperDefault::Flag(flag)) => HyperValue::Flag(*flag),
                (None, HyperDefault::Mode(modes)) => HyperValue::Mode(modes.first().cloned().unwrap_or_default()),
                (None, HyperDefault::List(elements)) => HyperValue::List(elements.clone()),
                (None, HyperDefault::Number(_)) => {
                    let x = rule.default_code(index).and_then(|code| self.number(rule, code, &mut registers));
                    HyperValue::Number(x.unwrap_or(f64::NAN))
                }
            };
            self.values.push(self.driven[index].map_or_else(|| own.clone(), HyperValue::Number));
            self.own.push(own);
        }
        self.inputs.clear();
        for index in 0..rule.program().inputs.len() {
            let default = rule.input_default(index).and_then(|code| self.number(rule, code, &mut registers));
            self.inputs.push(default);
        }
        self.registers = registers;
    }

    /// The one output of scalar code that reads hypers.
    fn number(&self, rule: &Rule, code: &Region, registers: &mut Vec<Scalar>) -> Option<f64> {
        code.run((Level::Model, Level::Tensor), registers, &Settings(self, rule.program()), |_, _| ());
        match registers.get(code.outputs.first()?.index())? {
            Scalar::F64(x) => Some(*x),
            Scalar::Bool(_) => None,
        }
    }

    /// Brings the values up to date and holds them to the rule.
    pub(crate) fn check(&mut self, rule: &Rule, group: &str) -> Result<(), Error> {
        self.evaluate(rule);
        for (hyper, value) in rule.program().hypers.iter().zip(&self.values) {
            in_range(hyper, value)?;
        }
        let code = rule.require_code();
        if code.is_empty() {
            return Ok(());
        }
        let mut registers = std::mem::take(&mut self.registers);
        code.run((Level::Model, Level::Tensor), &mut registers, &Settings(self, rule.program()), |_, _| ());
        let requires = rule.program().requires.iter().zip(&code.outputs);
        let failed = requires.into_iter().find(|(_, output)| registers[output.index()] != Scalar::Bool(true));
        self.registers = registers;
        if let Some((require, _)) = failed {
            {
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
pub(crate) fn find(program: &Program, name: &str, value: &HyperValue) -> Result<usize, Error> {
    let index = index(program, name)?;
    let hyper = &program.hypers[index];
    let expected = match (&hyper.default, value) {
        (HyperDefault::Number(_), HyperValue::Number(_)) | (HyperDefault::List(_), HyperValue::List(_)) => {
            in_range(hyper, value)?;
            return Ok(index);
        }
        (HyperDefault::Flag(_), HyperValue::Flag(_)) => return Ok(index),
        (HyperDefault::Mode(modes), HyperValue::Mode(mode)) if modes.contains(mode) => return Ok(index),
        (HyperDefault::Number(_), _) => "a number".to_string(),
        (HyperDefault::Flag(_), _) => "a flag (true or false)".to_string(),
        (HyperDefault::Mode(modes), _) => format!("one of {}", modes.join(", ")),
        (HyperDefault::List(_), _) => "a list such as [30, 60]".to_string(),
    };
    Err(Error::HyperKind { hyper: name.to_string(), expected, given: value.describe() })
}

/// A number, or every element of a list, has to be in the interval, and never NaN.
fn in_range(hyper: &crate::check::program::Hyper, value: &HyperValue) -> Result<(), Error> {
    let numbers: &[f64] = match value {
        HyperValue::Number(x) => std::slice::from_ref(x),
        HyperValue::List(elements) => elements,
        HyperValue::Flag(_) | HyperValue::Mode(_) => &[],
    };
    match numbers.iter().find(|x| x.is_nan() || hyper.interval.is_some_and(|range| !range.contains(**x))) {
        None => Ok(()),
        Some(x) => {
            let interval = hyper.interval.map(|range| range.to_string());
            Err(Error::HyperOutOfRange { hyper: hyper.name.to_string(), value: *x, interval })
        }
    }
}

/// Hypers alone, for defaults and `require`s: check allows nothing else in them.
struct Settings<'a>(&'a Hypers, &'a Program);

impl Outside for &Settings<'_> {
    fn scalar(&self, source: Source) -> Scalar {
        self.0.scalar(self.1, source).unwrap_or(Scalar::F64(f64::NAN))
    }

    fn list(&self, list: ListRef) -> &[f64] {
        self.0.list(self.1, list)
    }
}

/// The index of a hyper.
pub(crate) fn index(program: &Program, name: &str) -> Result<usize, Error> {
    program.hypers.iter().position(|hyper| &*hyper.name == name).ok_or_else(|| Error::UnknownHyper {
        rule: program.name.to_string(),
        hyper: name.to_string(),
        similar: did_you_mean(name, program.hypers.iter().map(|hyper| &*hyper.name)).map(str::to_string),
        known: program.hypers.iter().map(|hyper| hyper.name.to_string()).collect(),
    })
}

/// Whether a hyper has one value for all groups.
pub(crate) fn is_per_model(program: &Program, index: usize) -> bool {
    program.hypers[index].extent == Extent::Model
}
