//! From rules as written to rules with a meaning; everything that is wrong is told at once.

mod create;
mod delete;
mod parts;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;

use super::compiled::{Action, AlsoRule, Rule};
use super::place::{Flaw, Located, Place, Problem};
use super::raw::{RawAlso, RawRule};
use super::route::MatchTemplate;
use super::strict::Dialect;
use crate::model::{As, Ids, ResourceType};

/// What rules are compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most bytes of a decoded request body that expressions read.
    pub decoded_body: usize,
    /// Whether `credentials.service` is configured, without which nothing can be done
    /// `as: service`.
    pub service_credentials: bool,
    /// Whether the back end's `register` leaves an owner as it is (`authz.register`).
    pub keeps_owner: bool,
    /// How the service takes a path from a request.
    pub dialect: Dialect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            decoded_body: 1 << 20,
            service_credentials: false,
            keeps_owner: false,
            dialect: Dialect::default(),
        }
    }
}

/// Of `known`, the word nearest to `word`, if one is near enough to be meant.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (distance, nearest) = scored.min()?;
    (distance * 3 <= word.chars().count().max(3)).then_some(nearest)
}

pub(super) fn compile(raw: &[RawRule], options: &Options) -> Result<Vec<Arc<Rule>>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for written in raw {
        let mut compiler = Compiler { options, problems: &mut problems };
        let Some(rule) = compiler.rule(written) else { continue };
        if let Some(same) = rules.iter().find(|other| other.name == rule.name) {
            let what = format!("two rules are called \"{}\"", same.name);
            problems.push(Problem::new(written.name.place, what, "rename one of them"));
        }
        let both = |other: &&Rule| {
            other.matches.covers(&rule.matches) && rule.matches.covers(&other.matches)
        };
        if let Some(same) = rules.iter().find(both) {
            let what = format!("the rule \"{}\" matches the same requests", same.name);
            problems.push(Problem::new(written.matches.place, what, "remove one of them"));
        }
        rules.push(rule);
    }
    problems.sort_by_key(|problem| problem.place);
    if !problems.is_empty() {
        return Err(problems);
    }
    let types = rules.iter().filter(|rule| rule.reuses_ids());
    let types: BTreeSet<_> = types.map(|rule| rule.resource_type.clone()).collect();
    for rule in &mut rules {
        let of = |kind| if types.contains(kind) { Ids::Reused } else { Ids::Fresh };
        rule.ids = of(&rule.resource_type);
        for also in &mut rule.also {
            also.ids = of(&also.resource_type);
        }
    }
    Ok(rules.into_iter().map(Arc::new).collect())
}

/// Compiles one rule; what is wrong is noted, and the rest is looked at all the same.
struct Compiler<'c> {
    options: &'c Options,
    problems: &'c mut Vec<Problem>,
}

impl Compiler<'_> {
    fn rule(&mut self, raw: &RawRule) -> Option<Rule> {
        let name = self.name(&raw.name);
        let matches = self.noted(raw.matches.place, MatchTemplate::parse(&raw.matches.value))?;
        let also = self.also(&raw.makes_also, &matches);
        let (resource_type, action) = match (&raw.register, &raw.deregister) {
            (Some(register), None) => {
                self.refuse_delete(&matches, raw.matches.place);
                let create = self.create(raw, &register.value, register.place, &matches);
                (self.kind(&register.value.kind), create.map(Action::Create))
            }
            (None, Some(deregister)) => {
                let delete = self.delete(raw, &deregister.value, deregister.place, &matches);
                (self.kind(&deregister.value.kind), delete.map(Action::Delete))
            }
            (Some(_), Some(both)) => {
                let mend = "make two rules of it: one creates, the other deletes";
                self.problem(both.place, "a rule has either `register` or `deregister`", mend);
                return None;
            }
            (None, None) => {
                if raw.makes_also.is_empty() {
                    let what = "the rule has neither `register` nor `deregister` nor `makes_also`";
                    self.problem(raw.name.place, what, "say what it creates or deletes");
                    return None;
                }
                self.refuse_parts(raw);
                let kind = also.as_ref().and_then(|also| Some(also.first()?.resource_type.clone()));
                (kind, Some(Action::Pass))
            }
        };
        Some(Rule {
            name: name?,
            mode: raw.mode,
            commits: raw.commits,
            ids: Ids::default(),
            matches,
            resource_type: resource_type?,
            action: action?,
            also: also?,
            body_limit: self.options.decoded_body,
            dialect: self.options.dialect,
        })
    }

    /// What a rule that only makes resources on the side has no use for.
    fn refuse_parts(&mut self, raw: &RawRule) {
        let why = "it is for `register` or `deregister`: remove it";
        self.refuse(raw.undo.as_ref(), "undo", why);
        self.refuse(raw.confirm.as_ref(), "confirm", why);
        self.refuse(raw.probe.as_ref(), "probe", why);
        self.refuse(raw.new.as_ref(), "new", why);
        self.refuse(raw.replay_headers.as_ref(), "replay_headers", why);
        self.refuse(raw.steps.values().next(), "steps", why);
    }

    fn also(&mut self, written: &[RawAlso], matches: &MatchTemplate) -> Option<Vec<AlsoRule>> {
        let compiled = written.iter().map(|also| {
            let resource_type = self.kind(&also.kind);
            let conditions = self.conditions(&also.conditions, matches);
            Some(AlsoRule { resource_type: resource_type?, ids: Ids::default(), conditions })
        });
        compiled.collect()
    }

    fn refuse_delete(&mut self, matches: &MatchTemplate, place: Place) {
        if *matches.method() == Method::DELETE {
            let mend = "match POST, PUT or PATCH, or write `deregister` for `register`";
            self.problem(place, "a DELETE creates nothing", mend);
        }
    }

    fn name(&mut self, name: &Located<String>) -> Option<String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.value.is_empty() && name.value.len() <= 64 && name.value.chars().all(fits) {
            return Some(name.value.clone());
        }
        let what = format!("`{}` is no name of a rule", name.value);
        self.problem(name.place, what, "use up to 64 letters, digits, \"-\", \"_\" and \".\"");
        None
    }

    fn kind(&mut self, kind: &Located<String>) -> Option<ResourceType> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if !kind.value.is_empty() && kind.value.len() <= 128 && kind.value.chars().all(fits) {
            return Some(ResourceType::new(kind.value.as_str()));
        }
        let what = format!("`{}` is no resource type", kind.value);
        self.problem(kind.place, what, "write it as the back end knows it, as in api_key");
        None
    }

    fn credentials(&mut self, written: &Located<As>) -> As {
        if written.value == As::Service && !self.options.service_credentials {
            let mend = "set credentials.service.headers_file, or use `as: caller`";
            let what = "`as: service` has no credentials to use";
            self.problem(written.place, what, mend);
        }
        written.value
    }

    fn noted<T>(&mut self, place: Place, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.problems.push(flaw.at(place))).ok()
    }

    fn noted_all<T>(&mut self, result: Result<T, Vec<Problem>>) -> Option<T> {
        result.map_err(|problems| self.problems.extend(problems)).ok()
    }

    fn problem(&mut self, place: Place, what: impl Into<String>, mend: impl Into<String>) {
        self.problems.push(Problem::new(place, what, mend));
    }

    /// A part that this kind of rule has no use for is a misunderstanding, and told as one.
    fn refuse<T>(&mut self, part: Option<&Located<T>>, name: &str, why: &str) {
        if let Some(part) = part {
            self.problem(part.place, format!("`{name}` has no use here"), why);
        }
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        let known = ["request", "query", "confirm"];
        assert_eq!(nearest("requst", known), Some("request"));
        assert_eq!(nearest("Query", known), Some("query"));
        assert_eq!(nearest("bananas", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
