//! Every plan of a shipped rule that tests are held to.

use updraft::check::program::{ConditionId, Program};
use updraft::{Facts, Outcome, Rule, Storage};

/// The step that conditions are decided for, as on the command line.
pub const T: u64 = 1000;

/// The facts in which condition `index` has another outcome than in `default`. What it stands in is taken, and what then
/// stands in a block that is not taken is unreached.
fn flipped(program: &Program, default: &Facts, index: usize) -> Facts {
    let mut outcomes = default.outcomes.clone();
    outcomes[index] = if outcomes[index] == Outcome::True { Outcome::False } else { Outcome::True };
    let mut at = ConditionId(index as u32);
    while let Some((parent, taken)) = program.conditions[at.index()].parent {
        outcomes[parent.index()] = if taken { Outcome::True } else { Outcome::False };
        at = parent;
    }
    for (index, condition) in program.conditions.iter().enumerate() {
        let reached = condition.parent.is_none_or(|(parent, taken)| {
            outcomes[parent.index()] == if taken { Outcome::True } else { Outcome::False }
        });
        match (reached, outcomes[index]) {
            (false, _) => outcomes[index] = Outcome::Unreached,
            (true, Outcome::Unreached) => outcomes[index] = Outcome::False,
            _ => {}
        }
    }
    Facts { outcomes, ..default.clone() }
}

/// Every plan that is frozen: the default, and one per other outcome.
pub fn all_facts(rule: &Rule) -> Vec<Facts> {
    let default = rule.optimizer().build().unwrap().facts(Storage::F32, T);
    let others = (0..rule.program().conditions.len()).map(|index| flipped(rule.program(), &default, index));
    let mut all: Vec<Facts> = Vec::new();
    for facts in [default.clone()].into_iter().chain(others) {
        if !all.contains(&facts) {
            all.push(facts);
        }
    }
    all
}
