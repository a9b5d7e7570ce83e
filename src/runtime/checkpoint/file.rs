//! [`Checkpoint`]: the contents of a file, whole and undamaged, before any optimizer has looked at them.
//!
//! Comes in: bytes that nobody vouches for, or arrays and text. Goes out: a checkpoint, or bytes. Equal contents give equal
//! bytes, and what is read has the checksum that was written. What the contents mean is not this file's business.

use super::super::error::Error;
use super::super::state::{State, StateValues};
use super::super::tensor::Element;
use super::{CheckpointError, FORMAT, MAX_STEPS};
use crate::ir::Storage;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use twox_hash::XxHash3_128;

/// Where the checksum stands in the metadata, which it does not cover itself.
const CHECKSUM: &str = "checksum";
/// What begins the keys of the host's own text.
const HOST_TEXT: &str = "host:";
/// What ends the names of parameters.
const PARAM: &str = "p";
/// What ends the names of the host's own arrays; no state is called so.
const HOST_ARRAY: &str = "@host";

/// What an optimizer keeps, as it stands in a file; the host may add its parameters, arrays and text.
///
/// ```
/// use updraft::{Checkpoint, Rule, Tensor};
/// let build = || Rule::shipped("adam")?.optimizer().set("lr", 0.1)?.build();
/// let (mut w, g) = ([1.0f32, 2.0], [0.5f32, -0.5]);
/// let mut opt = build()?;
/// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
///
/// let mut checkpoint = opt.checkpoint();
/// checkpoint.put_param("w", &[2], &w)?;
/// checkpoint.put_text("epoch", "3");
/// let bytes = checkpoint.to_bytes()?; // or checkpoint.save(path)?, which is atomic and durable
///
/// let checkpoint = Checkpoint::from_bytes(&bytes)?;
/// assert_eq!((checkpoint.rule(), checkpoint.text("epoch")), ("adam", Some("3")));
/// let mut resumed = build()?;
/// resumed.restore(&checkpoint, Default::default())?;
/// assert_eq!(resumed.steps("w"), 1);
/// # Ok::<(), updraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The metadata but for the checksum.
    pub(super) text: BTreeMap<String, String>,
    /// By name in the file.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// An array of a file.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// The steps of a tensor.
    Steps(u64),
    /// Numbers, and their shape. What the optimizer keeps as one number is an f64 without axes.
    Array(State, Vec<usize>),
}

/// What stands in a checkpoint, for a list of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointEntry<'a> {
    /// Its name in the file: `<tensor>/<state>`, `<tensor>/t`, `<tensor>/p`, `@<group>/<state>`, `/<state>`.
    pub name: &'a str,
    /// The type of its elements; `None` for steps, which are one u64.
    pub storage: Option<Storage>,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its size.
    pub bytes: usize,
}

impl Checkpoint {
    /// Reads a file, and holds it to its checksum.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`].
    pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| Error::Io { path: path.to_path_buf(), error })?;
        let read = Checkpoint::parse(&bytes);
        read.map_err(|reason| Error::Checkpoint { path: Some(path.to_path_buf()), reason })
    }

    /// Reads the bytes of a file, and holds them to their checksum.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, Error> {
        Ok(Checkpoint::parse(bytes)?)
    }

    /// Writes a file: all of it and durably, or the file is as it was. The bytes go to a temporary file beside it and from
    /// there to the disk, before it takes the other's place, permissions and all; then the folder is written. Temporary
    /// files of processes that were killed here are removed.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] if there are too many tensors for one file.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.save_keeping(path, 0)
    }

    /// Like [`save`](Self::save), and keeps the files of this path that came before: as many as are asked for, as
    /// `<path>.1` (the last), `<path>.2` and so on. There is a whole file at `path` at every moment.
    ///
    /// # Errors
    /// Those of [`save`](Self::save).
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("updraft-doc-keeping-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("state.safetensors");
    /// let opt = updraft::Rule::shipped("adam")?.optimizer().build()?;
    /// for _ in 0..3 {
    ///     opt.checkpoint().save_keeping(&path, 1)?;
    /// }
    /// assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2); // state.safetensors, state.safetensors.1
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn save_keeping(&self, path: impl AsRef<Path>, previous: usize) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = self.write();
        let bytes = bytes.map_err(|reason| Error::Checkpoint { path: Some(path.to_path_buf()), reason })?;
        crate::files::write_keeping(path, &bytes, previous)
            .map_err(|error| Error::Io { path: path.to_path_buf(), error })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], if there are too many tensors for one file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        Ok(self.write()?)
    }

    /// The name of the rule that wrote it.
    pub fn rule(&self) -> &str {
        self.metadata("rule")
    }

    /// The text of that rule, as it is compared: without documentation and defaults.
    pub fn program(&self) -> &str {
        self.metadata("program")
    }

    /// Metadata by its key; empty if there is none. The keys are `format`, `rule`, `program`, `flags`, `hypers`, `set`,
    /// `groups`, `host`, `schedules`, `seed`, and at times `stores` and `shards`; all but the first three are JSON or numbers.
    pub fn metadata(&self, key: &str) -> &str {
        self.text.get(key).map_or("", String::as_str)
    }

    /// The names of the tensors that have taken steps, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        let steps = self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Steps(_)));
        steps.filter_map(|(name, _)| Some(name.rsplit_once('/')?.0))
    }

    /// How many steps a tensor had taken.
    pub fn steps(&self, tensor: &str) -> u64 {
        match self.entries.get(&format!("{tensor}/t")) {
            Some(Entry::Steps(t)) => *t,
            _ => 0,
        }
    }

    /// Everything in it, in the order of the names.
    pub fn entries(&self) -> impl Iterator<Item = CheckpointEntry<'_>> {
        self.entries.iter().map(|(name, entry)| match entry {
            Entry::Steps(_) => CheckpointEntry { name, storage: None, shape: &[], bytes: 8 },
            Entry::Array(values, shape) => {
                CheckpointEntry { name, storage: values.storage(), shape, bytes: values.bytes() }
            }
        })
    }

    /// Adds a parameter, as `<tensor>/p`: the optimizer itself keeps none.
    ///
    /// # Errors
    /// [`Error::ArrayShape`], if the values are not as many as the shape says.
    pub fn put_param<T: Element>(&mut self, tensor: &str, shape: &[usize], values: &[T]) -> Result<(), Error> {
        self.put(tensor, PARAM, shape, values)
    }

    /// The shape and the values of a parameter that was added.
    pub fn param(&self, tensor: &str) -> Option<(&[usize], StateValues<'_>)> {
        self.get(tensor, PARAM)
    }

    /// Adds an array of the host's own.
    ///
    /// # Errors
    /// [`Error::ArrayShape`], if the values are not as many as the shape says.
    pub fn put_array<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<(), Error> {
        self.put(name, HOST_ARRAY, shape, values)
    }

    /// The shape and the values of an array of the host's own.
    pub fn array(&self, name: &str) -> Option<(&[usize], StateValues<'_>)> {
        self.get(name, HOST_ARRAY)
    }

    /// Adds text of the host's own, in the metadata.
    pub fn put_text(&mut self, key: &str, text: &str) {
        self.text.insert(format!("{HOST_TEXT}{key}"), text.to_string());
    }

    /// Text of the host's own.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.text.get(&format!("{HOST_TEXT}{key}")).map(String::as_str)
    }

    fn put<T: Element>(&mut self, owner: &str, end: &str, shape: &[usize], values: &[T]) -> Result<(), Error> {
        let numel = shape.iter().try_fold(1, |product: usize, n| product.checked_mul(*n));
        if numel != Some(values.len()) {
            let (what, tensor) = ("values".to_string(), owner.to_string());
            return Err(Error::ArrayShape { tensor, what, expected: shape.to_vec(), found: vec![values.len()] });
        }
        self.entries.insert(format!("{owner}/{end}"), Entry::Array(T::state(values), shape.to_vec()));
        Ok(())
    }

    fn get(&self, owner: &str, end: &str) -> Option<(&[usize], StateValues<'_>)> {
        match self.entries.get(&format!("{owner}/{end}"))? {
            Entry::Array(values, shape) => Some((shape, values.values()?)),
            Entry::Steps(_) => None,
        }
    }

    /// Reads the bytes of a file.
    fn parse(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let not_safetensors =
            |error: safetensors::SafeTensorError| CheckpointError::NotSafetensors { reason: error.to_string() };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut text: BTreeMap<String, String> = metadata.into_iter().collect();
        let format = text.get("format").ok_or(CheckpointError::Foreign { key: "format" })?;
        if format != FORMAT {
            return Err(CheckpointError::Format { found: format.clone() });
        }
        let written = text.remove(CHECKSUM).ok_or(CheckpointError::Foreign { key: CHECKSUM })?;
        let views: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
        let found = checksum(&text, views.iter().map(|(name, view)| (name.as_str(), view.into())));
        if found != written {
            return Err(CheckpointError::Damaged { written, found });
        }
        let entries = views.into_iter().map(|(name, view)| match entry(&name, &view) {
            Ok(entry) => Ok((name, entry)),
            Err(reason) => Err(CheckpointError::Entry { name, reason }),
        });
        Ok(Checkpoint { text, entries: entries.collect::<Result<_, _>>()? })
    }

    /// The bytes of the file.
    fn write(&self) -> Result<Vec<u8>, CheckpointError> {
        let too_large = |error: safetensors::SafeTensorError| CheckpointError::TooLarge { reason: error.to_string() };
        let arrays: Vec<(&str, Dtype, &[usize], Vec<u8>)> = self.entries.iter().map(|(name, e)| e.raw(name)).collect();
        let raw = arrays.iter().map(|(name, dtype, shape, data)| (*name, Raw { dtype: *dtype, shape, data }));
        let mut metadata: HashMap<String, String> = self.text.clone().into_iter().collect();
        metadata.insert(CHECKSUM.to_string(), checksum(&self.text, raw));
        let views = arrays
            .iter()
            .map(|(name, dtype, shape, data)| TensorView::new(*dtype, shape.to_vec(), data).map(|view| (*name, view)));
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(too_large)?;
        Ok(in_order(safetensors::serialize(views, Some(metadata)).map_err(too_large)?))
    }
}

impl Entry {
    pub(super) fn scalar(x: f64) -> Entry {
        Entry::Array(State::F64(vec![x].into()), Vec::new())
    }

    /// As it lies in a file.
    fn raw<'a>(&'a self, name: &'a str) -> (&'a str, Dtype, &'a [usize], Vec<u8>) {
        let (state, shape) = match self {
            Entry::Steps(t) => return (name, Dtype::U64, &[], t.to_le_bytes().to_vec()),
            Entry::Array(state, shape) => (state, shape),
        };
        let (dtype, bytes) = match state {
            State::F32(x) => (Dtype::F32, bytes_of(x, f32::to_le_bytes)),
            State::F64(x) => (Dtype::F64, bytes_of(x, f64::to_le_bytes)),
            State::Bf16(x) => (Dtype::BF16, bytes_of(x, bf16::to_le_bytes)),
            State::F16(x) => (Dtype::F16, bytes_of(x, f16::to_le_bytes)),
            State::Scalar(x) => (Dtype::F64, x.to_le_bytes().to_vec()),
            // No entry is made of what is absent.
            State::Absent => (Dtype::F32, Vec::new()),
        };
        (name, dtype, shape, bytes)
    }
}

/// An array as it lies in a file.
struct Raw<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    data: &'a [u8],
}

impl<'a> From<&'a TensorView<'_>> for Raw<'a> {
    fn from(view: &'a TensorView<'_>) -> Raw<'a> {
        Raw { dtype: view.dtype(), shape: view.shape(), data: view.data() }
    }
}

/// XXH3 of 128 bits over all that a file says: each text of the metadata (but the checksum itself), each array's name, type,
/// shape and data, in the order of the names, each with its length before it. So a file may be laid out anew by any tool
/// that knows safetensors, and no bit of its contents may change.
fn checksum<'a>(text: &BTreeMap<String, String>, arrays: impl Iterator<Item = (&'a str, Raw<'a>)>) -> String {
    fn add(hash: &mut XxHash3_128, bytes: &[u8]) {
        hash.write(&(bytes.len() as u64).to_le_bytes());
        hash.write(bytes);
    }
    let mut hash = XxHash3_128::new();
    for (key, text) in text {
        add(&mut hash, key.as_bytes());
        add(&mut hash, text.as_bytes());
    }
    for (name, Raw { dtype, shape, data }) in arrays {
        add(&mut hash, name.as_bytes());
        add(&mut hash, dtype.to_string().as_bytes());
        hash.write(&(shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|n| hash.write(&(*n as u64).to_le_bytes()));
        add(&mut hash, data);
    }
    format!("xxh3-128:{:032x}", hash.finish_128())
}

/// An array of a file, if it is of a type that checkpoints have.
fn entry(name: &str, view: &TensorView<'_>) -> Result<Entry, String> {
    let data = view.data();
    let state = match view.dtype() {
        Dtype::F32 => State::F32(floats(data, f32::from_le_bytes).into()),
        Dtype::F64 => State::F64(floats(data, f64::from_le_bytes).into()),
        Dtype::BF16 => State::Bf16(floats(data, bf16::from_le_bytes).into()),
        Dtype::F16 => State::F16(floats(data, f16::from_le_bytes).into()),
        Dtype::U64 if name.ends_with("/t") => {
            let steps = data.try_into().map(u64::from_le_bytes).map_err(|_| "it is not one u64".to_string())?;
            if steps > MAX_STEPS {
                return Err(format!("it is {steps}: no tensor has taken so many steps"));
            }
            return Ok(Entry::Steps(steps));
        }
        other => return Err(format!("it is stored as {other}; arrays are F32, F64, BF16 or F16")),
    };
    Ok(Entry::Array(state, view.shape().to_vec()))
}

fn bytes_of<const N: usize, T: Copy>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    let mut out = vec![0; values.len() * N];
    let (chunks, _) = out.as_chunks_mut::<N>();
    chunks.iter_mut().zip(values).for_each(|(chunk, x)| *chunk = bytes(*x));
    out
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
