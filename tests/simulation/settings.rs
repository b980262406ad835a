//! The configuration that every simulated sidecar runs with: the shipped rules, with bounds short
//! enough that a schedule ends within seconds of simulated time.

use std::sync::OnceLock;
use std::time::Duration;

use authz_sidecar::config::Config;

/// L.
pub(crate) const L: Duration = Duration::from_secs(1);
/// S.
pub(crate) const S: Duration = Duration::from_millis(100);
/// How long the service may take for an intercepted request.
pub(crate) const EXCHANGE: Duration = Duration::from_millis(200);
/// How long the back end's client waits for one answer.
pub(crate) const ATTEMPT: Duration = Duration::from_millis(50);

/// The configuration, parsed once.
pub(crate) fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let shipped = include_str!("../../config/agentex.yaml");
        let (_, rules) = shipped.split_once("\nrules:\n").expect("it has rules");
        // Small pages, so that lists have several.
        let rules = rules.replace("limit: 1000", "limit: 3");
        let text = format!("{HEAD}rules:\n{rules}");
        Config::parse("simulation.yaml", &text, []).unwrap_or_else(|error| panic!("{error}"))
    })
}

const HEAD: &str = "\
listen: 127.0.0.1:0
health: 127.0.0.1:0
admin: 127.0.0.1:0
upstream: http://127.0.0.1:1
forwarded: { trust: [] }
principal:
  authn: { url: http://127.0.0.1:1, timeout: 100ms }
  bypass: [x-agent-identity]
  store: [principal_type, user_id]
  deregister_as: { principal_type: service, service_account_id: authz-sidecar }
authz:
  agentex: { url: http://127.0.0.1:1 }
  deadline: 120ms
  breaker: { failures: 3, span: 50ms, pause: 20ms, max_pause: 100ms }
journal: { url: 'sqlite:/never/opened.db', exclusive_writer: true }
bounds:
  late_effect: 1000ms
  clock_skew: 100ms
  exchange: 200ms
  call: 80ms
  reply: 150ms
  inline_deregister: 20ms
  retry: 200ms
";

#[test]
fn the_constants_are_what_is_configured() {
    let bounds = &config().bounds;
    assert_eq!((bounds.late_effect.0, bounds.clock_skew.0, bounds.exchange.0), (L, S, EXCHANGE));
}
