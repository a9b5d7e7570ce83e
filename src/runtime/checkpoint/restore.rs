//! A [`Checkpoint`] becomes the state of an optimizer.
//!
//! Comes in: a checkpoint that is whole, but may be of anything. Goes out: the optimizer as it was when it was written, or a
//! [`CheckpointError`] and the optimizer as it was before: everything is read and held to the rule first.

use super::super::error::Error;
use super::super::hyper::Hypers;
use super::super::optimizer::{Optimizer, array_named};
use super::super::scopes::{Loaded, LoadedShard, Slot};
use super::super::state::State;
use super::file::Entry;
use super::{Checkpoint, CheckpointError, Migration, difference};
use crate::check::program::{Extent, StateId};
use crate::check::without_docs_and_defaults;
use crate::ir::Storage;
use crate::ir::step::Array;
use crate::schedule::Driver;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is wished of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Whether the hypers become those of the checkpoint. Otherwise they stay as they are.
    pub hypers: bool,
    /// Whether a checkpoint of another version of the rule, with other flags or other groups, may be taken: states that
    /// both have are taken over, the others dropped or begun anew.
    pub migrate: bool,
}

impl Default for Restore {
    /// With hypers, without migration.
    fn default() -> Restore {
        Restore { hypers: true, migrate: false }
    }
}

impl Optimizer {
    /// Replaces all state by that of a checkpoint. What it says of tensors that are not known yet is held to them when they
    /// come.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], if it is of another rule or otherwise built; then nothing has been changed.
    ///
    /// ```
    /// use updraft::{Restore, Rule, Tensor};
    /// let then = Rule::parse("r", "optimizer r\nstate m = 0\n\nm += g\np -= 0.1*m\n")?;
    /// let now = Rule::parse("r", "optimizer r\nstate m = 0\nstate v = 0\n\nm += g\nv += g^2\np -= 0.1*m/(1 + v)\n")?;
    /// let mut opt = then.optimizer().build()?;
    /// opt.step(&mut [Tensor::new("w", &mut [1.0f32], &[0.5])])?;
    /// let checkpoint = opt.checkpoint();
    ///
    /// let mut opt = now.optimizer().build()?;
    /// assert!(opt.restore(&checkpoint, Restore::default()).is_err());
    /// let migration = opt.restore(&checkpoint, Restore { migrate: true, ..Restore::default() })?;
    /// assert_eq!(migration.added, ["v"]);
    /// assert_eq!((opt.steps("w"), opt.state("w", "v")), (1, None)); // its first value comes with the next step
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn restore(&mut self, checkpoint: &Checkpoint, how: Restore) -> Result<Migration, Error> {
        let restored = self.read(checkpoint, how)?;
        self.model.states = restored.model;
        self.model.forget_step();
        (self.last_skipped, self.skipped) = (false, 0);
        let parts = restored.groups.into_iter().zip(restored.drivers).zip(restored.hypers);
        for (group, ((states, drivers), hypers)) in self.groups.iter_mut().zip(parts) {
            group.scope.states = states;
            group.scope.forget_step();
            group.drivers = drivers;
            group.hypers = hypers;
            group.undrive(&self.rule);
        }
        let mut tensors = restored.tensors;
        for slot in &mut self.tensors {
            let loaded = tensors.remove(&slot.name).unwrap_or_default();
            slot.t = loaded.t;
            if loaded.t > 0 {
                let total = slot.geometry.total(Extent::Element);
                let (first, len) = loaded.shard.as_ref().map_or((0, total), |shard| (shard.first, shard.len));
                (slot.geometry.first, slot.geometry.len) = (first, len);
            }
            slot.own.states.fill(State::Absent);
            for (id, state, _) in loaded.states {
                slot.own.states[id.index()] = state;
            }
            slot.own.hidden = loaded.hidden.into_iter().map(|(array, state, _)| (array, state)).collect();
        }
        self.loaded = tensors.into_iter().collect();
        Ok(restored.migration)
    }

    /// Reads a checkpoint, and holds all of it to this optimizer.
    fn read(&self, checkpoint: &Checkpoint, how: Restore) -> Result<Restored, CheckpointError> {
        let program = self.rule.program();
        let get = |key: &'static str| match checkpoint.text.get(key) {
            Some(text) => Ok(text.as_str()),
            None => Err(CheckpointError::Foreign { key }),
        };
        let other_build = |reason: String| CheckpointError::OtherBuild { reason };
        let mut migration = self.same_rule(get("rule")?, get("program")?, how)?;
        let (seed, own) = (get("seed")?, self.host.seed);
        if seed != own.to_string() {
            let reason =
                format!("it was written with the seed {seed}, but it is {own} now: build with that of then (--seed)");
            return Err(other_build(reason));
        }
        migration.other.extend(self.same_flags(get("flags")?, how)?);
        migration.other.extend(self.same_host(get("host")?, how)?);
        self.same_stores(checkpoint.text.get("stores").map_or("{}", String::as_str))?;
        let (drivers, anew) = self.schedules_from(get("schedules")?, how)?;
        migration.other.extend(anew);
        let (hypers, stay) = self.hypers_from(get("hypers")?, get("set")?, &drivers, how)?;
        migration.other.extend(stay);
        let gone = migration.removed.iter().chain(&migration.restarted).cloned().collect();
        let mut restored = Restored {
            drivers,
            hypers,
            gone,
            model: vec![None; program.states.len()],
            groups: vec![vec![None; program.states.len()]; self.groups.len()],
            tensors: BTreeMap::new(),
            migration,
        };
        if let Some(text) = checkpoint.text.get("shards") {
            for (name, shard) in shards_from(text)? {
                restored.tensors.entry(name).or_default().shard = Some(shard);
            }
        }
        for slot in &self.tensors {
            if checkpoint.steps(&slot.name) > 0 {
                let shard = restored.tensors.get(&slot.name).and_then(|loaded| loaded.shard.as_ref());
                same_shard(slot, shard).map_err(other_build)?;
            }
        }
        for (name, entry) in &checkpoint.entries {
            let taken = self.take(&mut restored, name, entry, how);
            taken.map_err(|reason| CheckpointError::Entry { name: name.clone(), reason })?;
        }
        self.same_groups(&mut restored, get("groups")?, how)?;
        if let Some((name, _)) = restored.tensors.iter().find(|(_, loaded)| loaded.t == 0) {
            let reason = format!("it has states but no steps (`{name}/t`)");
            return Err(CheckpointError::Entry { name: name.clone(), reason });
        }
        Ok(restored)
    }

    /// Takes one array to where it belongs.
    fn take(&self, to: &mut Restored, name: &str, entry: &Entry, how: Restore) -> Result<(), String> {
        let program = self.rule.program();
        let Some((owner, last)) = name.rsplit_once('/') else {
            return Err("it is no state: its name has no `/`".to_string());
        };
        if last == "p" || last == "@host" {
            // The host's own.
            return Ok(());
        }
        let (state, shape) = match entry {
            Entry::Steps(t) => {
                to.tensors.entry(owner.to_string()).or_default().t = *t;
                return Ok(());
            }
            Entry::Array(..) if last == "t" => return Err("it is not one u64".to_string()),
            Entry::Array(state, shape) => (state, shape),
        };
        let of = last.strip_prefix('@').and_then(|rest| rest.strip_suffix(".compensation")).unwrap_or(last);
        if to.gone.contains(of) {
            return Ok(());
        }
        let Some(array) = array_named(program, last) else {
            return Err(format!("{} has no state `{last}`", program.name));
        };
        let Array::State(id) = array else {
            if array == Array::Average && self.host.average.is_none() {
                return Err("it is a moving average of a parameter: build the optimizer with `average`".to_string());
            }
            let values = self.array((owner, to.shard(owner)), array, state, shape)?;
            to.tensors.entry(owner.to_string()).or_default().hidden.push((array, values, shape.clone()));
            return Ok(());
        };
        let scalar = || match state {
            State::F64(x) if x.len() == 1 => Ok(x[0]),
            _ => Err("it is not one f64".to_string()),
        };
        match program.states[id.index()].extent {
            Extent::Model if owner.is_empty() => to.model[id.index()] = Some(scalar()?),
            Extent::Model => return Err(format!("the state `{last}` is per model")),
            Extent::Group => {
                let group = owner.strip_prefix('@').and_then(|g| self.groups.iter().position(|x| x.name == g));
                match group {
                    Some(group) => to.groups[group][id.index()] = Some(scalar()?),
                    // Its group is gone, which `same_flags` has told.
                    None if how.migrate && owner.starts_with('@') => {}
                    None => {
                        let known: Vec<&str> = self.groups().collect();
                        return Err(format!("there is no such group; the groups are {}", known.join(", ")));
                    }
                }
            }
            Extent::Tensor => {
                let state = State::Scalar(scalar()?);
                to.tensors.entry(owner.to_string()).or_default().states.push((id, state, Vec::new()));
            }
            _ => {
                let state = self.array((owner, to.shard(owner)), array, state, shape)?;
                let states = &mut to.tensors.entry(owner.to_string()).or_default().states;
                self.agrees((id, &state, shape), states)?;
                states.push((id, state, shape.clone()));
            }
        }
        Ok(())
    }

    /// The rule must be that which wrote the checkpoint, unless the difference is asked for.
    fn same_rule(&self, rule: &str, then: &str, how: Restore) -> Result<Migration, CheckpointError> {
        let now = without_docs_and_defaults(self.rule.program());
        if then == now {
            return Ok(Migration::default());
        }
        if how.migrate {
            let mut migration = difference::states(then, &now);
            if rule != self.rule.name() {
                migration
                    .other
                    .push(format!("it was written by the rule `{rule}`, and this is `{}`", self.rule.name()));
            }
            return Ok(migration);
        }
        let difference = difference::lines(then, &now);
        Err(CheckpointError::OtherRule { rule: rule.to_string(), now: self.rule.name().to_string(), difference })
    }

    /// The groups and their flags must be those of the checkpoint; in a migration the text says which are not.
    fn same_flags(&self, then: &str, how: Restore) -> Result<Vec<String>, CheckpointError> {
        let theirs: BTreeMap<String, BTreeMap<String, Value>> = json("flags", then)?;
        let now = self.flags_text();
        let own: BTreeMap<String, BTreeMap<String, Value>> = json("flags", &now)?;
        let names = |flags: &BTreeMap<String, _>| flags.keys().cloned().collect::<Vec<_>>().join(", ");
        let mut others = Vec::new();
        if theirs.keys().ne(own.keys()) {
            let groups = format!("with the groups {}, but they are {} now", names(&theirs), names(&own));
            if !how.migrate {
                let reason = format!("it was written {groups}: name them as they were");
                return Err(CheckpointError::OtherBuild { reason });
            }
            others.push(format!("it was written {groups}"));
        }
        if theirs != own {
            let flags = format!("with the flags {then}, but they are {now} now");
            if !how.migrate {
                let reason = format!("it was written {flags}: set them as they were");
                return Err(CheckpointError::OtherBuild { reason });
            }
            if others.is_empty() {
                others.push(format!("it was written {flags}"));
            }
        }
        Ok(others)
    }

    /// The hypers of each group after the restore, and in words what stays another than it was.
    fn hypers_from(
        &self,
        saved: &str,
        set: &str,
        drivers: &[Vec<Driver>],
        how: Restore,
    ) -> Result<(Vec<Hypers>, Vec<String>), CheckpointError> {
        let saved: BTreeMap<String, BTreeMap<String, String>> = json("hypers", saved)?;
        let set: BTreeMap<String, Vec<String>> = json("set", set)?;
        let mut all = (Vec::new(), Vec::new());
        for (group, drivers) in self.groups.iter().zip(drivers) {
            let (Some(saved), true) = (saved.get(&group.name), how.hypers) else {
                all.0.push(group.hypers.clone());
                continue;
            };
            let mut saved = saved.clone();
            if how.migrate {
                let hypers = &self.rule.program().hypers;
                saved.retain(|name, _| hypers.iter().any(|hyper| *hyper.name == **name));
            }
            let set = set.get(&group.name).map_or(&[][..], Vec::as_slice);
            let driven = drivers.iter().map(|driver| (driver.hyper, driver.in_force));
            let restored = group.hypers.restored(&self.rule, &group.name, (&saved, set), driven);
            let (hypers, stay) = restored.map_err(|reason| CheckpointError::Metadata { key: "hypers", reason })?;
            if let Some(stays) = stay.first().filter(|_| !how.migrate) {
                let reason = format!("the hyper {stays}, which is decided when building: set it as it was");
                return Err(CheckpointError::OtherBuild { reason });
            }
            all.0.push(hypers);
            // A value is the same in most groups.
            all.1.extend(stay);
            all.1.dedup();
        }
        if let Some((default, others)) = all.0.split_last_mut() {
            others.iter_mut().for_each(|hypers| hypers.take_per_model(&self.rule, default));
        }
        Ok(all)
    }

    /// Each tensor is in the group that it was in.
    fn same_groups(&self, restored: &mut Restored, text: &str, how: Restore) -> Result<(), CheckpointError> {
        let groups: BTreeMap<String, Vec<String>> = json("groups", text)?;
        if how.migrate {
            return Ok(());
        }
        for (group, tensors) in groups {
            for tensor in tensors {
                if let Some(index) = self.by_name.get(&tensor) {
                    let now = &self.groups[self.tensors[*index as usize].group].name;
                    if *now != group {
                        let reason = format!("`{tensor}` was in the group `{group}`, and is in `{now}` now");
                        return Err(CheckpointError::OtherBuild { reason });
                    }
                } else if let Some(loaded) = restored.tensors.get_mut(&tensor) {
                    loaded.group = Some(group.clone());
                }
            }
        }
        Ok(())
    }

    /// Where the schedules of this optimizer are; one that the checkpoint does not have begins anew. In a migration so does
    /// one that has changed, and the text says which.
    fn schedules_from(&self, text: &str, how: Restore) -> Result<(Vec<Vec<Driver>>, Vec<String>), CheckpointError> {
        let saved: Value = json("schedules", text)?;
        let mut all = (Vec::new(), Vec::new());
        for group in &self.groups {
            let mut drivers = group.drivers.clone();
            for driver in &mut drivers {
                driver.reset();
                let hyper = &*self.rule.program().hypers[driver.hyper].name;
                let Some(entry) = saved.get(&group.name).and_then(|group| group.get(hyper)) else { continue };
                if let Err(reason) = driver.restore(entry) {
                    let reason = format!("the schedule of `{hyper}`: {reason}");
                    if !how.migrate {
                        return Err(CheckpointError::OtherBuild { reason });
                    }
                    driver.reset();
                    all.1.push(format!("{reason}; it begins anew"));
                }
            }
            all.0.push(drivers);
        }
        Ok(all)
    }

    /// What the host has joined to the rule must be as it was, unless the difference is asked for.
    fn same_host(&self, then: &str, how: Restore) -> Result<Vec<String>, CheckpointError> {
        let was: BTreeMap<String, String> = json("host", then)?;
        let now: BTreeMap<String, String> = json("host", &self.host_text())?;
        let differ = now.iter().filter(|(what, now)| was.get(*what) != Some(*now));
        let differ = differ.map(|(what, now)| {
            let was = was.get(what).map_or("unknown", String::as_str);
            format!("`{what}` was {was} when it was written, and is {now} now")
        });
        let differ: Vec<String> = differ.collect();
        match differ.first().filter(|_| !how.migrate) {
            Some(first) => Err(CheckpointError::OtherBuild { reason: format!("{first}: say the same when building") }),
            None => Ok(differ),
        }
    }

    /// Things are kept as they were when the checkpoint was written.
    fn same_stores(&self, text: &str) -> Result<(), CheckpointError> {
        let was: BTreeMap<String, String> = json("stores", text)?;
        let now: BTreeMap<String, String> = json("stores", &self.stores_text())?;
        let Some(name) = was.keys().chain(now.keys()).find(|name| was.get(*name) != now.get(*name)) else {
            return Ok(());
        };
        let text = |stores: &BTreeMap<String, String>| match stores.get(name) {
            Some(store) => format!("kept as {store}"),
            None => "left as it is by default".to_string(),
        };
        let (was, now) = (text(&was), text(&now));
        let reason =
            format!("`{name}` was {was} when it was written, but is {now} now: say the same of it when building");
        Err(CheckpointError::OtherBuild { reason })
    }

    /// The states of one tensor that are kept as the parameter are all of its type, and those of one extent of one shape.
    fn agrees(
        &self,
        (id, state, shape): (StateId, &State, &[usize]),
        others: &[(StateId, State, Vec<usize>)],
    ) -> Result<(), String> {
        let program = self.rule.program();
        let extent = |id: StateId| program.states[id.index()].extent;
        let said = &self.host.stores.states;
        let is_like_param = |id: StateId| {
            said.get(id.index()).copied().flatten().is_none() && program.states[id.index()].storage.is_none()
        };
        let differs = |(other_id, other, was): &&(StateId, State, Vec<usize>)| {
            let alike = is_like_param(id) && is_like_param(*other_id);
            other.storage().is_some()
                && (alike && other.storage() != state.storage() || (extent(*other_id) == extent(id) && was != shape))
        };
        match others.iter().find(differs) {
            Some((_, other, was)) => {
                let storage = |state: &State| state.storage().map_or("", Storage::name);
                let (now, before) = (storage(state), storage(other));
                Err(format!("it is {now} of shape {shape:?}, but another state of that tensor is {before} of {was:?}"))
            }
            None => Ok(()),
        }
    }

    /// An array, if it is as the optimizer keeps it for a tensor that it knows.
    fn array(
        &self,
        (owner, shard): (&str, Option<&LoadedShard>),
        array: Array,
        state: &State,
        shape: &[usize],
    ) -> Result<State, String> {
        let program = self.rule.program();
        if let Some(slot) = self.by_name.get(owner).map(|index| &self.tensors[*index as usize])
            && let expected = self.host.stores.storage(array, slot.storage, program)
            && let Some(found) = state.storage()
            && (shape_of(slot, shard, array.extent(program)) != shape || found != expected)
        {
            let now = &slot.shape;
            let param = slot.storage.name();
            let but = match array {
                // Then it is the parameter that differs.
                Array::State(_) if expected == slot.storage => format!("`{owner}` is {param} of shape {now:?}"),
                _ => format!("of `{owner}`, {param} of shape {now:?}, it is kept as {}", expected.name()),
            };
            return Err(format!("it is {} of shape {shape:?}, but {but}", found.name()));
        }
        Ok(state.clone())
    }
}

/// A tensor that is known is the same part of its whole, unless it has taken no step yet.
fn same_shard(slot: &Slot, then: Option<&LoadedShard>) -> Result<(), String> {
    let same = match (slot.shard(), then) {
        (None, None) => true,
        (Some(now), Some(then)) => now == *then,
        // What was registered is whole until its first step says otherwise.
        (None, Some(then)) => *then.shape == *slot.shape && slot.t == 0,
        (Some(_), None) => slot.t == 0,
    };
    if same { Ok(()) } else { Err(format!("`{}` was another part of its tensor when it was written", slot.name)) }
}

/// The shape of an array of a tensor of which this part was there.
fn shape_of(slot: &Slot, shard: Option<&LoadedShard>, extent: Extent) -> Vec<usize> {
    match shard {
        Some(shard) if extent == Extent::Element => vec![shard.len],
        _ => crate::ir::shape::axes(extent, &slot.shape),
    }
}

/// What a checkpoint holds, as the optimizer keeps it.
struct Restored {
    /// For each group.
    drivers: Vec<Vec<Driver>>,
    /// For each group.
    hypers: Vec<Hypers>,
    model: Vec<Option<f64>>,
    groups: Vec<Vec<Option<f64>>>,
    tensors: BTreeMap<String, Loaded>,
    /// States that are not taken over.
    gone: BTreeSet<String>,
    migration: Migration,
}

impl Restored {
    /// Which part of a tensor was there, if not all.
    fn shard(&self, tensor: &str) -> Option<&LoadedShard> {
        self.tensors.get(tensor)?.shard.as_ref()
    }
}

/// Metadata that is JSON of this type.
fn json<T: serde::de::DeserializeOwned>(key: &'static str, text: &str) -> Result<T, CheckpointError> {
    serde_json::from_str(text).map_err(|error| CheckpointError::Metadata { key, reason: error.to_string() })
}

/// The part of each tensor that a checkpoint was written for.
fn shards_from(text: &str) -> Result<BTreeMap<String, LoadedShard>, CheckpointError> {
    let all: BTreeMap<String, Value> = json("shards", text)?;
    let unreadable =
        || CheckpointError::Metadata { key: "shards", reason: "a part has no shape, first and len".into() };
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).ok_or_else(unreadable)
    };
    let shard = |value: Value| -> Result<LoadedShard, CheckpointError> {
        let shape = value.get("shape").and_then(Value::as_array).ok_or_else(unreadable)?;
        let shape = shape.iter().map(|n| number(Some(n))).collect::<Result<Vec<usize>, _>>()?;
        let (first, len) = (number(value.get("first"))?, number(value.get("len"))?);
        let numel = shape.iter().try_fold(1, |product: usize, n| product.checked_mul(*n));
        match (numel, first.checked_add(len)) {
            (Some(numel), Some(end)) if end <= numel && len < numel => Ok(LoadedShard { shape, first, len }),
            _ => Err(CheckpointError::Metadata { key: "shards", reason: "a part lies outside of its tensor".into() }),
        }
    };
    all.into_iter().map(|(name, value)| Ok((name, shard(value)?))).collect()
}
