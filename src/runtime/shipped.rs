//! The rules that are part of the crate.

macro_rules! shipped {
    ($($name:literal)*) => {
        /// The shipped rules: name and text, sorted by name.
        pub const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../optimizers/", $name, ".opt"))),)*
        ];
    };
}

shipped! {
    "adabelief"
    "adabound"
    "adadelta"
    "adagrad"
    "adam"
    "adamax"
    "adamw"
    "adan"
    "ademamix"
    "adopt"
    "amsgrad"
    "asgd"
    "ftrl"
    "laprop"
    "lion"
    "nadam"
    "qhadam"
    "radam"
    "rmsprop"
    "rprop"
    "sgd"
    "signum"
    "yogi"
}

#[cfg(test)]
mod tests {
    use super::SHIPPED;

    /// A rule file that is not in the table would not ship.
    #[test]
    fn the_table_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/optimizers");
        let mut stems: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "opt"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, stems);
    }
}
