//! `check`: what a configuration means, before it matters.

use std::io::{self, Write};

use bytes::Bytes;
use http::{Method, Request, Uri};

use super::Failure;
use crate::authz::BackEnd;
use crate::config::Config;
use crate::model::{DecodedPath, Mode};
use crate::rules::{Explanation, Matched, Route, Rule};

/// Prints that the configuration is valid, what its rules are for, and what is still to be
/// thought about.
pub(super) fn check(config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "OK: the configuration is valid.")?;
    writeln!(out, "\nRules, the first that matches wins; everything else passes through:")?;
    for rule in config.rules.iter() {
        writeln!(out, "  {}", summary(rule))?;
    }
    let warnings = warnings(config);
    if !warnings.is_empty() {
        writeln!(out, "\nTo be thought about:")?;
    }
    for warning in warnings {
        writeln!(out, "  - {warning}")?;
    }
    Ok(())
}

fn summary(rule: &Rule) -> String {
    let does = rule.verb();
    let mode = match rule.mode() {
        Mode::Enforce => "enforced",
        Mode::Observe => "observed",
    };
    let body = if rule.reads_body() { ", reads the body" } else { "" };
    let (name, matches, kind) = (rule.name(), rule.matches(), rule.resource_type());
    format!("{name}: {matches} {does} {kind} ({mode}{body})")
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.rules.iter().next().is_none() {
        warnings.push("there are no rules: nothing is registered".to_owned());
    }
    if !config.journal.exclusive_writer {
        warnings.push(
            "journal.exclusive_writer is false: creates whose outcome is unknown are only \
             reported, since a row found later can't be proven ours"
                .to_owned(),
        );
    }
    if config.credentials.service.is_none() {
        warnings.push(
            "credentials.service is not set: after a crash, undos and probes carry no \
             credentials; a service that wants some will refuse them"
                .to_owned(),
        );
    }
    if matches!(config.authz.back_end, BackEnd::Memory(_)) {
        warnings.push("authz is in memory: a restart forgets every registration".to_owned());
    }
    if !config.principal.bypass.is_empty() {
        warnings.push(format!(
            "principal.bypass ({}) lets creates pass unregistered: only for headers that the \
             service verifies itself",
            config
                .principal
                .bypass
                .iter()
                .map(|name| name.0.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    warnings.extend(config.rules.advice());
    warnings
}

/// Prints what would be done about one request, and why.
pub(super) fn explain(
    config: &Config,
    method: &str,
    target: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let no_method = |_| Failure::Other(format!("`{method}` is not an HTTP method"));
    let method = method.parse::<Method>().map_err(no_method)?;
    let (path_text, query) = split_target(target);
    let path = match DecodedPath::parse(path_text) {
        Ok(path) => path,
        Err(error) => {
            writeln!(out, "{method} {target}: refused with 400, since {error}")?;
            return Ok(());
        }
    };
    writeln!(out, "canonical path: {:?}", path.text())?;
    for reading in path.readings() {
        writeln!(out, "may also be read as: {reading:?}")?;
    }
    match config.rules.route(&method, &path) {
        Route::Unmatched => {
            writeln!(out, "no rule matches: passes through untouched")?;
            write_near_misses(config, &method, &path, out)?;
        }
        Route::Ambiguous(why) => writeln!(out, "refused with 400: {why}")?,
        Route::Matched(matched) => match refusal(&matched, &method, path_text, query) {
            Some(why) => writeln!(out, "refused with 400: {why}")?,
            None => write_matched(&matched, query, out)?,
        },
    }
    Ok(())
}

/// An absolute target's path is what counts, as it is for the service.
fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split('#').next().unwrap_or_default();
    let origin = match target.split_once("://") {
        Some((_, rest)) if target.parse::<Uri>().is_ok() => {
            rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/")
        }
        _ => target,
    };
    origin.split_once('?').map_or((origin, None), |(path, query)| (path, Some(query)))
}

/// Why the request would be refused whatever its body is.
fn refusal(matched: &Matched, method: &Method, path: &str, query: Option<&str>) -> Option<String> {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    match Request::builder().method(method).uri(target).body(()) {
        Err(error) => Some(error.to_string()),
        Ok(request) => {
            let (head, ()) = request.into_parts();
            matched.plan(&head, &Bytes::new()).err().map(|error| error.to_string())
        }
    }
}

/// The rules that match the path under another method: the commonest surprise.
fn write_near_misses(
    config: &Config,
    method: &Method,
    path: &DecodedPath<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for other in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        if let (true, Route::Matched(near)) = (other != *method, config.rules.route(&other, path)) {
            writeln!(out, "(with {other}, the rule \"{}\" would match)", near.rule.name())?;
        }
    }
    Ok(())
}

fn write_matched(matched: &Matched, query: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let rule = &matched.rule;
    writeln!(out, "rule: {} ({})", rule.name(), rule.matches())?;
    let Explanation { steps, journaled, failures } = matched.explain(query);
    writeln!(out, "\nIn order:")?;
    for (number, step) in (1..).zip(steps) {
        writeln!(out, "  {number}. {step}")?;
    }
    for (title, lines) in [("Journaled", journaled), ("When it goes wrong", failures)] {
        writeln!(out, "\n{title}:")?;
        for line in lines {
            writeln!(out, "  - {line}")?;
        }
    }
    Ok(())
}
