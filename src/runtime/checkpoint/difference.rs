//! Two rules: what differs between the one that wrote a checkpoint and the one that reads it.
//!
//! Comes in: the canonical texts of both. Goes out: the lines that differ, for the person who has to decide, and for a
//! migration the states that come, go and begin anew.

use crate::diagnostic::harmless;
use similar::{ChangeTag, TextDiff};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// More lines of a difference than this are cut: a rule is a page, and the first ones tell what happened.
const SHOWN: usize = 16;

/// And more of a line than this.
const COLUMNS: usize = 160;

/// What was not taken over as it was when a checkpoint was restored; empty unless migration was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// States that the rule has and the checkpoint has not: they take their first values.
    pub added: Vec<String>,
    /// States that the checkpoint has and the rule has not: they were dropped.
    pub removed: Vec<String>,
    /// States that both have, of another extent or type: they take their first values.
    pub restarted: Vec<String>,
    /// What else differs, in words.
    pub other: Vec<String>,
}

impl Migration {
    /// Whether everything was taken over.
    pub fn is_empty(&self) -> bool {
        *self == Migration::default()
    }
}

/// One line for each kind of difference.
impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("states added, from their first values: ", &self.added),
            ("states removed, and dropped: ", &self.removed),
            ("states of another extent or type, from their first values: ", &self.restarted),
        ];
        let mut lines: Vec<String> = Vec::new();
        for (what, states) in kinds.into_iter().filter(|(_, states)| !states.is_empty()) {
            lines.push(format!("{what}{}", states.join(", ")));
        }
        lines.extend(self.other.iter().cloned());
        f.write_str(&harmless(&lines.join("\n")))
    }
}

/// The lines that two programs do not share, those of `then` behind a `-` and those of `now` behind a `+`.
pub(super) fn lines(then: &str, now: &str) -> String {
    // A hostile text is as long as a file may be; beyond this time the lines are told apart less well.
    let diff = TextDiff::configure().timeout(Duration::from_millis(100)).diff_lines(then, now);
    let changes = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        let line = change.value().trim_end();
        let shown: String = line.chars().take(COLUMNS).collect();
        Some(format!("  {sign} {shown}{}", if shown.len() < line.len() { " ..." } else { "" }))
    });
    let mut changes: Vec<String> = changes.filter(|line| line.len() > "  + ".len()).collect();
    let more = changes.len().saturating_sub(SHOWN);
    if more > 0 {
        changes.truncate(SHOWN);
        changes.push(format!("  and {more} more lines"));
    }
    changes.join("\n")
}

/// Which states come, go and begin anew between two programs.
pub(super) fn states(then: &str, now: &str) -> Migration {
    let (then, now) = (declared(then), declared(now));
    let missing = |from: &BTreeMap<&str, &str>, other: &BTreeMap<&str, &str>| {
        from.keys().filter(|name| !other.contains_key(*name)).map(|name| name.to_string()).collect()
    };
    let restarted = now.iter().filter(|(name, kept)| then.get(*name).is_some_and(|was| was != *kept));
    Migration {
        added: missing(&now, &then),
        removed: missing(&then, &now),
        restarted: restarted.map(|(name, _)| name.to_string()).collect(),
        other: Vec::new(),
    }
}

/// The states of a program by name, with what stands between the name and the first value: extent and type.
fn declared(program: &str) -> BTreeMap<&str, &str> {
    let states = program.lines().filter_map(|line| line.strip_prefix("state "));
    states.filter_map(|line| line.split_once(" = ")?.0.split_once(' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str =
        "program r\nhyper lr\nstate m per element = 0\nstate v per element = 0\nstate k per tensor = 1\n\nm = g\n";
    const NOW: &str = "program r\nhyper lr\nstate m per element as bf16 = 0\nstate k per tensor = 2\nstate w per row = p\n\nm = g*g\n";

    #[test]
    fn both_lists_and_the_lines_that_differ() {
        let found = states(THEN, NOW);
        assert_eq!(
            (&*found.added, &*found.removed, &*found.restarted),
            (&["w".into()][..], &["v".into()][..], &["m".into()][..])
        );
        assert_eq!(
            lines(THEN, NOW),
            "  - state m per element = 0\n  - state v per element = 0\n  - state k per tensor = 1\n  \
             + state m per element as bf16 = 0\n  + state k per tensor = 2\n  + state w per row = p\n  - m = g\n  + m = g*g"
        );
        assert!(states(THEN, THEN).is_empty() && lines(THEN, THEN).is_empty());
    }

    #[test]
    fn a_long_difference_is_cut() {
        let then: String = (0..40).map(|i| format!("line {i}\n")).collect();
        let text = lines(&then, "");
        assert_eq!((text.lines().count(), text.lines().last()), (17, Some("  and 24 more lines")));
    }

    #[test]
    fn text_that_is_no_program_has_no_states() {
        assert!(states("state\nstate m\nstate  = \n\u{1b}[2J", "").removed.iter().all(String::is_empty));
    }
}
