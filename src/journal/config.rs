//! The journal's part of the configuration.

mod postgres;

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

pub use self::postgres::{PostgresConfig, PostgresUrl};
use crate::model::ByteSize;

/// Where the journal is and how large it may become.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The journal's place: `sqlite:/var/lib/authz-sidecar/journal.db`, whose directory must exist,
    /// on a volume that outlives the container; or, shared by several replicas,
    /// `postgres://USER@HOST/DATABASE`, without a password.
    pub url: Location,
    /// Whether all creates and deletes on the service pass sidecars that share this journal,
    /// so that a row of which no client was told may be undone (promise P4). Default: false.
    #[serde(default)]
    pub exclusive_writer: bool,
    /// How large the journal may become before it opens no new operations. SQLite's write-ahead
    /// log beside it may take some 64 MiB more; PostgreSQL's tables count with their indexes and with
    /// what autovacuum has not made free yet. Default: 1GiB.
    #[serde(default = "Config::default_max_bytes")]
    pub max_bytes: ByteSize,
    /// How many calls may wait for the writer; further ones wait for room. A call is some KiB
    /// at most. Default: 1024.
    #[serde(default = "Config::default_queue")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue: u32,
    /// What only a journal in PostgreSQL has.
    #[serde(default)]
    pub postgres: PostgresConfig,
}

impl Config {
    /// The defaults, for a journal at `url`.
    #[must_use]
    pub fn at(url: Location) -> Self {
        Self {
            url,
            exclusive_writer: false,
            max_bytes: Self::default_max_bytes(),
            queue: Self::default_queue(),
            postgres: PostgresConfig::default(),
        }
    }

    /// `max_bytes`, in bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        u64::try_from(self.max_bytes.0).unwrap_or(u64::MAX)
    }

    const fn default_max_bytes() -> ByteSize {
        ByteSize(1 << 30)
    }

    const fn default_queue() -> u32 {
        1024
    }
}

/// The place of a journal, written as a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// `sqlite:/absolute/path` or `sqlite:relative/path`.
    Sqlite(PathBuf),
    /// `postgres://USER@HOST/DATABASE`.
    Postgres(Box<PostgresUrl>),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Postgres(Box::new(text.parse()?)));
        }
        let mend = || {
            format!(
                "\"{text}\" is not a journal: write sqlite: and a path, such as sqlite:/var/lib/authz-sidecar/journal.db, or postgres://USER@HOST/DATABASE"
            )
        };
        let path = text.strip_prefix("sqlite:").ok_or_else(mend)?;
        // `sqlite:///a` is `sqlite:/a` with an empty authority (RFC 3986 §3.2); another
        // authority would be a host, and there is none.
        let path = match path.strip_prefix("//") {
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) => return Err(mend()),
            None => path,
        };
        if path.is_empty() || path.ends_with('/') || path.contains('\0') {
            return Err(mend());
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Location {
    fn schema_name() -> Cow<'static, str> {
        "JournalLocation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(sqlite:.*[^/]|postgres(ql)?://.+)$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_sqlite_and_a_path() {
        let path = |text: &str| match text.parse::<Location>() {
            Ok(Location::Sqlite(path)) => Ok(path),
            Ok(Location::Postgres(url)) => Err(url.to_string()),
            Err(error) => Err(error),
        };
        assert_eq!(path("sqlite:/var/j.db"), Ok("/var/j.db".into()));
        assert_eq!(path("sqlite:///var/j.db"), Ok("/var/j.db".into()));
        assert_eq!(path("sqlite:j.db"), Ok("j.db".into()));
        for bad in ["", "/var/j.db", "sqlite:", "sqlite:/var/", "sqlite://host/j.db", "redis:x"] {
            assert!(path(bad).unwrap_err().contains("sqlite:/var/lib"), "{bad}");
        }
    }

    #[test]
    fn defaults_are_as_documented_and_unknown_fields_are_refused() {
        let config: Config = serde_json::from_str(r#"{"url":"sqlite:/j.db"}"#).unwrap();
        assert!(!config.exclusive_writer);
        assert_eq!((config.max_bytes, config.queue), (ByteSize(1 << 30), 1024));
        let unknown = r#"{"url":"sqlite:/j.db","fsync":false}"#;
        assert!(serde_json::from_str::<Config>(unknown).is_err());
    }
}
