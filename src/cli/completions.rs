//! `updraft completions`: a script that completes arguments, for a shell.

use super::{Cli, Failure, print};
use clap::CommandFactory;
use clap_complete::{Shell, generate};

/// Print a completion script for a shell
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "updraft", &mut script);
    print(&String::from_utf8_lossy(&script))
}
