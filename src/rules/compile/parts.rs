//! The parts that creates and deletes share: probe, confirm, pointers, statuses.

use std::collections::BTreeMap;

use super::super::compiled::{ConditionRule, ConditionValue, ConfirmRule, ProbeRule};
use super::super::expression::Expression;
use super::super::place::{Flaw, Located, Place};
use super::super::raw::{Defaulted, RawCondition, RawConfirm, RawPage, RawProbe, Scalar};
use super::super::route::MatchTemplate;
use super::super::secret::names_secret;
use super::super::source::Source;
use super::super::template::{IdTemplate, Template, Written};
use super::Compiler;
use super::create::pointer;
use crate::model::{Page, Pointer, Row};

impl Compiler<'_> {
    pub(super) fn confirm(
        &mut self,
        confirm: &RawConfirm,
        matches: &MatchTemplate,
        hole: &Expression,
    ) -> Option<ConfirmRule> {
        let credentials = self.credentials(&confirm.credentials);
        let written = Written { request: &confirm.request, query: &confirm.query, credentials };
        let request = self.noted_all(IdTemplate::compile(&written, "GET", matches, hole));
        let gone_on = self.gone_on(&confirm.gone_on);
        let id = self.pointer_to_id(&confirm.id);
        Some(ConfirmRule { request: request?, gone_on: gone_on?, id: id? })
    }

    pub(super) fn probe(&mut self, probe: &RawProbe, matches: &MatchTemplate) -> Option<ProbeRule> {
        let credentials = self.credentials(&probe.credentials);
        let written = Written { request: &probe.request, query: &probe.query, credentials };
        let request = self.noted_all(Template::compile(&written, "GET", matches));
        let page = match &probe.page {
            None => Some(None),
            Some(raw) => self.noted(raw.place, page(&raw.value, probe)).map(Some),
        };
        let rows = self.noted(probe.rows.place, pointer(&probe.rows));
        let conditions = self.conditions(&probe.conditions, matches);
        let id = self.pointer_to_id(&probe.row.id);
        let row = Row { id: id? };
        let (request, page, rows) = (request?, page?, rows?);
        Some(ProbeRule { request, sees: probe.sees, page, rows, conditions, row })
    }

    pub(super) fn conditions(
        &mut self,
        written: &BTreeMap<String, Located<RawCondition>>,
        matches: &MatchTemplate,
    ) -> Vec<ConditionRule> {
        let mut conditions = Vec::new();
        for (field, condition) in written {
            let compiled = condition_rule(field, &condition.value, matches);
            conditions.extend(self.noted(condition.place, compiled));
        }
        conditions
    }

    /// A pointer to what the journal will keep as an id.
    pub(super) fn pointer_to_id(&mut self, written: &Located<String>) -> Option<Pointer> {
        let pointer = self.noted(written.place, pointer(written))?;
        let secret = pointer.tokens().find(|token| names_secret(token));
        match secret {
            None => Some(pointer),
            Some(name) => {
                let what = format!("`{}` names a secret (\"{name}\")", written.value);
                self.problem(written.place, what, "point at the row's id");
                None
            }
        }
    }

    pub(super) fn statuses(&mut self, place: Place, name: &str, codes: &[u16]) -> Option<Vec<u16>> {
        if !codes.is_empty() && codes.iter().all(|code| (200..=599).contains(code)) {
            return Some(codes.to_vec());
        }
        let what = format!("`{name}` is not a list of HTTP statuses");
        self.problem(place, what, "write it as in [200, 204, 404]");
        None
    }

    fn gone_on(&mut self, written: &Located<Vec<u16>>) -> Option<Vec<u16>> {
        const PROVE_NOTHING: [u16; 7] = [401, 403, 405, 407, 408, 425, 429];
        let proves = |code: &u16| (400..=499).contains(code) && !PROVE_NOTHING.contains(code);
        let codes = self.statuses(written.place, "gone_on", &written.value)?;
        match codes.iter().find(|code| !proves(code)) {
            None => Some(codes),
            Some(code) => {
                let what = format!("the status {code} proves no row's absence");
                self.problem(written.place, what, "use 404 or 410");
                None
            }
        }
    }
}

fn page(raw: &RawPage, probe: &RawProbe) -> Result<Page, Flaw> {
    if probe.query.contains_key(&raw.number) {
        let what = format!("`query` and `page` both set the parameter \"{}\"", raw.number);
        return Err(Flaw::new(what, "leave it to `page`"));
    }
    let size = match probe.query.get(&raw.size).map(|size| &size.value) {
        Some(Scalar::Number(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
        _ => None,
    };
    let size = size.ok_or_else(|| {
        let what = format!("`query` gives \"{}\", the rows per page, no whole number", raw.size);
        Flaw::new(what, format!("write it under `query`, as in {}: 1000", raw.size))
    })?;
    Ok(Page { parameter: raw.number.clone(), size })
}

fn condition_rule(
    field: &str,
    condition: &RawCondition,
    matches: &MatchTemplate,
) -> Result<ConditionRule, Flaw> {
    let field = Pointer::parse(field).map_err(|error| {
        Flaw::new(format!("`{field}` is no JSON Pointer into the row"), error.to_string())
    })?;
    let (value, default) = match condition {
        RawCondition::Plain(value) => (value, None),
        RawCondition::Defaulted(Defaulted { value, default }) => (value, Some(default.to_json())),
    };
    let expression = match value {
        Scalar::Text(text) if text.starts_with('$') => Some(Expression::parse(text)?),
        _ => None,
    };
    let value = match (expression, default) {
        (Some(expression), default) => {
            ConditionValue::Request { source: Source::of(&expression, matches)?, default }
        }
        (None, None) => ConditionValue::Constant(value.to_json()),
        (None, Some(_)) => {
            return Err(Flaw::new("a constant has no use for a default", "leave `default` out"));
        }
    };
    Ok(ConditionRule { field, value })
}
