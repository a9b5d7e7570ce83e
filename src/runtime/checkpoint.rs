//! State files: what an optimizer keeps, in safetensors.
//!
//! `<tensor>/<state>` holds a state of a tensor (an array of the tensor's shape, or one f64), `<tensor>/t` its steps as
//! u64, `@<group>/<state>` and `/<state>` what belongs to a group or to the model. The metadata says `format`, `rule`,
//! `program` (its canonical text without documentation and defaults), `flags`, `schedules` and `seed`. Hypers are not
//! restored: they come from whoever goes on. Loading verifies everything before it changes anything; equal states give
//! equal bytes.

use super::error::Error;
use super::hyper::HyperValue;
use super::optimizer::{Optimizer, array_named};
use super::scopes::{Loaded, LoadedShard};
use super::state::State;
use crate::check::program::{Extent, Program, StateId};
use crate::check::without_docs_and_defaults;
use crate::ir::step::Array;
use crate::ir::{Storage, Stores};
use crate::schedule::Driver;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The version of the layout.
const FORMAT: &str = "updraft-1";

/// More steps than this are damage, and would overflow some day.
const MAX_STEPS: u64 = u64::MAX / 2;

impl Optimizer {
    /// Writes the state of every tensor to a file: all of it, or the file is as it was.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = self.to_bytes().map_err(|reason| Error::Checkpoint { path: path.to_path_buf(), reason })?;
        crate::files::write_all(&[(path, &bytes)]).map_err(|(path, error)| Error::Io { path, error })
    }

    /// Replaces the state of every tensor by that of a file. Hypers stay as they are.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] if the file is damaged, or of another rule or other flags; then nothing
    /// has been changed.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let build = || Rule::shipped("adam")?.optimizer().set("lr", 0.1)?.build();
    /// let path = std::env::temp_dir().join(format!("updraft-doc-{}.safetensors", std::process::id()));
    /// let (mut w, g) = ([1.0f32, 2.0], [0.5f32, -0.5]);
    /// let mut opt = build()?;
    /// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
    /// opt.save(&path)?;
    /// let mut resumed = build()?;
    /// resumed.load(&path)?;
    /// assert_eq!(resumed.steps("w"), 1);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| Error::Io { path: path.to_path_buf(), error })?;
        let file = self.read_bytes(&bytes).map_err(|reason| Error::Checkpoint { path: path.to_path_buf(), reason })?;
        self.model.states = file.model;
        for ((group, states), drivers) in self.groups.iter_mut().zip(file.groups).zip(file.drivers) {
            group.scope.states = states;
            group.drivers = drivers;
            group.undrive(&self.rule);
        }
        let mut tensors = file.tensors;
        for slot in &mut self.tensors {
            let loaded = tensors.remove(&slot.name).unwrap_or_default();
            slot.t = loaded.t;
            slot.own.states.fill(State::Absent);
            for (id, state, _) in loaded.states {
                slot.own.states[id.index()] = state;
            }
            slot.own.hidden = loaded.hidden.into_iter().map(|(array, state, _)| (array, state)).collect();
        }
        self.loaded = tensors.into_iter().collect();
        Ok(())
    }

    /// The bytes of a state file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let program = self.rule.program();
        let mut entries: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
        let scalar = |x: f64| (Dtype::F64, Vec::new(), x.to_le_bytes().to_vec());
        let mut add = |tensor: &str, name: &str, shape: &[usize], state: &State| {
            let entry = match state {
                State::Absent => return,
                State::Scalar(x) => scalar(*x),
                State::F32(x) => (Dtype::F32, shape.to_vec(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
                State::F64(x) => (Dtype::F64, shape.to_vec(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
                State::Bf16(x) => (Dtype::BF16, shape.to_vec(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
                State::F16(x) => (Dtype::F16, shape.to_vec(), x.iter().flat_map(|x| x.to_le_bytes()).collect()),
            };
            entries.insert(format!("{tensor}/{name}"), entry);
        };
        let mut shards = BTreeMap::new();
        let mut steps = BTreeMap::new();
        for slot in self.tensors.iter().filter(|slot| slot.t > 0) {
            steps.insert(&*slot.name, slot.t);
            for (state, values) in program.states.iter().zip(&slot.own.states) {
                add(&slot.name, &state.name, &slot.array_shape(state.extent), values);
            }
            for (array, values) in &slot.own.hidden {
                add(&slot.name, &array.name(program), &slot.array_shape(array.extent(program)), values);
            }
            shards.extend(slot.shard().map(|shard| (&*slot.name, shard)));
        }
        for (name, loaded) in &self.loaded {
            if self.by_name.contains_key(name) {
                continue;
            }
            steps.insert(&**name, loaded.t);
            for (array, values, shape) in loaded.all() {
                add(name, &array.name(program), shape, values);
            }
            shards.extend(loaded.shard.clone().map(|shard| (&**name, shard)));
        }
        for (tensor, t) in steps {
            entries.insert(format!("{tensor}/t"), (Dtype::U64, Vec::new(), t.to_le_bytes().to_vec()));
        }
        let scopes = self.groups.iter().map(|group| (format!("@{}", group.name), &group.scope));
        for (prefix, scope) in scopes.chain([(String::new(), &self.model)]) {
            for (state, value) in program.states.iter().zip(&scope.states) {
                if let Some(x) = value {
                    entries.insert(format!("{prefix}/{}", state.name), scalar(*x));
                }
            }
        }
        let mut metadata = HashMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("rule".to_string(), program.name.to_string()),
            ("program".to_string(), without_docs_and_defaults(program)),
            ("flags".to_string(), self.flags_text()),
            ("schedules".to_string(), self.schedules_text()),
            ("seed".to_string(), self.host.seed.to_string()),
        ]);
        let stores = self.stores_text();
        if !self.host.stores.is_empty() {
            metadata.insert("stores".to_string(), stores);
        }
        if !shards.is_empty() {
            let shards: BTreeMap<&str, serde_json::Value> = shards
                .into_iter()
                .map(|(name, shard)| (name, json!({"shape": shard.shape, "first": shard.first, "len": shard.len})))
                .collect();
            metadata.insert("shards".to_string(), serde_json::to_string(&shards).unwrap_or_default());
        }
        let views = entries.iter().map(|(name, (dtype, shape, bytes))| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())?;
        Ok(in_order(bytes))
    }

    /// Where each schedule is, as JSON.
    fn schedules_text(&self) -> String {
        let name = |driver: &Driver| self.rule.program().hypers[driver.hyper].name.to_string();
        let groups: BTreeMap<&str, BTreeMap<String, serde_json::Value>> = self
            .groups
            .iter()
            .filter(|group| !group.drivers.is_empty())
            .map(|group| (&*group.name, group.drivers.iter().map(|driver| (name(driver), driver.saved())).collect()))
            .collect();
        serde_json::to_string(&groups).unwrap_or_default()
    }

    /// Reads where the schedules of this optimizer are; one that the file does not have begins anew.
    fn schedules_from(&self, text: &str) -> Result<Vec<Vec<Driver>>, String> {
        let saved: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("its `schedules` cannot be read: {error}"))?;
        let mut all = Vec::new();
        for group in &self.groups {
            let mut drivers = group.drivers.clone();
            for driver in &mut drivers {
                driver.reset();
                let hyper = &*self.rule.program().hypers[driver.hyper].name;
                let Some(entry) = saved.get(&group.name).and_then(|group| group.get(hyper)) else { continue };
                driver.restore(entry).map_err(|reason| format!("the schedule of `{hyper}`: {reason}"))?;
            }
            all.push(drivers);
        }
        Ok(all)
    }

    /// How the host has said that things are kept, as JSON.
    fn stores_text(&self) -> String {
        let program = self.rule.program();
        let Stores { param, states } = &self.host.stores;
        let states = program.states.iter().zip(&**states);
        let states = states.filter_map(|(state, store)| Some((state.name.to_string(), (*store)?)));
        let all = param.map(|store| ("p".to_string(), store)).into_iter().chain(states);
        let all: BTreeMap<String, &str> = all.map(|(name, store)| (name, store.name())).collect();
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// Things are kept as they were when the file was written.
    fn same_stores(&self, text: &str) -> Result<(), String> {
        let parse = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).ok();
        let was = parse(text).ok_or("its `stores` cannot be read")?;
        let now = parse(&self.stores_text()).unwrap_or_default();
        let Some(name) = was.keys().chain(now.keys()).find(|name| was.get(*name) != now.get(*name)) else {
            return Ok(());
        };
        let text = |stores: &BTreeMap<String, String>| match stores.get(name) {
            Some(store) => format!("kept as {store}"),
            None => "left as it is by default".to_string(),
        };
        Err(format!(
            "`{name}` was {} when it was written, but is {} now: say the same of it when building",
            text(&was),
            text(&now)
        ))
    }

    /// The flags and modes of each group, as JSON.
    fn flags_text(&self) -> String {
        let program = self.rule.program();
        let groups: BTreeMap<&str, BTreeMap<&str, serde_json::Value>> = self
            .groups
            .iter()
            .map(|group| {
                let flags =
                    program.hypers.iter().enumerate().filter_map(|(index, hyper)| match group.hypers.value(index) {
                        HyperValue::Flag(flag) => Some((&*hyper.name, (*flag).into())),
                        HyperValue::Mode(mode) => Some((&*hyper.name, mode.to_string().into())),
                        HyperValue::Number(_) | HyperValue::List(_) => None,
                    });
                (group.name.as_str(), flags.collect())
            })
            .collect();
        serde_json::to_string(&groups).unwrap_or_default()
    }

    /// Reads a state file, and holds all of it to this optimizer.
    fn read_bytes(&self, bytes: &[u8]) -> Result<File, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| format!("not a safetensors file: {e}"))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file: {e}"))?;
        let empty = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&empty);
        let get = |key: &str| {
            metadata
                .get(key)
                .map(String::as_str)
                .ok_or(format!("not a state file of updraft: its metadata has no `{key}`"))
        };
        if get("format")? != FORMAT {
            return Err(format!("its format is `{}`, this version reads `{FORMAT}`", get("format")?));
        }
        let (seed, own) = (get("seed")?, self.host.seed);
        if seed != own.to_string() {
            return Err(format!(
                "it was written with the seed {seed}, but it is {own} now: build the optimizer with its"
            ));
        }
        let program = self.rule.program();
        self.same_program(get("rule")?, get("program")?, get("flags")?)?;
        self.same_stores(get("stores").unwrap_or("{}"))?;
        let drivers = self.schedules_from(get("schedules")?)?;
        let mut file = File {
            drivers,
            model: vec![None; program.states.len()],
            groups: vec![vec![None; program.states.len()]; self.groups.len()],
            tensors: BTreeMap::new(),
        };
        if let Some(text) = metadata.get("shards") {
            for (name, shard) in shards_from(text)? {
                self.same_shard(&name, &shard)?;
                file.tensors.entry(name).or_default().shard = Some(shard);
            }
        }
        for (name, view) in tensors.tensors() {
            let Some((owner, state)) = name.rsplit_once('/') else {
                return Err(format!("`{name}` is no state: its name has no `/`"));
            };
            if state == "t" {
                let t = one(&view, Dtype::U64).ok_or(format!("`{name}` is not one u64"))?;
                let t = u64::from_le_bytes(t);
                if t > MAX_STEPS {
                    return Err(format!("`{name}` is {t}: no tensor has taken so many steps"));
                }
                file.tensors.entry(owner.to_string()).or_default().t = t;
                continue;
            }
            let Some(array) = array_named(program, state) else {
                return Err(format!("`{name}`: {} has no state `{state}`", program.name));
            };
            let Array::State(id) = array else {
                if array == Array::Average && self.host.average.is_none() {
                    return Err("it keeps averages of the parameters: build the optimizer with `average`".to_string());
                }
                let values = self.array(owner, &name, array, &view)?;
                let shape = view.shape().to_vec();
                file.tensors.entry(owner.to_string()).or_default().hidden.push((array, values, shape));
                continue;
            };
            let index = id.index();
            let scalar = || match one(&view, Dtype::F64) {
                Some(bytes) => Ok(f64::from_le_bytes(bytes)),
                None => Err(format!("`{name}` is not one f64")),
            };
            match program.states[index].extent {
                Extent::Model if owner.is_empty() => file.model[index] = Some(scalar()?),
                Extent::Model => return Err(format!("`{name}`: the state `{state}` is per model")),
                Extent::Group => {
                    let group = owner.strip_prefix('@').and_then(|g| self.groups.iter().position(|x| x.name == g));
                    let Some(group) = group else {
                        let known: Vec<&str> = self.groups().collect();
                        return Err(format!("`{name}`: there is no such group; the groups are {}", known.join(", ")));
                    };
                    file.groups[group][index] = Some(scalar()?);
                }
                Extent::Tensor => {
                    let state = State::Scalar(scalar()?);
                    let id = StateId(index as u32);
                    file.tensors.entry(owner.to_string()).or_default().states.push((id, state, Vec::new()));
                }
                _ => {
                    let state = self.array(owner, &name, array, &view)?;
                    let id = StateId(index as u32);
                    let shape = view.shape().to_vec();
                    let states = &mut file.tensors.entry(owner.to_string()).or_default().states;
                    self.agrees(&name, (id, &state, &shape), states)?;
                    states.push((id, state, shape));
                }
            }
        }
        if let Some((name, _)) = file.tensors.iter().find(|(_, loaded)| loaded.t == 0) {
            return Err(format!("`{name}` has states but no steps (`{name}/t`)"));
        }
        Ok(file)
    }

    /// A tensor that is known is the same part of its whole.
    fn same_shard(&self, name: &str, shard: &LoadedShard) -> Result<(), String> {
        let Some(index) = self.by_name.get(name) else { return Ok(()) };
        let slot = &self.tensors[*index as usize];
        if *slot.shape != *shard.shape || (slot.geometry.first, slot.geometry.len) != (shard.first, shard.len) {
            return Err(format!("`{name}` was another part of its tensor when the file was written"));
        }
        Ok(())
    }

    /// The states of one tensor that are kept as the parameter are all of its type, and those of one extent of one shape.
    fn agrees(
        &self,
        name: &str,
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
                Err(format!(
                    "`{name}` is {now} of shape {shape:?}, but another state of that tensor is {before} of {was:?}"
                ))
            }
            None => Ok(()),
        }
    }

    fn array(&self, owner: &str, name: &str, array: Array, view: &TensorView<'_>) -> Result<State, String> {
        let program = self.rule.program();
        let extent = array.extent(program);
        let (state, storage) = match view.dtype() {
            Dtype::F32 => (State::F32(floats(view.data(), f32::from_le_bytes).into()), Storage::F32),
            Dtype::F64 => (State::F64(floats(view.data(), f64::from_le_bytes).into()), Storage::F64),
            Dtype::BF16 => (State::Bf16(floats(view.data(), bf16::from_le_bytes).into()), Storage::Bf16),
            Dtype::F16 => (State::F16(floats(view.data(), f16::from_le_bytes).into()), Storage::F16),
            other => return Err(format!("`{name}` is stored as {other:?}; states are f32, f64, bf16 or f16")),
        };
        if let Some(slot) = self.by_name.get(owner).map(|index| &self.tensors[*index as usize])
            && let expected = self.host.stores.storage(array, slot.storage, program)
            && (slot.array_shape(extent) != view.shape() || storage != expected)
        {
            let (was, now) = (view.shape(), &slot.shape);
            let param = slot.storage.name();
            let but = match array {
                // Then it is the parameter that differs.
                Array::State(_) if expected == slot.storage => format!("`{owner}` is {param} of shape {now:?}"),
                _ => format!("of `{owner}`, {param} of shape {now:?}, it is kept as {}", expected.name()),
            };
            return Err(format!("`{name}` is {} of shape {was:?}, but {but}", storage.name()));
        }
        Ok(state)
    }

    /// The rule and its flags must be those that the file was written with.
    fn same_program(&self, rule: &str, text: &str, flags: &str) -> Result<(), String> {
        let program: &Program = self.rule.program();
        let mine = without_docs_and_defaults(program);
        if text != mine {
            let mut lines = text.lines().zip(mine.lines()).filter(|(theirs, mine)| theirs != mine);
            let difference = match lines.next() {
                Some((theirs, mine)) => {
                    format!("it has `{}` where {} has `{}`", theirs.trim(), program.name, mine.trim())
                }
                None => format!(
                    "one is longer than the other ({} and {} lines)",
                    text.lines().count(),
                    mine.lines().count()
                ),
            };
            return Err(format!("it was written by another rule ({rule}): {difference}"));
        }
        let mine = self.flags_text();
        let parse = |text: &str| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text).ok();
        let theirs = parse(flags).ok_or("its `flags` are not those of groups")?;
        let names = |flags: &BTreeMap<String, serde_json::Value>| flags.keys().cloned().collect::<Vec<_>>().join(", ");
        let own = parse(&mine).unwrap_or_default();
        if theirs.keys().ne(own.keys()) {
            return Err(format!(
                "it was written with the groups {}, but they are {} now: name them as they were",
                names(&theirs),
                names(&own)
            ));
        }
        if theirs != own {
            return Err(format!(
                "it was written with the flags {flags}, but they are {mine} now: set them as they were"
            ));
        }
        Ok(())
    }
}

/// What a state file holds.
struct File {
    /// For each group.
    drivers: Vec<Vec<Driver>>,
    model: Vec<Option<f64>>,
    groups: Vec<Vec<Option<f64>>>,
    tensors: BTreeMap<String, Loaded>,
}

/// The part of a tensor that a file was written for.
fn shards_from(text: &str) -> Result<BTreeMap<String, LoadedShard>, String> {
    let unreadable = || "its `shards` cannot be read".to_string();
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(|_| unreadable())?;
    let number = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok()).ok_or_else(unreadable)
    };
    let shard = |value: serde_json::Value| -> Result<LoadedShard, String> {
        let shape = value.get("shape").and_then(serde_json::Value::as_array).ok_or_else(unreadable)?;
        let shape = shape.iter().map(|n| number(Some(n))).collect::<Result<Vec<usize>, String>>()?;
        Ok(LoadedShard { shape, first: number(value.get("first"))?, len: number(value.get("len"))? })
    };
    all.into_iter().map(|(name, value)| Ok((name, shard(value)?))).collect()
}

/// The bytes of a tensor that holds one value.
fn one(view: &TensorView<'_>, dtype: Dtype) -> Option<[u8; 8]> {
    let is_one = view.dtype() == dtype && view.shape().iter().product::<usize>() == 1;
    if is_one { view.data().try_into().ok() } else { None }
}

/// Little-endian values, as they lie in a file.
pub(crate) fn floats<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<N>();
    whole.iter().map(|bytes| read(*bytes)).collect()
}

/// The same file with its header's keys in order: safetensors writes metadata in no particular order, and equal states
/// are to give equal bytes.
pub(crate) fn in_order(bytes: Vec<u8>) -> Vec<u8> {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else { return bytes };
    let Some((header, data)) = rest.split_at_checked(u64::from_le_bytes(*len) as usize) else { return bytes };
    let Ok(header) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(header) else { return bytes };
    let Ok(mut text) = serde_json::to_vec(&header) else { return bytes };
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.append(&mut text);
    out.extend_from_slice(data);
    out
}
