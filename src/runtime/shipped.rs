//! The rules and the fragments that are part of the crate.

macro_rules! shipped {
    ($(#[doc = $doc:literal])* $table:ident in $folder:literal: $($name:literal)*) => {
        $(#[doc = $doc])*
        pub const $table: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../", $folder, "/", $name, ".opt"))),)*
        ];
    };
}

shipped! {
    /// The shipped fragments, for rules to `use`: name and text, sorted by name.
    SHIPPED_FRAGMENTS in "optimizers/fragments":
    "adam_direction"
    "adaptive_clip"
    "cautious"
    "centralize"
    "clip_global_norm"
    "clip_norm"
    "clip_value"
    "decoupled_weight_decay"
    "ema"
    "grokfast"
    "lookahead"
    "noise"
}

shipped! {
    /// The shipped rules: name and text, sorted by name.
    SHIPPED in "optimizers":
    "adabelief"
    "adabound"
    "adadelta"
    "adafactor"
    "adagrad"
    "adagrad_norm"
    "adagrad_rowwise"
    "adam"
    "adam_mini"
    "adamax"
    "adamp"
    "adamw"
    "adan"
    "ademamix"
    "adopt"
    "amsgrad"
    "asgd"
    "came"
    "cautious_adamw"
    "clip_adamw"
    "dadapt_adam"
    "dog"
    "dowg"
    "fromage"
    "ftrl"
    "lamb"
    "laprop"
    "lars"
    "lion"
    "mars_adamw"
    "momo"
    "nadam"
    "novograd"
    "polyak_sps"
    "prodigy"
    "qhadam"
    "radam"
    "rmsprop"
    "rprop"
    "schedule_free_adamw"
    "schedule_free_sgd"
    "sgd"
    "sgld"
    "signum"
    "sm3"
    "sophia"
    "stable_adamw"
    "yogi"
}

#[cfg(test)]
mod tests {
    use super::{SHIPPED, SHIPPED_FRAGMENTS};

    fn stems(folder: &str) -> Vec<String> {
        let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut stems: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "opt"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        stems
    }

    /// A rule file that is not in a table would not ship.
    #[test]
    fn the_tables_are_the_folders() {
        let names = |table: &[(&str, &str)]| table.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(SHIPPED), stems("optimizers"));
        assert_eq!(names(SHIPPED_FRAGMENTS), stems("optimizers/fragments"));
    }

    /// `use` finds both by their names alone.
    #[test]
    fn no_fragment_is_called_as_a_rule() {
        let rule = |name: &str| SHIPPED.iter().any(|(rule, _)| *rule == name);
        assert!(SHIPPED_FRAGMENTS.iter().all(|(name, _)| !rule(name)));
    }
}
