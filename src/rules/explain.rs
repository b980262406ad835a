//! What a rule would do about a request, in words, for `check --explain`.

use serde_json::Value;

use super::compiled::{
    Action, ConditionRule, ConditionValue, ConfirmRule, CreateRule, DeleteRule, ParentFrom,
    ParentRule, ProbeRule, Rule,
};
use super::request::Request;
use super::source::Source;
use crate::model::{Commits, Mode, Newness, Sees};

/// What would be done about one request. Each list is in order, one sentence an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What happens, step by step.
    pub steps: Vec<String>,
    /// What the journal would hold of the request, besides times and the stored fields of the
    /// principal.
    pub journaled: Vec<String>,
    /// What happens, and what the client gets, when a step fails.
    pub failures: Vec<String>,
}

pub(super) fn explain(rule: &Rule, params: &[String], query: Option<&str>) -> Explanation {
    let request = Request::without_body(params, query);
    let mut explanation = match &rule.action {
        Action::Create(create) => explain_create(rule, create, &request),
        Action::Delete(delete) => explain_delete(rule, delete, &request),
        Action::Pass => Explanation {
            steps: vec!["send the request to the service; the client gets its answer".into()],
            journaled: Vec::new(),
            failures: Vec::new(),
        },
    };
    for also in &rule.also {
        let kind = &also.resource_type;
        explanation
            .steps
            .insert(0, format!("journal, durably, that the request may make {kind} on the side"));
        let unsettled = format!(
            "for L after it, a row of {kind} that may be one of those is never undone for another create with an \
             unknown outcome, but reported"
        );
        explanation.failures.push(unsettled);
    }
    if rule.reads_body() {
        let read = format!(
            "read the whole body (at most {} bytes decoded), since expressions need it",
            rule.body_limit
        );
        explanation.steps.insert(0, read);
        let unreadable = "body readable in two ways, or no JSON object: 400, nothing is sent; \
            no JSON at all: sent on, for the service to refuse";
        explanation.failures.insert(0, unreadable.into());
    }
    if rule.mode == Mode::Observe {
        let observed = "mode is observe: nothing is refused and nothing undone; what would have \
            been is counted";
        explanation.failures.insert(0, observed.into());
    }
    explanation
}

fn explain_create(rule: &Rule, create: &CreateRule, request: &Request<'_>) -> Explanation {
    let kind = &rule.resource_type;
    let id = format!("$response.body#{}", create.id.as_str());
    let undo = create.undo.describe(request, "$register.id");
    let mut steps = vec![
        "ask authn who is calling (cached)".to_owned(),
        "journal `prepared`, durably".to_owned(),
        "send the request to the service".to_owned(),
        format!("take the new id from the answer: {id}"),
    ];
    if let Some(probe) = create.probe.as_ref().filter(|_| create.before) {
        let list = probe.request.describe(request, "");
        steps.insert(
            1,
            format!("with journal.exclusive_writer: list the rows that are there, {list}"),
        );
    }
    let parent = create.parent.as_ref().map(|parent| describe_parent(parent, request));
    if let Some((_, Some(look_up))) = &parent {
        steps.insert(
            steps.len() - 2,
            format!("while the request is under way, look up the parent: {look_up}"),
        );
    }
    let edge =
        parent.as_ref().map_or(String::new(), |(text, _)| format!(" with the parent {text}"));
    steps.push(format!("register {kind}:{{{id}}}{edge} in the authorization back end"));
    steps.push("journal `registered`, durably; then the client gets the service's answer".into());
    let mut journaled =
        vec![format!("undo: {undo}"), describe_confirm(&create.confirm, request, "$register.id")];
    journaled.extend(parent.map(|(text, _)| format!("parent: {text}")));
    let unknown = match &create.probe {
        None => "outcome of the create unknown (5xx, cut, time-out): the client gets what came, \
            502 or 504; without a probe the operation is only reported to the operator"
            .to_owned(),
        Some(probe) => {
            journaled.extend(describe_probe(probe, request));
            format!(
                "outcome of the create unknown (5xx, cut, time-out): the client gets what came, \
                 502 or 504; rows are listed until L has passed ({}); {}",
                probe.request.describe(request, ""),
                if probe.sees == Sees::Own {
                    "those found are reported, and also if none is found, since the list may hide rows \
                     (sees: own)"
                } else if create.before {
                    "with journal.exclusive_writer a row that was not there before, and that no client \
                     was told of, is undone; else it is reported"
                } else {
                    "those found are reported"
                }
            )
        }
    };
    let mut failures = vec![
        "no principal: 401, authn down: 503; nothing is sent".to_owned(),
        "the service answers 4xx: passed on, nothing is registered".to_owned(),
        format!(
            "not registered within the deadline: {undo}; confirmed by {}, {}; deregistered; the \
             client gets 503 with the undo's state",
            create.confirm.request.describe(request, "$register.id"),
            match rule.commits {
                Commits::BeforeAnswer => "which proves it gone once reads can't lag any more",
                Commits::Late => "which proves it gone once L has passed (commits: late)",
            }
        ),
        unknown,
    ];
    failures.extend(explain_newness(create));
    Explanation { steps, journaled, failures }
}

/// What happens to a row that is not proven new.
fn explain_newness(create: &CreateRule) -> Vec<String> {
    let unproven = if create.keeps_owner {
        "neither proven new nor found (or a replay key in the request): registered, which keeps an owner that there is; \
         confirmed to be there, else 503 and reported; never undone"
    } else {
        "neither proven new nor found (or a replay key in the request): 503, reported, never undone"
    };
    let found = |how: &str| {
        format!("{how}: the row was found; the answer passes on, nothing is registered")
    };
    match &create.new {
        Newness::Always => vec![
            "the service answers an id that another operation holds: 503, reported, nothing is undone"
                .into(),
        ],
        Newness::Status(codes) => {
            let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
            vec![found(&format!("a success that is not {}", codes.join(" or "))), unproven.into()]
        }
        Newness::ListedBefore => {
            vec![found("the list before showed the row"), unproven.into()]
        }
    }
}

fn explain_delete(rule: &Rule, delete: &DeleteRule, request: &Request<'_>) -> Explanation {
    let kind = &rule.resource_type;
    let mut journaled = Vec::new();
    let (probe, which) = match delete {
        DeleteRule::ById { id, confirm } => {
            let id = shown(id, request);
            journaled.push(format!("id: {id}"));
            journaled.push(describe_confirm(confirm, request, &id));
            let probe = confirm.request.describe(request, &id);
            (probe, format!("{kind}:{id}, if the probe saw it"))
        }
        DeleteRule::ByProbe { probe, confirm } => {
            journaled.extend(describe_probe(probe, request));
            journaled.push(describe_confirm(confirm, request, "$row.id"));
            let gone = confirm.request.describe(request, "$row.id");
            let which = format!("each {kind}:{{$row.id}} that {gone} confirms gone");
            (probe.request.describe(request, ""), which)
        }
    };
    let steps = vec![
        format!("probe which rows are meant: {probe}"),
        "journal `prepared` and `targets`, durably".to_owned(),
        "send the request to the service".to_owned(),
        format!("after a 2xx, deregister {which}"),
        "the client gets the service's answer".to_owned(),
    ];
    let failures = vec![
        "the probe fails: 503, nothing is sent".to_owned(),
        "the service answers 4xx: passed on, nothing is deregistered".to_owned(),
        "the deregister fails: the client does not notice; it is retried until it succeeds".into(),
        "the outcome is unknown: the rows are looked at until L has passed".to_owned(),
    ];
    Explanation { steps, journaled, failures }
}

/// The parent, and its look-up if it has one.
fn describe_parent(parent: &ParentRule, request: &Request<'_>) -> (String, Option<String>) {
    let kind = &parent.kind;
    match &parent.source {
        ParentFrom::Request(source) => (format!("{kind}:{}", shown(source, request)), None),
        ParentFrom::Answer(pointer) => {
            (format!("{kind}:{{$response.body#{}}}", pointer.as_str()), None)
        }
        ParentFrom::LookUp { request: call, id } => {
            let text = format!("{kind}:{{{} of the look-up}}", id.as_str());
            (text, Some(call.describe(request, "")))
        }
    }
}

fn describe_confirm(confirm: &ConfirmRule, request: &Request<'_>, hole: &str) -> String {
    let gone: Vec<_> = confirm.gone_on.iter().map(u16::to_string).collect();
    format!("confirm: {} (gone on {})", confirm.request.describe(request, hole), gone.join(", "))
}

fn describe_probe(probe: &ProbeRule, request: &Request<'_>) -> Vec<String> {
    let mut lines = vec![format!("probe: {}", probe.request.describe(request, ""))];
    lines.extend(probe.conditions.iter().map(|condition| describe_condition(condition, request)));
    lines
}

fn describe_condition(condition: &ConditionRule, request: &Request<'_>) -> String {
    let field = condition.field.as_str();
    match &condition.value {
        ConditionValue::Constant(value) => format!("where {field} is {value}"),
        ConditionValue::Request { source, default: None } if request.lacks(source) => {
            format!("{field} is not compared, since the request lacks {}", source.expression())
        }
        ConditionValue::Request { source, default: Some(default) } if request.lacks(source) => {
            format!("where {field} is {default}, the default")
        }
        ConditionValue::Request { source, default } => {
            let default = default.as_ref().map(|value| format!(", {value} by default"));
            format!(
                "where {field} is {}{}",
                shown_value(source, request),
                default.unwrap_or_default()
            )
        }
    }
}

fn shown(source: &Source, request: &Request<'_>) -> String {
    let text = request.text(source).ok().flatten();
    text.unwrap_or_else(|| format!("{{{}}}", source.expression()))
}

fn shown_value(source: &Source, request: &Request<'_>) -> String {
    let text = request.text(source).ok().flatten().map(|text| Value::String(text).to_string());
    text.unwrap_or_else(|| format!("{{{}}}", source.expression()))
}
