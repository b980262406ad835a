//! The YAML file as it may be written, and what is required of it as a whole.

use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::parts::{Address, Credentials};
use crate::model::Span;
use crate::rules::raw::RawRule;
use crate::rules::{Flaw, Located, Place, Problem, names_secret};
use crate::{authz, dualwrite, journal, principal, proxy, rules, upstream};

/// The configuration of authz-sidecar.
///
/// What is optional here and required all the same (`upstream`, …) may come from the environment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Configuration")]
pub struct File {
    /// Where clients connect. Default `0.0.0.0:8080`.
    #[serde(default = "listen")]
    pub listen: Located<Address>,
    /// Where probes and metrics are served. Default `0.0.0.0:9900`.
    #[serde(default = "health")]
    pub health: Located<Address>,
    /// Where operators look at operations. Default `127.0.0.1:9901`: who reaches it sees them.
    #[serde(default = "admin")]
    pub admin: Located<Address>,
    /// The service: `http://HOST:PORT` or `unix:/PATH`. Required.
    pub upstream: Option<upstream::Endpoint>,
    /// Whose forwarding headers to believe. Required.
    pub forwarded: Option<proxy::Forwarded>,
    /// Which pages of other origins may read the sidecar's own answers.
    #[serde(default)]
    pub cors: Located<proxy::Cors>,
    /// Credentials of the sidecar's own.
    #[serde(default)]
    pub credentials: Credentials,
    /// How callers become principals. Required.
    pub principal: Option<Located<principal::Config>>,
    /// The authorization back end. Required.
    pub authz: Option<authz::Config>,
    /// The journal. Required.
    pub journal: Option<journal::Config>,
    /// Times and sizes of the dual write.
    #[serde(default)]
    pub bounds: Located<dualwrite::Config>,
    /// Limits and time-outs towards clients.
    #[serde(default)]
    pub limits: proxy::Config,
    /// Limits of the connections to the service.
    #[serde(default)]
    pub pool: upstream::Config,
    /// How long requests may go on after SIGTERM. Default 25s.
    #[serde(default = "drain")]
    pub drain: Span,
    /// How the service takes paths from requests: `starlette`, or `strict` where that is not known.
    /// Default `starlette`.
    #[serde(default)]
    pub dialect: rules::Dialect,
    /// Which requests create and delete; the first that matches wins.
    #[serde(default)]
    pub rules: Vec<RawRule>,
}

fn listen() -> Located<Address> {
    any_at(Ipv4Addr::UNSPECIFIED, 8080)
}

fn health() -> Located<Address> {
    any_at(Ipv4Addr::UNSPECIFIED, 9900)
}

fn admin() -> Located<Address> {
    any_at(Ipv4Addr::LOCALHOST, 9901)
}

fn drain() -> Span {
    Span(Duration::from_secs(25))
}

fn any_at(address: Ipv4Addr, port: u16) -> Located<Address> {
    Located { value: Address((address, port).into()), place: Place::Unknown }
}

/// The JSON Schema of the file, for editors; pretty-printed, with a newline at the end.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(File);
    format!("{:#}\n", schema.as_value())
}

impl File {
    /// What is wrong with the file as a whole.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.missing();
        problems.extend(self.clashes());
        problems.extend(self.late_answers());
        let cors = self.cors.value.validate().err();
        problems.extend(cors.map(|(what, mend)| Problem::new(self.cors.place, what, mend)));
        if let Some(principal) = &self.principal {
            let invalid = principal.value.validate().err();
            let mend = "see docs/CONFIGURATION.md, principal";
            let problem = |error| Problem::new(principal.place, format!("{error}"), mend);
            problems.extend(invalid.map(problem));
            let secrets = principal.value.store.iter().filter(|name| names_secret(name));
            problems.extend(secrets.map(|name| {
                let what = format!("principal.store names a secret (\"{name}\")");
                Problem::new(principal.place, what, "remove it: the journal holds no secrets")
            }));
        }
        problems
    }

    fn missing(&self) -> Vec<Problem> {
        let required = [
            (
                self.upstream.is_some(),
                "upstream",
                "name the service, as in upstream: http://127.0.0.1:5003",
            ),
            (
                self.forwarded.is_some(),
                "forwarded",
                "say whose X-Forwarded-* headers to believe, as in forwarded: {trust: []} for nobody's",
            ),
            (
                self.principal.is_some(),
                "principal",
                "say how callers become principals, as in config/agentex.yaml",
            ),
            (
                self.authz.is_some(),
                "authz",
                "name the back end, as in authz: {agentex: {url: http://HOST:PORT}}",
            ),
            (
                self.journal.is_some(),
                "journal",
                "say where it lives, as in journal: {url: sqlite:/var/lib/authz-sidecar/journal.db}",
            ),
        ];
        let missing = required.into_iter().filter(|(present, ..)| !present);
        let problem = |(_, name, mend): (bool, &str, &str)| {
            Problem::new(Place::Unknown, format!("`{name}` is missing"), mend)
        };
        missing.map(problem).collect()
    }

    fn late_answers(&self) -> Option<Problem> {
        let bounds = &self.bounds.value;
        let (exchange, late) = (bounds.exchange, bounds.late_effect);
        (exchange > late).then(|| {
            let what = format!("bounds.exchange ({exchange}) exceeds bounds.late_effect ({late})");
            let mend = "a request may take effect as long as it is waited for: raise late_effect";
            Flaw::new(what, mend).at(self.bounds.place)
        })
    }

    /// Two listeners on one address (port 0 is any free port).
    fn clashes(&self) -> Vec<Problem> {
        let same = |one: &Located<Address>, other: &Located<Address>| {
            let (a, b) = (one.value.0, other.value.0);
            let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && a.port() != 0 && overlap
        };
        let named = [("listen", &self.listen), ("health", &self.health), ("admin", &self.admin)];
        let mut problems = Vec::new();
        for (index, (name, address)) in named.iter().enumerate() {
            let before = named.iter().take(index);
            for (other, its) in before.filter(|(_, other)| same(address, other)) {
                let what = format!("`{name}` and `{other}` are the same address");
                let place = address.place.max(its.place);
                problems.push(Problem::new(place, what, "give each a port of its own"));
            }
        }
        problems
    }
}
