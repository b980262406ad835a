//! The YAML file as it may be written, and what is required of it as a whole.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::parts::{
    Address, Authz, Bounds, Credentials, Forwarded, Journal, Limits, Principal, Upstream,
};
use crate::rules::raw::RawRule;
use crate::rules::{Located, Place, Problem};

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
    /// Where operators look at operations. Default `127.0.0.1:9901`: who reaches it, operates.
    #[serde(default = "admin")]
    pub admin: Located<Address>,
    /// The service: `http://HOST:PORT` or `unix:/PATH`. Required.
    pub upstream: Option<Located<Upstream>>,
    /// Whose forwarding headers to believe. Required.
    pub forwarded: Option<Forwarded>,
    /// Credentials of the sidecar's own.
    #[serde(default)]
    pub credentials: Credentials,
    /// How callers become principals. Required.
    pub principal: Option<Located<Principal>>,
    /// The authorization back end. Required.
    pub authz: Option<Located<Authz>>,
    /// The journal. Required.
    pub journal: Option<Journal>,
    /// Times.
    #[serde(default)]
    pub bounds: Located<Bounds>,
    /// Sizes and numbers.
    #[serde(default)]
    pub limits: Limits,
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
        problems.extend(self.bounds.value.problem().map(|flaw| flaw.at(self.bounds.place)));
        if let Some(principal) = &self.principal {
            let flaws = principal.value.flaws().into_iter();
            problems.extend(flaws.map(|flaw| flaw.at(principal.place)));
        }
        if let Some(authz) = &self.authz {
            problems.extend(authz.value.problem().map(|flaw| flaw.at(authz.place)));
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
