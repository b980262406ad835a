//! The configuration's section `authz`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::{
    Agentex, AgentexConfig, Authorizer, BreakerConfig, Circuits, Guarded, MemoryAuthorizer,
    MemoryConfig, Metered, Metrics,
};
use crate::http::BuildError;
use crate::model::Span;

/// Which back end holds the authorization graph, and how long a create waits for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    /// The back end.
    pub back_end: BackEnd,
    /// What its `register` does to a resource that has an owner.
    pub register: Register,
    /// How long a create waits for its registration to be acknowledged, retries included, before
    /// it is undone.
    pub deadline: Span,
    /// When the back end is not called any more.
    pub breaker: BreakerConfig,
}

/// What a registration does to a resource that has an owner already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Register {
    /// It may give it to the new one. So only rows that are proven new are registered.
    #[default]
    ReplacesOwner,
    /// It leaves the resource as it is, and succeeds. So a row that is not proven new may be registered, too.
    KeepsOwner,
}

/// One of the back ends.
#[derive(Clone, Debug)]
pub enum BackEnd {
    /// An HTTP provider.
    Agentex(AgentexConfig),
    /// A graph in memory.
    Memory(MemoryConfig),
}

impl Config {
    /// The back end, metered. How its calls end opens and closes `circuits`.
    ///
    /// # Errors
    /// Where TLS is wanted and can't be set up.
    pub fn build(
        &self,
        metrics: Metrics,
        circuits: Circuits,
    ) -> Result<Arc<dyn Authorizer>, BuildError> {
        let back_end: Arc<dyn Authorizer> = match &self.back_end {
            BackEnd::Agentex(config) => Arc::new(Metered::new(Agentex::new(config)?, metrics)),
            BackEnd::Memory(config) => {
                Arc::new(Metered::new(MemoryAuthorizer::new(config, self.register), metrics))
            }
        };
        Ok(Arc::new(Guarded::new(back_end, circuits)))
    }
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "Authz".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// Which authorization back end to register resources in: name exactly one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// An HTTP provider.
    agentex: Option<AgentexConfig>,
    /// A graph in memory, for the demo and for tests: it forgets everything on exit.
    memory: Option<MemoryConfig>,
    /// What the back end's `register` does to a resource that has an owner: `replaces_owner` (default) or
    /// `keeps_owner`. With the latter, a create that may have been answered with an older row is registered and
    /// answered, too, if the row is there.
    #[serde(default)]
    register: Register,
    /// How long a create waits for its registration to be acknowledged, retries included, before
    /// it is undone. Default 2s.
    #[serde(default = "deadline")]
    deadline: Span,
    /// When creates are refused because the back end does not answer.
    #[serde(default)]
    breaker: BreakerConfig,
}

fn deadline() -> Span {
    Span(Duration::from_secs(2))
}

impl TryFrom<Written> for Config {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let back_end = match (written.agentex, written.memory) {
            (Some(config), None) => BackEnd::Agentex(config),
            (None, Some(config)) => BackEnd::Memory(config),
            _ => return Err("name exactly one back end: `agentex: {url: …}` or `memory: {}`"),
        };
        written.breaker.validate()?;
        let Written { register, deadline, breaker, .. } = written;
        Ok(Self { back_end, register, deadline, breaker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Config, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_back_end_is_named() {
        let config = read("agentex: { url: http://agentex-auth:8080 }\ndeadline: 3s").unwrap();
        assert!(matches!(config.back_end, BackEnd::Agentex(_)));
        assert_eq!(config.deadline, Span(Duration::from_secs(3)));
        let config = read("memory: {}").unwrap();
        assert!(matches!(config.back_end, BackEnd::Memory(_)));
        assert_eq!(config.deadline, deadline());
        for none_or_two in ["deadline: 2s", "{ agentex: { url: http://h }, memory: {} }"] {
            assert!(read(none_or_two).unwrap_err().contains("exactly one"), "{none_or_two}");
        }
        assert!(read("memory: { colour: red }").is_err());
        assert!(read("spice: {}").is_err());
    }

    #[test]
    fn the_breaker_has_defaults_and_is_checked() {
        let config = read("memory: {}").unwrap();
        assert_eq!(config.breaker.failures, 5);
        assert_eq!(config.breaker.max_pause, Span(Duration::from_secs(1)));
        let config = read("memory: {}\nbreaker: { failures: 2, pause: 20ms }").unwrap();
        assert_eq!((config.breaker.failures, config.breaker.pause.0.as_millis()), (2, 20));
        for (wrong, names) in [("pause: 0s", "longer than 0s"), ("max_pause: 1ms", "shorter than")]
        {
            let error = read(&format!("memory: {{}}\nbreaker: {{ {wrong} }}")).unwrap_err();
            assert!(error.contains(names), "{error}");
        }
        assert!(read("memory: {}\nbreaker: { colour: red }").is_err());
    }
}
