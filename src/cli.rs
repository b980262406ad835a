//! The commands: `run`, `check`, `operations`, `demo`, `schema`.
//!
//! Arguments, environment and both outputs are handed in, so that tests call what users call.

mod check;
mod demo;
mod operations;
mod run;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config;

/// The file that is read where none is named.
const DEFAULT_CONFIG: &str = "/etc/authz-sidecar/config.yaml";

/// What holds the token that orders need. It is no setting of the sidecar's own.
const VARIABLE_OF_TOKEN: &str = "AUTHZ_SIDECAR_ADMIN_TOKEN";

/// A sidecar reverse proxy that dual-writes creates and deletes of an HTTP service into an
/// authorization back end, failing closed.
#[derive(Debug, Parser)]
#[command(name = "authz-sidecar", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar.
    Run {
        /// The configuration.
        #[arg(default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration, the environment's overrides included.
    Check {
        /// The configuration.
        config: PathBuf,
        /// Print what the sidecar would do about a request, and why.
        #[arg(long, num_args = 2, value_names = ["METHOD", "PATH"])]
        explain: Option<Vec<String>>,
    },
    /// Look at unfinished operations; order a retry or a discard.
    ///
    /// Exit codes: 0 done; 1 neither port nor journal can be asked; 2 the command line is wrong;
    /// 3 there is no such operation; 4 the order was refused.
    Operations {
        #[command(flatten)]
        options: operations::Options,
        #[command(subcommand)]
        verb: operations::Verb,
    },
    /// Try it: a small keys service, an in-memory back end and the sidecar on loopback.
    Demo {
        /// Drive one story through it, tell it, and exit; non-zero if a promise broke.
        #[arg(long)]
        once: bool,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

/// Why a command failed: what is printed before a non-zero exit.
#[derive(Debug)]
enum Failure {
    Config(config::Error),
    Output(io::Error),
    Other(String),
    /// With an exit code of its own.
    Coded(u8, String),
}

/// Runs the command that `arguments` name (the first is the program).
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(usage) => {
            let text = usage.render();
            let wrong = usage.use_stderr();
            let written = if wrong { write!(err, "{text}") } else { write!(out, "{text}") };
            return match written {
                Ok(()) => ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    match dispatch(command, environment, out, err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told where standard error is closed.
            let _ = writeln!(err, "{failure}");
            match failure {
                Failure::Coded(code, _) => ExitCode::from(code),
                Failure::Config(_) | Failure::Output(_) | Failure::Other(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn dispatch(
    command: Command,
    environment: impl IntoIterator<Item = (String, String)>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::Run { config } => run::run(config::Config::load(&config, environment)?),
        Command::Check { config, explain } => {
            let config = config::Config::load(&config, environment)?;
            match explain.as_deref() {
                Some([method, path]) => check::explain(&config, method, path, out),
                _ => check::check(&config, out),
            }
        }
        Command::Operations { options, verb } => {
            operations::operations(&options, verb, environment.into_iter().collect(), out, err)
        }
        Command::Demo { once } => demo::demo(once, out),
        Command::Schema => Ok(write!(out, "{}", config::schema())?),
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Output(error) => write!(f, "the output can't be written: {error}"),
            Self::Other(text) | Self::Coded(_, text) => f.write_str(text),
        }
    }
}
