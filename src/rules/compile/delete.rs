//! Rules that delete.

use super::super::compiled::{ConfirmRule, DeleteRule};
use super::super::expression::Expression;
use super::super::place::Place;
use super::super::raw::{RawDeregister, RawProbe, RawRule};
use super::super::route::MatchTemplate;
use super::super::source::Source;
use super::super::template::{IdTemplate, Written};
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn delete(
        &mut self,
        raw: &RawRule,
        deregister: &RawDeregister,
        place: Place,
        matches: &MatchTemplate,
    ) -> Option<DeleteRule> {
        self.refuse(raw.undo.as_ref(), "undo", "a delete is not taken back: remove it");
        let of_creates = "it is for creates: remove it";
        self.refuse(raw.new.as_ref(), "new", of_creates);
        self.refuse(raw.replay_headers.as_ref(), "replay_headers", of_creates);
        let step = raw.steps.values().next();
        self.refuse(step, "steps", "a delete looks nothing up: remove it, or use `probe`");
        let id = &deregister.id;
        match self.noted(id.place, Expression::parse(&id.value))? {
            Expression::RowId => self.delete_by_probe(raw, place, matches),
            expression => {
                let source = self.noted(id.place, Source::of(&expression, matches))?;
                self.delete_by_id(raw, place, matches, source)
            }
        }
    }

    fn delete_by_probe(
        &mut self,
        raw: &RawRule,
        place: Place,
        matches: &MatchTemplate,
    ) -> Option<DeleteRule> {
        let before = raw.probe.as_ref().and_then(|probe| probe.value.before.as_ref());
        self.refuse(
            before,
            "before",
            "a delete always lists the rows before it is sent: remove it",
        );
        let probe = match &raw.probe {
            Some(probe) => self.probe(&probe.value, matches),
            None => self.lacking(place, "probe", "the GET that lists the rows that may be meant"),
        };
        let confirm = match &raw.confirm {
            Some(confirm) => self.confirm(&confirm.value, matches, &Expression::RowId),
            None => self.lacking(place, "confirm", "the GET that proves a row's absence"),
        };
        Some(DeleteRule::ByProbe { probe: probe?, confirm: confirm? })
    }

    /// The probe of a delete by id asks for the one row, and so is its confirmation too, unless
    /// the rule has its own.
    fn delete_by_id(
        &mut self,
        raw: &RawRule,
        place: Place,
        matches: &MatchTemplate,
        id: Source,
    ) -> Option<DeleteRule> {
        let hole = id.expression();
        let probe = raw.probe.as_ref().map(|probe| self.probe_of_id(&probe.value, matches, &hole));
        let confirm = raw.confirm.as_ref();
        let confirm = confirm.map(|confirm| self.confirm(&confirm.value, matches, &hole));
        let confirm = match (confirm, probe) {
            (Some(own), _) => own,
            (None, Some(derived)) => derived,
            (None, None) => self.lacking(place, "probe", "the GET that shows the row by its id"),
        };
        Some(DeleteRule::ById { id, confirm: confirm? })
    }

    fn probe_of_id(
        &mut self,
        probe: &RawProbe,
        matches: &MatchTemplate,
        hole: &Expression,
    ) -> Option<ConfirmRule> {
        let one = "the probe of a delete by id asks for one row: remove it";
        self.refuse(probe.page.as_ref(), "page", one);
        self.refuse(probe.conditions.values().next(), "where", one);
        self.refuse(probe.before.as_ref(), "before", one);
        let credentials = self.credentials(&probe.credentials);
        let written = Written { request: &probe.request, query: &probe.query, credentials };
        let request = self.noted_all(IdTemplate::compile(&written, "GET", matches, hole));
        let id = self.pointer_to_id(&probe.row.id);
        Some(ConfirmRule { request: request?, gone_on: vec![404], id: id? })
    }
}
