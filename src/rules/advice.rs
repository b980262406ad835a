//! What is allowed in rules and still costs something, for `check`.

use super::Rules;
use super::compiled::{Action, CreateRule, DeleteRule, Rule};
use crate::model::{As, Mode};

pub(super) fn advise(rules: &Rules) -> Vec<String> {
    let mut advice = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let before = rules.iter().take(index);
        for earlier in before.filter(|earlier| earlier.matches.covers(&rule.matches)) {
            advice.push(format!(
                "{}: never applies, since \"{}\" ({}) comes first and matches all that it does; \
                 move it up",
                rule.name, earlier.name, earlier.matches
            ));
        }
        let of_rule = match &rule.action {
            Action::Create(create) => advise_create(create),
            Action::Delete(_) | Action::Pass => Vec::new(),
        };
        advice.extend(of_rule.into_iter().map(|text| format!("{}: {text}", rule.name)));
        advice.extend(advise_mode(rule));
    }
    advice.extend(advise_confirms(rules));
    advice
}

fn advise_mode(rule: &Rule) -> Option<String> {
    let observes = rule.mode == Mode::Observe;
    let text = "mode is observe: creates whose registration fails stand, and are counted";
    observes.then(|| format!("{}: {text}", rule.name))
}

fn advise_create(create: &CreateRule) -> Vec<String> {
    let mut advice = Vec::new();
    if create.parent.is_none() {
        advice
            .push("has no parent: permissions that cascade from one deny even the creator".into());
    }
    match &create.probe {
        None => advice.push(
            "has no probe: a create whose outcome is unknown (5xx, cut, time-out) can't be found \
             again; its row may stay unregistered, and is only reported"
                .into(),
        ),
        Some(_) if !create.before => advice.push(
            "its probe has no `before: true`: a row of an unknown outcome can't be told from an older \
             one, and is only reported"
                .into(),
        ),
        Some(_) => {}
    }
    advice
}

/// One sentence for all rules: it is the service that decides, not the rule.
fn advise_confirms(rules: &Rules) -> Option<String> {
    let as_caller = |rule: &&Rule| match &rule.action {
        Action::Create(create) => create.confirm.request.credentials() == As::Caller,
        Action::Delete(DeleteRule::ById { confirm, .. } | DeleteRule::ByProbe { confirm, .. }) => {
            confirm.request.credentials() == As::Caller
        }
        Action::Pass => false,
    };
    let names: Vec<_> = rules.iter().filter(as_caller).map(Rule::name).collect();
    let text = "confirm as the caller: fine where the service shows a row to everybody who may \
        call it; a service that enforces authorization itself hides an unregistered row behind \
        404, and there only `as: service` proves absence";
    (!names.is_empty()).then(|| format!("{} {text}", names.join(", ")))
}
