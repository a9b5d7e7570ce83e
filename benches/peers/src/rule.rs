//! The rules that are compared, with the hypers that all peers run them with.

/// A rule that every peer knows, or says that it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    Adam,
    AdamW,
    AmsGrad,
    AdaGrad,
    RmsProp,
    Lion,
    Sgd,
}

impl Rule {
    pub const ALL: [Rule; 7] =
        [Rule::Adam, Rule::AdamW, Rule::AmsGrad, Rule::AdaGrad, Rule::RmsProp, Rule::Lion, Rule::Sgd];

    /// As Updraft calls it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Adam => "adam",
            Rule::AdamW => "adamw",
            Rule::AmsGrad => "amsgrad",
            Rule::AdaGrad => "adagrad",
            Rule::RmsProp => "rmsprop",
            Rule::Lion => "lion",
            Rule::Sgd => "sgd",
        }
    }

    pub fn from_name(name: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// The hypers that are not Updraft's defaults. All others are, and are torch's, too: lr 1e-3 (adagrad and rmsprop 0.01,
    /// lion 1e-4), betas 0.9 and 0.999 (lion 0.99), eps 1e-8 (adagrad 1e-10), alpha 0.99, weight decay 0 (adamw 0.01).
    pub fn set(self) -> &'static [(&'static str, f64)] {
        match self {
            Rule::Sgd => &[("momentum", 0.9)],
            _ => &[],
        }
    }

    /// Bytes of f32 arrays that a step moves per element, if each is read once and written once.
    pub fn bytes_per_element(self) -> usize {
        match self {
            Rule::AmsGrad => 36,
            Rule::Adam | Rule::AdamW => 28,
            Rule::AdaGrad | Rule::RmsProp | Rule::Lion | Rule::Sgd => 20,
        }
    }

    /// How many states it keeps per element.
    pub fn states(self) -> usize {
        (self.bytes_per_element() - 12) / 8
    }
}
