//! Rules that create.

use http::HeaderName;

use super::super::compiled::{CreateRule, ParentFrom, ParentRule};
use super::super::expression::Expression;
use super::super::place::{Flaw, Located, Place};
use super::super::raw::{RawNew, RawParent, RawProbe, RawRegister, RawRule, RawUndo};
use super::super::route::MatchTemplate;
use super::super::source::Source;
use super::super::template::{IdTemplate, Template, Written};
use super::Compiler;
use crate::model::{Mode, Newness, Pointer, Sees};

impl Compiler<'_> {
    pub(super) fn create(
        &mut self,
        raw: &RawRule,
        register: &RawRegister,
        place: Place,
        matches: &MatchTemplate,
    ) -> Option<CreateRule> {
        let id = self.noted(register.id.place, created_id(&register.id.value));
        let parent = match &register.parent {
            None => Some(None),
            Some(parent) => self.parent(raw, parent, matches).map(Some),
        };
        self.refuse_unused_steps(raw);
        let undo = match &raw.undo {
            Some(undo) => self.undo(&undo.value, matches),
            None => self.lacking(place, "undo", "how a create that fails is taken back"),
        };
        let confirm = match &raw.confirm {
            Some(confirm) => self.confirm(&confirm.value, matches, &Expression::RegisterId),
            None => self.lacking(place, "confirm", "the GET that proves a row's absence"),
        };
        let probe = match &raw.probe {
            None => Some(None),
            Some(probe) => self.probe(&probe.value, matches).map(Some),
        };
        let before = raw.probe.as_ref().is_some_and(|probe| self.before(&probe.value));
        let new = self.newness(raw, place, before);
        let replay_headers = self.replay_headers(raw);
        let (undo, accepted_on) = undo?;
        Some(CreateRule {
            id: id?,
            parent: parent?,
            undo,
            accepted_on,
            confirm: confirm?,
            probe: probe?,
            before,
            new: new?,
            replay_headers: replay_headers?,
            keeps_owner: self.options.keeps_owner,
        })
    }

    /// Whether the rows are listed before the create is sent. A list that hides rows tells nothing.
    fn before(&mut self, probe: &RawProbe) -> bool {
        let Some(before) = probe.before.as_ref().filter(|before| before.value) else {
            return false;
        };
        if probe.sees == Sees::Own {
            let what = "`before: true` needs a list that shows every row";
            self.problem(before.place, what, "add `sees: all` if it does, else remove `before`");
        }
        true
    }

    /// Without a proof of newness nothing could be undone, so that an enforced create could not fail closed.
    fn newness(&mut self, raw: &RawRule, place: Place, before: bool) -> Option<Newness> {
        let Some(new) = &raw.new else {
            // It undoes nothing, and registers whatever the service answers.
            if raw.mode == Mode::Observe {
                return Some(Newness::Always);
            }
            let is = "`always`, if the service never answers a create with an id that it gave before; \
                      else `{status: [201]}` or `listed_before`";
            return self.lacking(place, "new", is);
        };
        match &new.value {
            RawNew::Always => Some(Newness::Always),
            RawNew::Status(codes) => self.statuses(new.place, "new", codes).map(Newness::Status),
            RawNew::ListedBefore if before => Some(Newness::ListedBefore),
            RawNew::ListedBefore => {
                let what = "`new: listed_before` needs the rows before";
                self.problem(new.place, what, "add `before: true` to the rule's `probe`");
                None
            }
        }
    }

    fn replay_headers(&mut self, raw: &RawRule) -> Option<Vec<HeaderName>> {
        let Some(names) = &raw.replay_headers else {
            return Some(vec![HeaderName::from_static("idempotency-key")]);
        };
        let names = names.value.iter();
        names.map(|name| self.noted(name.place, header(&name.value))).collect()
    }

    fn undo(&mut self, undo: &RawUndo, matches: &MatchTemplate) -> Option<(IdTemplate, Vec<u16>)> {
        let credentials = self.credentials(&undo.credentials);
        let written = Written { request: &undo.request, query: &undo.query, credentials };
        let hole = Expression::RegisterId;
        let call = self.noted_all(IdTemplate::compile(&written, "DELETE", matches, &hole));
        let accepted_on = self.statuses(undo.request.place, "accepted_on", &undo.accepted_on)?;
        Some((call?, accepted_on))
    }

    fn parent(
        &mut self,
        raw: &RawRule,
        parent: &RawParent,
        matches: &MatchTemplate,
    ) -> Option<ParentRule> {
        let kind = self.kind(&parent.kind);
        let place = parent.id.place;
        let expression = self.noted(place, Expression::parse(&parent.id.value))?;
        let source = match expression {
            Expression::Answer(pointer) => Some(ParentFrom::Answer(pointer)),
            Expression::Step { name, pointer } => self.look_up(raw, place, &name, pointer, matches),
            Expression::RegisterId | Expression::RowId => {
                let what = format!("a resource can't be its own parent (`{expression}`)");
                self.problem(place, what, "use $response.body#/…, $steps.NAME#/… or $request…");
                None
            }
            other => self.noted(place, Source::of(&other, matches)).map(ParentFrom::Request),
        };
        Some(ParentRule { kind: kind?, source: source? })
    }

    fn look_up(
        &mut self,
        raw: &RawRule,
        place: Place,
        name: &str,
        id: Pointer,
        matches: &MatchTemplate,
    ) -> Option<ParentFrom> {
        let Some(step) = raw.steps.get(name) else {
            let what = format!("there is no step \"{name}\"");
            self.problem(
                place,
                what,
                format!("write it under `steps`, as in {name}: {{request: …}}"),
            );
            return None;
        };
        let step = &step.value;
        let credentials = self.credentials(&step.credentials);
        let written = Written { request: &step.request, query: &step.query, credentials };
        let request = self.noted_all(Template::compile(&written, "GET", matches))?;
        Some(ParentFrom::LookUp { request, id })
    }

    fn refuse_unused_steps(&mut self, raw: &RawRule) {
        let parent = raw.register.as_ref().and_then(|register| register.value.parent.as_ref());
        let used = parent.and_then(|parent| match Expression::parse(&parent.id.value) {
            Ok(Expression::Step { name, .. }) => Some(name),
            _ => None,
        });
        for (name, step) in &raw.steps {
            if Some(name) != used.as_ref() {
                let mend = format!("use it in register.parent.id, as in $steps.{name}#/id");
                self.problem(step.place, format!("nothing uses the step \"{name}\""), mend);
            }
        }
    }

    pub(super) fn lacking<T>(&mut self, place: Place, part: &str, is: &str) -> Option<T> {
        self.problem(place, format!("the rule has no `{part}`"), format!("add it: {is}"));
        None
    }
}

fn header(name: &str) -> Result<HeaderName, Flaw> {
    HeaderName::try_from(name).map_err(|_| {
        Flaw::new(format!("`{name}` is no name of a header"), "write it as in Idempotency-Key")
    })
}

fn created_id(text: &str) -> Result<Pointer, Flaw> {
    match Expression::parse(text)? {
        Expression::Answer(pointer) => Ok(pointer),
        other => Err(Flaw::new(
            format!("`{other}` can't tell a new resource's id"),
            "take it from the service's answer, as in $response.body#/id",
        )),
    }
}

/// A pointer written outside an expression.
pub(super) fn pointer(written: &Located<String>) -> Result<Pointer, Flaw> {
    Pointer::parse(&written.value).map_err(|error| {
        Flaw::new(format!("`{}` is no JSON Pointer", written.value), error.to_string())
    })
}
