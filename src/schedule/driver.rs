//! [`Driver`]: a schedule that drives one hyper of one group.
//!
//! It knows at which step the schedule is, the value in force, and what the schedule keeps. A value is computed when a
//! step first needs it and committed when that step has succeeded, so that a step that is refused changes nothing.

use super::{Memory, Schedule, evaluate};
use crate::runtime::Error;

/// What completes a step of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// Each step of the optimizer.
    Step,
    /// Each call of [`Optimizer::end_epoch`](crate::Optimizer::end_epoch).
    Epoch,
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
    pub(crate) observed: Vec<(String, f64)>,
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
        if !self.schedule.reads(name) {
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

    /// Takes up where a state file says that the schedule was.
    pub(crate) fn restore(&mut self, entry: &serde_json::Value) -> Result<(), String> {
        let text = entry.get("schedule").and_then(|text| text.as_str()).unwrap_or_default();
        if text != self.schedule.to_string() {
            return Err(format!("the file was written with `{text}`, it is `{}` now", self.schedule));
        }
        let number = |value: &serde_json::Value| {
            let bits = value.as_str().and_then(|bits| u64::from_str_radix(bits, 16).ok());
            bits.map(f64::from_bits).ok_or("a number cannot be read".to_string())
        };
        self.s = entry.get("s").and_then(|s| s.as_u64()).ok_or("its step cannot be read")?;
        self.value = match entry.get("value") {
            None | Some(serde_json::Value::Null) => None,
            Some(value) => Some(number(value)?),
        };
        self.in_force = self.value;
        // Files of schedules without inputs need not have it.
        if let Some(observed) = entry.get("observed") {
            let observed = observed.as_object().ok_or("what it observed cannot be read")?;
            let observed = observed.iter().map(|(name, x)| Ok::<_, String>((name.clone(), number(x)?)));
            self.observed = observed.collect::<Result<_, _>>()?;
        }
        let parts = entry.get("states").and_then(|parts| parts.as_array()).ok_or("its states cannot be read")?;
        if parts.len() != self.memory.parts.len() {
            return Err("it has another number of parts".to_string());
        }
        for (states, saved) in self.memory.parts.iter_mut().zip(parts) {
            let saved = saved.as_array().ok_or("its states cannot be read")?;
            *states = saved.iter().map(number).collect::<Result<_, _>>()?;
        }
        Ok(())
    }
}
