//! The program `updraft`.

fn main() -> std::process::ExitCode {
    updraft::cli::main()
}
