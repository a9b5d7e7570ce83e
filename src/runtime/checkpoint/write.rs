//! An optimizer becomes a [`Checkpoint`].

use super::super::optimizer::Optimizer;
use super::super::scopes::{Group, LoadedShard};
use super::super::state::State;
use super::file::Entry;
use super::{Checkpoint, FORMAT};
use crate::check::program::StateId;
use crate::check::without_docs_and_defaults;
use crate::ir::Stores;
use crate::ir::step::Array;
use crate::schedule::Driver;
use crate::{HyperValue, Math};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Optimizer {
    /// What is kept now: states, steps, where schedules are, and with which hypers.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut entries = BTreeMap::new();
        let mut shards: BTreeMap<&str, Value> = BTreeMap::new();
        let mut groups: BTreeMap<&str, Vec<&str>> = self.groups().map(|group| (group, Vec::new())).collect();
        for slot in self.tensors.iter().filter(|slot| slot.t > 0) {
            let states = (0..).map(|id| Array::State(StateId(id))).zip(&slot.own.states);
            let arrays = states.chain(slot.own.hidden.iter().map(|(array, state)| (*array, state)));
            for (array, state) in arrays {
                let program = self.rule.program();
                self.add_array(&mut entries, &slot.name, array, state, || slot.array_shape(array.extent(program)));
            }
            entries.insert(format!("{}/t", slot.name), Entry::Steps(slot.t));
            shards.extend(slot.shard().map(|shard| (&*slot.name, shard_text(&shard))));
            groups.entry(&self.groups[slot.group].name).or_default().push(&slot.name);
        }
        for (name, loaded) in self.loaded.iter().filter(|(name, _)| !self.by_name.contains_key(*name)) {
            for (array, state, shape) in loaded.all() {
                self.add_array(&mut entries, name, array, state, || shape.to_vec());
            }
            entries.insert(format!("{name}/t"), Entry::Steps(loaded.t));
            shards.extend(loaded.shard.as_ref().map(|shard| (&**name, shard_text(shard))));
            if let Some(group) = &loaded.group {
                groups.entry(group).or_default().push(name);
            }
        }
        let scopes = self.groups.iter().map(|group| (format!("@{}", group.name), &group.scope));
        for (prefix, scope) in scopes.chain([(String::new(), &self.model)]) {
            for (state, value) in self.rule.program().states.iter().zip(&scope.states) {
                entries.extend(value.map(|x| (format!("{prefix}/{}", state.name), Entry::scalar(x))));
            }
        }
        groups.values_mut().for_each(|tensors| tensors.sort_unstable());
        Checkpoint { text: self.metadata(shards, groups), entries }
    }

    fn add_array(
        &self,
        entries: &mut BTreeMap<String, Entry>,
        tensor: &str,
        array: Array,
        state: &State,
        shape: impl FnOnce() -> Vec<usize>,
    ) {
        let entry = match state {
            State::Absent => return,
            State::Scalar(x) => Entry::scalar(*x),
            state => Entry::Array(state.clone(), shape()),
        };
        entries.insert(format!("{tensor}/{}", array.name(self.rule.program())), entry);
    }

    fn metadata(&self, shards: BTreeMap<&str, Value>, groups: BTreeMap<&str, Vec<&str>>) -> BTreeMap<String, String> {
        let program = self.rule.program();
        let mut text = BTreeMap::from([
            ("format", FORMAT.to_string()),
            ("rule", program.name.to_string()),
            ("program", without_docs_and_defaults(program)),
            ("flags", self.flags_text()),
            ("hypers", self.hypers_text()),
            ("set", self.set_text()),
            ("groups", json!(groups).to_string()),
            ("host", self.host_text()),
            ("schedules", self.schedules_text()),
            ("seed", self.host.seed.to_string()),
        ]);
        if !self.host.stores.is_empty() {
            text.insert("stores", self.stores_text());
        }
        if !shards.is_empty() {
            text.insert("shards", json!(shards).to_string());
        }
        text.into_iter().map(|(key, text)| (key.to_string(), text)).collect()
    }

    /// The flags and modes of each group, as JSON.
    pub(super) fn flags_text(&self) -> String {
        self.by_group(|group| {
            let values = self.rule.program().hypers.iter().enumerate().filter_map(|(index, hyper)| {
                match group.hypers.value(index) {
                    HyperValue::Flag(flag) => Some((hyper.name.to_string(), json!(flag))),
                    HyperValue::Mode(mode) => Some((hyper.name.to_string(), json!(&**mode))),
                    HyperValue::Number(_) | HyperValue::List(_) => None,
                }
            });
            Value::Object(values.collect())
        })
    }

    /// What each hyper of each group is without its schedule, as JSON of text, which infinities have too.
    fn hypers_text(&self) -> String {
        self.by_group(|group| {
            let names = self.rule.program().hypers.iter().enumerate();
            let values =
                names.map(|(index, hyper)| (hyper.name.to_string(), json!(group.hypers.own(index).to_string())));
            Value::Object(values.collect())
        })
    }

    /// Which hypers of each group do not follow from their defaults, as JSON.
    fn set_text(&self) -> String {
        let program = self.rule.program();
        self.by_group(|group| group.hypers.settings(program).map(|(name, _)| name).collect())
    }

    fn by_group(&self, of: impl Fn(&Group) -> Value) -> String {
        let groups: BTreeMap<&str, Value> = self.groups.iter().map(|group| (&*group.name, of(group))).collect();
        json!(groups).to_string()
    }

    /// Where each schedule is, as JSON.
    fn schedules_text(&self) -> String {
        let name = |driver: &Driver| self.rule.program().hypers[driver.hyper].name.to_string();
        let groups: BTreeMap<&str, BTreeMap<String, Value>> = self
            .groups
            .iter()
            .filter(|group| !group.drivers.is_empty())
            .map(|group| (&*group.name, group.drivers.iter().map(|driver| (name(driver), driver.saved())).collect()))
            .collect();
        json!(groups).to_string()
    }

    /// What the host has joined to the rule, and how the rule is computed, as JSON: what bits rest on beside the rule.
    pub(super) fn host_text(&self) -> String {
        let average = self.host.average.map_or("none".to_string(), |decay| decay.to_string());
        let math = if self.plans.math == Math::Fast { "fast" } else { "strict" };
        let (skip, unscale) = (self.host.skip_nonfinite.to_string(), self.host.unscale.to_string());
        json!({"average": average, "math": math, "skip_nonfinite": skip, "unscale": unscale}).to_string()
    }

    /// How the host has said that things are kept, as JSON.
    pub(super) fn stores_text(&self) -> String {
        let program = self.rule.program();
        let Stores { param, states } = &self.host.stores;
        let states = program.states.iter().zip(&**states);
        let states = states.filter_map(|(state, store)| Some((state.name.to_string(), (*store)?)));
        let all = param.map(|store| ("p".to_string(), store)).into_iter().chain(states);
        let all: BTreeMap<String, &str> = all.map(|(name, store)| (name, store.name())).collect();
        json!(all).to_string()
    }
}

fn shard_text(shard: &LoadedShard) -> Value {
    json!({"shape": shard.shape, "first": shard.first, "len": shard.len})
}
