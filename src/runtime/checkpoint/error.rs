//! Why a checkpoint is refused.

use super::FORMAT;
use crate::diagnostic::harmless;
use std::fmt;

/// Why a checkpoint cannot be used. The optimizer is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CheckpointError {
    /// The bytes are no safetensors file, or a part of one.
    NotSafetensors { reason: String },
    /// A safetensors file of something else: its metadata lacks this key.
    Foreign { key: &'static str },
    /// Another version of the layout.
    Format { found: String },
    /// The contents are not those that were written.
    Damaged { written: String, found: String },
    /// Metadata that cannot be read.
    Metadata { key: &'static str, reason: String },
    /// It was written by another rule: the lines that differ.
    OtherRule { rule: String, now: String, difference: String },
    /// The optimizer was built in another way than the one that wrote it.
    OtherBuild { reason: String },
    /// An array that does not belong here.
    Entry { name: String, reason: String },
    /// A header of more bytes than a safetensors file may have.
    TooLarge { reason: String },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::NotSafetensors { reason } => write!(f, "not a safetensors file: {}", harmless(reason)),
            CheckpointError::Foreign { key } => {
                write!(f, "not a checkpoint of updraft: its metadata has no `{key}`")
            }
            CheckpointError::Format { found } => {
                write!(f, "its format is `{}`, this version reads `{FORMAT}`", harmless(found))
            }
            CheckpointError::Damaged { written, found } => write!(
                f,
                "it is damaged: its checksum is {}, that of its contents is {found}; go on from an earlier copy",
                harmless(written)
            ),
            CheckpointError::Metadata { key, reason } => write!(f, "its `{key}` cannot be read: {}", harmless(reason)),
            CheckpointError::OtherRule { rule, now, difference } => {
                let (rule, difference) = (harmless(rule), harmless(difference));
                if rule != *now {
                    // Most of their lines differ, and the file is the wrong one.
                    return write!(f, "it was written by another rule: `{rule}`, and this is `{now}`");
                }
                write!(
                    f,
                    "`{rule}` has changed since it was written (- then, + now):\n{difference}\nask for migration to take over \
                     what both have (--migrate; in code, `Restore {{ migrate: true, .. }}`)"
                )
            }
            CheckpointError::OtherBuild { reason } => f.write_str(&harmless(reason)),
            CheckpointError::Entry { name, reason } => write!(f, "`{}`: {}", harmless(name), harmless(reason)),
            CheckpointError::TooLarge { reason } => write!(f, "it cannot be written: {}", harmless(reason)),
        }
    }
}

impl std::error::Error for CheckpointError {}
