//! What a network is tested with: the parameters as they are trained, or what the optimizer makes of them.
//!
//! In come a network and its optimizer; the network shows other weights for as long as it is tested, and then its own again,
//! to the bit. Training never sees the others.

use std::fmt;

use super::network::Network;
use crate::runtime::{Error, Optimizer, Rule, StateValues};

/// What the test images are shown to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// The parameters as they are trained.
    #[default]
    Trained,
    /// The exponential moving average that the optimizer keeps, if it was built to
    /// ([`average`](crate::OptimizerBuilder::average)).
    Average,
    /// A view of the rule.
    View(String),
}

impl Weights {
    /// What a rule is meant to be tested with: its view, if it has exactly one, else the parameters.
    pub fn of(rule: &Rule) -> Weights {
        match rule.program().views.as_slice() {
            [view] => Weights::View(view.name.to_string()),
            _ => Weights::Trained,
        }
    }

    /// Does something with a network that shows these weights. A tensor that has taken no step yet shows its parameter.
    pub(super) fn show<R>(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        test: impl FnOnce(&Network) -> R,
    ) -> Result<R, Error> {
        let mut others = Vec::new();
        for (name, value, _) in network.params() {
            let shown = match self {
                Weights::Trained => None,
                _ if optimizer.steps(name) == 0 => None,
                Weights::Average => match optimizer.average(name) {
                    Some(StateValues::F32(average)) => Some(average.to_vec()),
                    _ => None,
                },
                Weights::View(view) => Some(optimizer.view(view, name, &value)?.into_iter().collect()),
            };
            others.push(shown);
        }
        network.exchange(&mut others);
        let result = test(network);
        network.exchange(&mut others);
        Ok(result)
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weights::Trained => f.write_str("its parameters"),
            Weights::Average => f.write_str("the average of its parameters"),
            Weights::View(view) => write!(f, "its view `{view}`"),
        }
    }
}
