//! Checkpoints: what an optimizer keeps, in safetensors, so that work goes on to the bit.
//!
//! `<tensor>/<state>` holds a state of a tensor in its own type (an array of the tensor's shape, or one f64), `<tensor>/t`
//! its steps as u64, `@<group>/<state>` and `/<state>` what belongs to a group or to the model; `<tensor>/p` is a parameter
//! and `<name>/@host` an array that the host has added. The metadata says `format`, `rule`, `program` (its canonical text
//! without documentation and defaults), `flags`, `hypers` and which of them were `set`, `groups` with their tensors,
//! what the `host` has joined, `schedules`, `seed`, `stores` and `shards` where there are any, and the `checksum` of all of it.
//!
//! Guaranteed: a save leaves the old file or the new one, whatever happens, and equal states give equal bytes. A load holds
//! everything to the checksum, to the rule and to what is known of the tensors before it changes anything. Deliberately not
//! here: pickles, executable content, remote storage ([`Checkpoint::to_bytes`] is for that).
//!
//! Files, in the order of a save and a load: `write` (an optimizer becomes a checkpoint), `file` (a checkpoint becomes
//! bytes, and back), `difference` (two rules), `restore` (a checkpoint becomes the state of an optimizer).

mod difference;
mod error;
mod file;
mod restore;
mod write;

pub use difference::Migration;
pub use error::CheckpointError;
pub use file::{Checkpoint, CheckpointEntry};
#[cfg(feature = "cli")]
pub(crate) use file::{floats, in_order};
pub use restore::Restore;

use super::error::Error;
use super::optimizer::Optimizer;
use std::path::Path;

/// The version of the layout.
const FORMAT: &str = "updraft-2";

/// More steps than this are damage, and would overflow some day.
const MAX_STEPS: u64 = u64::MAX / 2;

impl Optimizer {
    /// Writes what is kept to a file: all of it, or the file is as it was, also if the process is killed or the power
    /// fails. [`Checkpoint::save`] says how; a [`Checkpoint`] also takes parameters, and keeps earlier files.
    ///
    /// # Errors
    /// Those of [`Checkpoint::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.checkpoint().save(path)
    }

    /// Replaces all state by that of a file, and the hypers by those that it was written with; schedules go on from where
    /// they were. See [`restore`](Self::restore) for other wishes.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] if the file is damaged, or of another rule or otherwise built; then nothing
    /// has been changed.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let build = || Rule::shipped("adam")?.optimizer().build();
    /// let path = std::env::temp_dir().join(format!("updraft-doc-{}.safetensors", std::process::id()));
    /// let (mut w, g) = ([1.0f32, 2.0], [0.5f32, -0.5]);
    /// let mut opt = build()?;
    /// opt.set("lr", 0.1)?;
    /// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
    /// opt.save(&path)?;
    /// let mut resumed = build()?;
    /// resumed.load(&path)?;
    /// assert_eq!((resumed.steps("w"), resumed.hyper("lr")?), (1, 0.1.into()));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let restored = self.restore(&Checkpoint::read(path)?, Restore::default());
        restored.map(drop).map_err(|error| error.of_file(path))
    }

    /// The bytes of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], if there are too many tensors for one file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.checkpoint().to_bytes()
    }

    /// Like [`load`](Self::load), from the bytes of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]; then nothing has been changed.
    ///
    /// ```
    /// let mut opt = updraft::Rule::shipped("adam")?.optimizer().build()?;
    /// let bytes = opt.to_bytes()?;
    /// opt.load_bytes(&bytes)?;
    /// assert!(opt.load_bytes(&bytes[1..]).is_err());
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn load_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.restore(&Checkpoint::from_bytes(bytes)?, Restore::default()).map(drop)
    }
}
