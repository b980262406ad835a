//! The configuration: one YAML file, environment overrides on top, everything checked at once.
//!
//! [`File`] is what may be written; [`Config`] is what the application is built from. Only the
//! command line and `app` see it; each component owns its own part.

mod environment;
mod file;
mod parts;
mod syntax;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

pub use self::environment::{SETTINGS, Setting};
pub use self::file::{File, schema};
pub use self::parts::{Address, AdminCredentials, Credentials, ServiceCredentials};
use crate::model::Span;
use crate::rules::{Options, Place, Problem, Rules};
use crate::{authz, dualwrite, journal, principal, proxy, upstream};

/// A configuration that can be run: complete, and with its rules compiled.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub health: SocketAddr,
    /// Where operators look at operations.
    pub admin: SocketAddr,
    /// The service.
    pub upstream: upstream::Endpoint,
    /// Whose forwarding headers to believe.
    pub forwarded: proxy::Forwarded,
    /// Which pages may read the sidecar's own answers.
    pub cors: proxy::Cors,
    /// What `as: service` sends.
    pub credentials: Credentials,
    /// How callers become principals.
    pub principal: principal::Config,
    /// The authorization back end.
    pub authz: authz::Config,
    /// The journal.
    pub journal: journal::Config,
    /// Times and sizes of the dual write.
    pub bounds: dualwrite::Config,
    /// Limits and time-outs towards clients.
    pub limits: proxy::Config,
    /// Limits of the connections to the service.
    pub pool: upstream::Config,
    /// How long requests may go on after SIGTERM.
    pub drain: Span,
    /// The compiled rules.
    pub rules: Rules,
}

impl Config {
    /// Reads the file at `path` and applies `environment` (see [`Config::parse`]).
    ///
    /// # Errors
    /// When the file can't be read, and as [`Config::parse`].
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text, environment),
            Err(error) => {
                let what = format!("can't be read: {error}");
                let mend = "give the path of a YAML file that this user may read";
                Err(Error { file, problems: vec![Problem::new(Place::Unknown, what, mend)] })
            }
        }
    }

    /// Parses `text`, applies the `AUTHZ_SIDECAR_…` variables of `environment`, and checks the
    /// whole. `file` is the name that errors show.
    ///
    /// # Errors
    /// With the first error of syntax or type, or else with everything that is wrong.
    pub fn parse(
        file: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let fail = |problems| Error { file: file.to_owned(), problems };
        let mut written = syntax::parse(text).map_err(|problem| fail(vec![problem]))?;
        let mut problems = environment::apply(&mut written, environment);
        match Self::check(&written) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(fail(problems)),
            Err(more) => {
                problems.extend(more);
                Err(fail(problems))
            }
        }
    }

    fn check(file: &File) -> Result<Self, Vec<Problem>> {
        let mut problems = file.problems();
        let keeps = |authz: &authz::Config| authz.register == authz::Register::KeepsOwner;
        let keeps_owner = file.authz.as_ref().is_some_and(keeps);
        let options = Options {
            decoded_body: file.limits.intercepted_body.0,
            service_credentials: file.credentials.service.is_some(),
            keeps_owner,
            dialect: file.dialect,
        };
        let rules = Rules::compile(&file.rules, &options)
            .map_err(|more| problems.extend(more))
            .unwrap_or_default();
        match (&file.upstream, &file.forwarded, &file.principal, &file.authz, &file.journal) {
            (Some(upstream), Some(forwarded), Some(principal), Some(authz), Some(journal))
                if problems.is_empty() =>
            {
                Ok(Self {
                    listen: file.listen.value.0,
                    health: file.health.value.0,
                    admin: file.admin.value.0,
                    upstream: upstream.clone(),
                    forwarded: forwarded.clone(),
                    cors: file.cors.value.clone(),
                    credentials: file.credentials.clone(),
                    principal: principal.value.clone(),
                    authz: authz.clone(),
                    journal: journal.clone(),
                    bounds: file.bounds.value.clone(),
                    limits: file.limits.clone(),
                    pool: file.pool.clone(),
                    drain: file.drain,
                    rules,
                })
            }
            _ => Err(problems),
        }
    }
}

/// Why a configuration can't be used: one line for each thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The file, as it was called.
    pub file: String,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", problem.at(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
