//! What a simulated sidecar is told: the shipped rules and those of a service of documents, and
//! bounds that follow from what the schedule declares. Nothing else here knows the settings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::config::Config;
use authz_sidecar::dualwrite;
use authz_sidecar::model::Span;

use crate::schedule::{Observes, Schedule, Times};

/// How far a process's idea of the shared journal's time may be off.
pub(crate) fn skew(times: &Times) -> Duration {
    times.late_effect / 10
}

/// How long the back end's client waits for one answer.
pub(crate) fn attempt(times: &Times) -> Duration {
    times.late_effect / 20
}

/// Within what time a registration must be acknowledged.
pub(crate) fn register(times: &Times) -> Duration {
    times.late_effect * 12 / 100
}

/// The bounds.
pub(crate) fn bounds(times: &Times) -> dualwrite::Config {
    let late_effect = times.late_effect;
    dualwrite::Config {
        late_effect: Span(late_effect),
        read_lag: Span(times.read_lag),
        unresolved: Span(Duration::from_mins(1)),
        exchange: Span(times.exchange),
        call: Span(late_effect * 8 / 100),
        reply: Span(late_effect * 15 / 100),
        inline_deregister: Span(late_effect / 50),
        retry: Span(late_effect / 5),
        ..dualwrite::Config::default()
    }
}

/// What configurations differ in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct Variant {
    observes: Observes,
    documents_probed: bool,
    /// Lists may hide rows, so that they can't tell which rows there are before a create.
    hides: bool,
    /// The service commits before it answers.
    early: bool,
    keeps_owner: bool,
}

/// The configuration of a replica.
pub(crate) fn config(schedule: &Schedule, replica: usize) -> Arc<Config> {
    thread_local! {
        static PARSED: RefCell<BTreeMap<Variant, Arc<Config>>> = RefCell::default();
    }
    let habits = &schedule.habits;
    let variant = Variant {
        observes: schedule.observes[replica],
        documents_probed: habits.documents_probed,
        hides: habits.hides,
        early: schedule.service.commit_before_answers(),
        keeps_owner: habits.keeps_owner,
    };
    PARSED.with_borrow_mut(|parsed| {
        let config = parsed.entry(variant).or_insert_with(|| parse(variant));
        Arc::clone(config)
    })
}

fn parse(variant: Variant) -> Arc<Config> {
    let Variant { observes, documents_probed, hides, early, keeps_owner } = variant;
    let shipped = include_str!("../../config/agentex.yaml");
    let (_, rules) = shipped.split_once("\nrules:\n").expect("it has rules");
    // Small pages, so that lists have several.
    let keys = rules.replace("limit: 1000", "limit: 3");
    let mut documents = include_str!("documents.yaml").to_owned();
    if !documents_probed {
        let (first, rest) = documents.split_once("    probe:").expect("it has probes");
        let (_, second) = rest.split_once("\n\n").expect("another rule");
        let (second, last) = second.split_once("    probe:").expect("it has probes");
        let (_, last) = last.split_once("\n\n").expect("another rule");
        documents = format!("{first}\n{second}\n{last}");
    }
    let rules_observed = match observes {
        Observes::Nothing => &[][..],
        Observes::Webhooks => &["create-webhook-key"],
        Observes::Everything => {
            &["create-key", "create-webhook-key", "put-document", "post-document"]
        }
    };
    let mut text = format!("{HEAD}rules:\n{keys}\n{documents}");
    for rule in rules_observed {
        let name = format!("  - name: {rule}\n");
        text = text.replace(&name, &format!("{name}    mode: observe\n"));
    }
    if keeps_owner {
        text = text.replace("authz:\n", "authz:\n  register: keeps_owner\n");
    }
    if early {
        text = text.replace("\n    match:", "\n    commits: before_answer\n    match:");
    }
    if hides {
        text = text.replace("before: true", "before: false").replace("sees: all", "sees: own");
        // What proves absence is asked as an identity that sees every row.
        for proof in [
            "confirm:\n      ",
            "probe:\n      request: GET /agent_api_keys/{",
            "probe:\n      request: GET /v1/documents/{",
        ] {
            let (head, rest) = proof.split_once("      ").expect("it is indented");
            text = text.replace(proof, &format!("{head}      as: service\n      {rest}"));
        }
    }
    let config = Config::parse("simulation.yaml", &text, []);
    Arc::new(config.unwrap_or_else(|error| panic!("{error}")))
}

const HEAD: &str = "\
listen: 127.0.0.1:0
health: 127.0.0.1:0
admin: 127.0.0.1:0
upstream: http://127.0.0.1:1
forwarded: { trust: [] }
credentials: { service: { headers_file: /never/read } }
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
";
