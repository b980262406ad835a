//! The binary: everything is in the library.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `std::env::vars` panics at one variable, of whomever, that is no UTF-8; ours all are.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    authz_sidecar::cli::main(std::env::args_os(), environment, &mut io::stdout(), &mut io::stderr())
}
