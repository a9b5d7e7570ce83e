//! `updraft inspect`: what a checkpoint holds.
//!
//! Comes in: a file that nobody vouches for. Goes out: what wrote it, with which hypers, how far it was, and each array with
//! its type, shape and size; or why it is no whole checkpoint. The rule itself is not needed.

use super::{Failure, count, print};
use crate::Checkpoint;
use crate::diagnostic::{harmless, harmless_json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show what a checkpoint holds, after a look at its checksum
#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint: of `train --checkpoint`, of `apply --state-out`, or of a program that embeds updraft
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the program that wrote it, as it is compared when it is loaded
    #[arg(long, conflicts_with = "json")]
    program: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let checkpoint = Checkpoint::read(&args.file)?;
    if args.json {
        return print(&harmless_json(&format!("{:#}\n", as_json(&checkpoint))));
    }
    if args.program {
        return print(&harmless(checkpoint.program()));
    }
    print(&text(&checkpoint))
}

/// The JSON of a key of the metadata.
fn metadata(checkpoint: &Checkpoint, key: &str) -> Value {
    serde_json::from_str(checkpoint.metadata(key)).unwrap_or(Value::Null)
}

fn as_json(checkpoint: &Checkpoint) -> Value {
    let arrays = checkpoint.entries().map(|entry| {
        let dtype = entry.storage.map_or("u64", |storage| storage.name());
        json!({"name": entry.name, "dtype": dtype, "shape": entry.shape, "bytes": entry.bytes})
    });
    let steps: BTreeMap<&str, u64> = checkpoint.tensors().map(|name| (name, checkpoint.steps(name))).collect();
    json!({
        "rule": checkpoint.rule(),
        "program": checkpoint.program(),
        "seed": checkpoint.metadata("seed"),
        "hypers": metadata(checkpoint, "hypers"),
        "set": metadata(checkpoint, "set"),
        "groups": metadata(checkpoint, "groups"),
        "schedules": metadata(checkpoint, "schedules"),
        "stores": metadata(checkpoint, "stores"),
        "steps": steps,
        "arrays": arrays.collect::<Vec<_>>(),
    })
}

/// Each text of the file is a [`field`] of a line.
fn text(checkpoint: &Checkpoint) -> String {
    let tensors: Vec<&str> = checkpoint.tensors().collect();
    let steps = || tensors.iter().map(|name| checkpoint.steps(name));
    let steps = match (steps().min(), steps().max()) {
        (None, _) | (_, None) => "no steps yet".to_string(),
        (Some(least), Some(most)) if least == most => count(most as usize, "step"),
        (Some(least), Some(most)) => format!("{least} to {most} steps"),
    };
    let bytes: usize = checkpoint.entries().map(|entry| entry.bytes).sum();
    let mut out = format!(
        "rule {}, {}, {steps}, {}; whole: the checksum is right\n",
        field(checkpoint.rule()),
        count(tensors.len(), "tensor"),
        size(bytes)
    );
    out += &format!("seed {}\n", field(checkpoint.metadata("seed")));
    let (hypers, set) = (metadata(checkpoint, "hypers"), metadata(checkpoint, "set"));
    let (groups, schedules) = (metadata(checkpoint, "groups"), metadata(checkpoint, "schedules"));
    for (group, values) in hypers.as_object().into_iter().flatten() {
        let members = groups.get(group).and_then(Value::as_array).map_or(0, Vec::len);
        out += &format!("\ngroup {}, {}\n", field(group), count(members, "tensor"));
        let is_set = |name: &str| {
            let set = set.get(group).and_then(Value::as_array);
            set.is_some_and(|set| set.iter().any(|one| one == name))
        };
        for (name, value) in values.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let driven = schedules.get(group).and_then(|all| all.get(name)).map_or(String::new(), |schedule| {
                let text = schedule.get("schedule").and_then(Value::as_str).unwrap_or_default();
                let s = schedule.get("s").and_then(Value::as_u64).unwrap_or_default();
                format!(", driven by {text}, at s = {s}")
            });
            let how = if is_set(name) { "" } else { " (default)" };
            out += &format!("  {}\n", field(&format!("{name} = {value}{how}{driven}")));
        }
    }
    for (name, store) in metadata(checkpoint, "stores").as_object().into_iter().flatten() {
        out += &format!("{}\n", field(&format!("{name} is kept as {}", store.as_str().unwrap_or_default())));
    }
    out += "\n";
    let rows = checkpoint.entries().map(|entry| {
        let value = match entry.name.strip_suffix("/t") {
            Some(tensor) if entry.storage.is_none() => format!("= {}", checkpoint.steps(tensor)),
            _ => format!("{:?}", entry.shape),
        };
        let dtype = entry.storage.map_or("u64", |storage| storage.name());
        [field(entry.name), dtype.to_string(), value, size(entry.bytes)]
    });
    let rows: Vec<[String; 4]> = rows.collect();
    // A name may be of any length, and a width may not.
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(60);
    let widths = [0, 1, 2, 3].map(width);
    for [name, dtype, value, bytes] in &rows {
        let [a, b, c, d] = widths;
        out += &format!("{name:a$}  {dtype:b$}  {value:c$}  {bytes:>d$}\n");
    }
    out
}

/// Text of a file, which cannot end the line that it is in.
fn field(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], "?")
}

/// `512 B`, `1.5 KiB`.
fn size(bytes: usize) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut rest = bytes as f64;
    let mut shown = "B";
    for unit in units {
        if rest < 1024.0 {
            break;
        }
        (rest, shown) = (rest / 1024.0, unit);
    }
    if shown == "B" { format!("{bytes} B") } else { format!("{rest:.1} {shown}") }
}
