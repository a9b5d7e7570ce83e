//! The oracles, which the tests of the crate share.

#[path = "../tests/oracles/mod.rs"]
pub mod oracles;
