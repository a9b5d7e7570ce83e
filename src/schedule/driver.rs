//! [`Driver`]: a schedule that drives one hyper of one group.
//!
//! It knows at which step the schedule is, the value in force, and what the schedule keeps. A value is computed when a
//! step first needs it and committed when that step has succeeded, so that a step that is refused changes nothing.

use super::{Memory, Schedule, evaluate};
use crate::runtime::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// More steps than this are damage, and would overflow some day.
const MAX_STEPS: u64 = u64::MAX / 2;

/// What completes a step of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// Each step of the optimizer.
    Step,
    /// Each call of [`Optimizer::end_epoch`](crate::Optimizer::end_epoch).
    Epoch,
}

impl Advance {
    fn name(self) -> &'static str {
        match self {
            Advance::Step => "step",
            Advance::Epoch => "epoch",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Driver {
    pub(crate) schedule: Schedule,
    /// The hyper that it drives.
    pub(crate) hyper: usize,
    pub(crate) advance: Advance,
    /// Completed steps of the schedule.
    pub(crate) s: u64,
    pub(crate) memory: Memory,
    /// The value at `s`, if a step has used it.
    pub(crate) value: Option<f64>,
    /// The value that the last step used.
    pub(crate) in_force: Option<f64>,
    /// What the next step uses: the value, and what the schedule keeps then.
    next: Option<f64>,
    next_memory: Memory,
    /// What the host has observed since the value was computed.
    observed: Vec<(String, f64)>,
}

impl Driver {
    pub(crate) fn new(schedule: Schedule, hyper: usize, advance: Advance) -> Driver {
        let memory = Memory::new(&schedule);
        Driver {
            next_memory: memory.clone(),
            memory,
            schedule,
            hyper,
            advance,
            s: 0,
            value: None,
            in_force: None,
            next: None,
            observed: Vec::new(),
        }
    }

    /// Takes what was observed, if the schedule has such an input.
    pub(crate) fn observe(&mut self, name: &str, x: f64) -> bool {
        if !self.schedule.inputs().contains(&name) {
            return false;
        }
        match self.observed.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = x,
            None => self.observed.push((name.to_string(), x)),
        }
        true
    }

    /// The value for the step that is about to be taken; nothing is changed until [`commit`](Driver::commit).
    pub(crate) fn prepare(&mut self, base: f64) -> Result<f64, Error> {
        if let Some(value) = self.value {
            self.next = Some(value);
            return Ok(value);
        }
        self.next_memory.clone_from(&self.memory);
        let observed = &self.observed;
        let input = |name: &str| observed.iter().find(|(known, _)| known == name).map(|(_, x)| *x);
        let value = evaluate(&self.schedule.0, self.s, base, &input, &mut self.next_memory)?;
        self.next = Some(value);
        Ok(value)
    }

    /// The step that used the value has succeeded.
    pub(crate) fn commit(&mut self) {
        if self.value.is_none() {
            std::mem::swap(&mut self.memory, &mut self.next_memory);
            self.observed.clear();
        }
        self.value = self.next;
        self.in_force = self.next;
        if self.advance == Advance::Step {
            self.advance();
        }
    }

    /// A step of the schedule is complete.
    pub(crate) fn advance(&mut self) {
        self.s += 1;
        self.value = None;
    }

    /// Back to the beginning.
    pub(crate) fn reset(&mut self) {
        *self = Driver::new(self.schedule.clone(), self.hyper, self.advance);
    }

    /// Where the schedule is, for a checkpoint. Numbers are written by their bits, because states may be infinite.
    pub(crate) fn saved(&self) -> Value {
        let bits = |x: &f64| format!("{:016x}", x.to_bits());
        let parts: Vec<Vec<String>> =
            self.memory.parts.iter().map(|states| states.iter().map(bits).collect()).collect();
        let observed: BTreeMap<&str, String> = self.observed.iter().map(|(name, x)| (&**name, bits(x))).collect();
        json!({
            "schedule": self.schedule.to_string(),
            "definition": self.schedule.definition(),
            "advance": self.advance.name(),
            "s": self.s,
            "value": self.value.as_ref().map(bits),
            "in_force": self.in_force.as_ref().map(bits),
            "observed": observed,
            "states": parts,
        })
    }

    /// Takes up where a checkpoint says that the schedule was.
    pub(crate) fn restore(&mut self, entry: &Value) -> Result<(), String> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("schedule") != self.schedule.to_string() {
            return Err(format!("the file was written with `{}`, it is `{}` now", text("schedule"), self.schedule));
        }
        if text("definition") != self.schedule.definition() {
            return Err(format!("`{}` computes something else than when the file was written", self.schedule));
        }
        let (was, now) = (text("advance"), self.advance.name());
        if was != now {
            return Err(format!("it advanced with each {was} when the file was written, and does with each {now} now"));
        }
        let number = |value: &Value| {
            let bits = value.as_str().and_then(|bits| u64::from_str_radix(bits, 16).ok());
            bits.map(f64::from_bits).ok_or("a number cannot be read".to_string())
        };
        let optional = |key: &str| match entry.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => number(value).map(Some),
        };
        let s = entry.get("s").and_then(Value::as_u64).filter(|s| *s <= MAX_STEPS);
        self.s = s.ok_or("its step cannot be read")?;
        self.value = optional("value")?;
        self.in_force = optional("in_force")?;
        let observed = entry.get("observed").and_then(Value::as_object).ok_or("what was observed cannot be read")?;
        for (name, x) in observed {
            self.observe(name, number(x)?);
        }
        let parts = entry.get("states").and_then(Value::as_array).ok_or("its states cannot be read")?;
        let counts = self.schedule.states();
        if parts.len() != counts.len() {
            return Err("it has another number of parts".to_string());
        }
        for ((states, saved), count) in self.memory.parts.iter_mut().zip(parts).zip(counts) {
            let saved = saved.as_array().ok_or("its states cannot be read")?;
            // A part that has not begun has none yet.
            if !saved.is_empty() && saved.len() != count {
                return Err(format!("a part has {} states where it has {count} now", saved.len()));
            }
            *states = saved.iter().map(number).collect::<Result<_, _>>()?;
        }
        Ok(())
    }
}
