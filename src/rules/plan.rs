//! A compiled rule resolved against one request: from here on, the plan is all there is.

use bytes::Bytes;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::compiled::{
    Action, ConditionRule, ConditionValue, ConfirmRule, CreateRule, DeleteRule, ParentFrom,
    ParentRule, ProbeRule, Rule,
};
use super::request::{PlanError, Request};
use super::source::Source;
use crate::model::{
    Condition, Confirm, CreatePlan, DeletePlan, IdCall, Ids, Kind, ParentPlan, ParentSource, Plan,
    Probe, ResourceId, ResourceType, Undo,
};

/// What a request comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Plans {
    /// What it creates or deletes, if that is what its rule is for.
    pub own: Option<Plan>,
    /// What it may make on the side.
    pub also: Vec<Plan>,
}

impl Rule {
    pub(super) fn plan(
        &self,
        params: &[String],
        head: &Parts,
        body: &Bytes,
    ) -> Result<Plans, PlanError> {
        let request = if self.reads_body() {
            Request::with_body(params, head, body, self.body_limit)?
        } else {
            Request::without_body(params, head.uri.query())
        };
        let request = request.taken(self.dialect);
        let own = match &self.action {
            Action::Create(create) => Some(Kind::Create(create.plan(&request, head)?)),
            Action::Delete(delete) => Some(Kind::Delete(delete.plan(&request)?)),
            Action::Pass => None,
        };
        let also = self.also.iter().map(|also| {
            let conditions = conditions(&also.conditions, &request)?;
            let kind = Kind::Create(CreatePlan::on_the_side(conditions));
            Ok(self.plan_of(&also.resource_type, also.ids, kind))
        });
        let also = also.collect::<Result<_, _>>()?;
        Ok(Plans { own: own.map(|kind| self.plan_of(&self.resource_type, self.ids, kind)), also })
    }

    fn plan_of(&self, resource_type: &ResourceType, ids: Ids, kind: Kind) -> Plan {
        let (rule, resource_type) = (self.name.clone(), resource_type.clone());
        let Self { mode, commits, .. } = *self;
        Plan { rule, mode, resource_type, commits, ids, kind }
    }
}

impl CreateRule {
    fn plan(&self, request: &Request<'_>, head: &Parts) -> Result<CreatePlan, PlanError> {
        let undo = Undo { call: self.undo.fill(request)?, accepted_on: self.accepted_on.clone() };
        let probe = self.probe.as_ref().map(|probe| probe.plan(request)).transpose()?;
        let (probe, confirm) = (probe.flatten(), self.confirm.plan(request)?);
        Ok(CreatePlan {
            id: self.id.clone(),
            names: named(head, &[&confirm.call, &undo.call], probe.as_ref()),
            parent: self.parent.as_ref().map(|parent| parent.plan(request)).transpose()?,
            undo,
            confirm,
            probe,
            before: self.before,
            new: self.new.clone(),
            keeps_owner: self.keeps_owner,
            replayed: self.replay_headers.iter().any(|name| head.headers.contains_key(name)),
        })
    }
}

/// The id that a create's request gives to its row: one that the list's conditions state, or the request's
/// path is that of the row.
fn named(head: &Parts, of_row: &[&IdCall], probe: Option<&Probe>) -> Option<ResourceId> {
    let stated = probe.and_then(|probe| {
        let of_id = |condition: &&Condition| condition.field == probe.row.id;
        ResourceId::from_json(&probe.conditions.iter().find(of_id)?.value)
    });
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let path_of = |text: &str| decoded(text.split('?').next().unwrap_or_default());
    let path = decoded(head.uri.path());
    let in_path = of_row.iter().find_map(|call| {
        let rest = path.strip_prefix(&path_of(&call.before))?;
        let id = rest.strip_suffix(&path_of(&call.after))?;
        ResourceId::new(id).filter(|_| !id.contains('/'))
    });
    stated.or(in_path)
}

impl ParentRule {
    /// A parent that the request lacks is no reason to refuse it here: the service will, in its
    /// own words, or the create is undone.
    fn plan(&self, request: &Request<'_>) -> Result<ParentPlan, PlanError> {
        let source = match &self.source {
            ParentFrom::Answer(pointer) => ParentSource::Answer(pointer.clone()),
            ParentFrom::Request(source) => match request.text(source)? {
                None => ParentSource::Missing,
                Some(text) => ParentSource::Known(resource_id(text, source)?),
            },
            ParentFrom::LookUp { request: look_up, id } => match look_up.fill(request)? {
                None => ParentSource::Missing,
                Some(call) => ParentSource::LookUp { call, id: id.clone() },
            },
        };
        Ok(ParentPlan { kind: self.kind.clone(), source })
    }
}

impl DeleteRule {
    fn plan(&self, request: &Request<'_>) -> Result<DeletePlan, PlanError> {
        match self {
            Self::ById { id: source, confirm } => {
                let text = request.text(source)?;
                let text = text.ok_or_else(|| lacking(&source.expression().to_string()))?;
                request.segment(source)?;
                let id = resource_id(text, source)?;
                Ok(DeletePlan::ById { id, confirm: confirm.plan(request)? })
            }
            Self::ByProbe { probe, confirm } => {
                let probe = probe.plan(request)?.ok_or_else(|| lacking("what the probe needs"))?;
                Ok(DeletePlan::ByProbe { probe, confirm: confirm.plan(request)? })
            }
        }
    }
}

fn resource_id(text: String, source: &Source) -> Result<ResourceId, PlanError> {
    ResourceId::new(text).ok_or_else(|| no_id(source))
}

fn no_id(source: &Source) -> PlanError {
    PlanError(format!("{} is not an id", source.expression()))
}

fn lacking(what: &str) -> PlanError {
    PlanError(format!("the request lacks {what}"))
}

impl ConfirmRule {
    fn plan(&self, request: &Request<'_>) -> Result<Confirm, PlanError> {
        let call = self.request.fill(request)?;
        Ok(Confirm { call, gone_on: self.gone_on.clone(), id: self.id.clone() })
    }
}

impl ProbeRule {
    /// `None` where the request lacks a value of the probe's path.
    fn plan(&self, request: &Request<'_>) -> Result<Option<Probe>, PlanError> {
        let Some(call) = self.request.fill(request)? else { return Ok(None) };
        Ok(Some(Probe {
            call,
            sees: self.sees,
            page: self.page.clone(),
            rows: self.rows.clone(),
            conditions: conditions(&self.conditions, request)?,
            row: self.row.clone(),
        }))
    }
}

fn conditions(rules: &[ConditionRule], request: &Request<'_>) -> Result<Vec<Condition>, PlanError> {
    let conditions = rules.iter().filter_map(|condition| {
        let value = condition.value.of(request).transpose()?;
        Some(value.map(|value| Condition { field: condition.field.clone(), value }))
    });
    conditions.collect()
}

impl ConditionValue {
    /// What the row's field must equal, or `None` where the request leaves that open: a value
    /// too few finds a row too many, which is sorted out when it is judged; a wrong value would hide
    /// the row for ever.
    fn of(&self, request: &Request<'_>) -> Result<Option<Value>, PlanError> {
        let (source, default) = match self {
            Self::Constant(value) => return Ok(Some(value.clone())),
            Self::Request { source, default } => (source, default),
        };
        match (request.value(source)?, default) {
            (None, default) => Ok(default.clone()),
            // The service may take `null` for the default or store it.
            (Some(Value::Null), Some(_)) => Ok(None),
            (Some(value), _) => Ok(Some(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request as HttpRequest};
    use serde_json::json;

    use super::super::tests::{compiled, shipped, shipped_in};
    use super::super::{Dialect, Route, Rules};
    use super::*;
    use crate::model::{As, DecodedPath, Page, Pointer};

    fn plan(rules: &Rules, method: Method, target: &str, body: &str) -> Result<Plan, PlanError> {
        let request = HttpRequest::builder().method(method).uri(target).body(()).unwrap();
        let (head, ()) = request.into_parts();
        let path = DecodedPath::parse(head.uri.path()).unwrap();
        match rules.route(&head.method, &path) {
            Route::Matched(matched) => {
                let body = Bytes::copy_from_slice(body.as_bytes());
                matched.plan(&head, &body).map(|plans| plans.own.unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn create(target: &str, body: &str) -> CreatePlan {
        match plan(&shipped(), Method::POST, target, body).unwrap().kind {
            Kind::Create(create) => create,
            Kind::Delete(_) => panic!("a delete"),
        }
    }

    fn delete(target: &str) -> Result<DeletePlan, PlanError> {
        match plan(&shipped(), Method::DELETE, target, "").map(|plan| plan.kind) {
            Ok(Kind::Delete(delete)) => Ok(delete),
            Ok(Kind::Create(_)) => panic!("a create"),
            Err(error) => Err(error),
        }
    }

    fn conditions(probe: &Probe) -> Vec<(String, Value)> {
        let pair = |c: &Condition| (c.field.as_str().to_owned(), c.value.clone());
        probe.conditions.iter().map(pair).collect()
    }

    #[test]
    fn a_create_is_resolved_into_all_that_recovery_needs() {
        let plan = create("/agent_api_keys", r#"{"agent_id": "a 1", "name": "k", "api_key": "s"}"#);
        assert_eq!(plan.id.as_str(), "/id");
        let pointer = Pointer::parse("/agent_id").unwrap();
        assert_eq!(plan.parent.unwrap().source, ParentSource::Answer(pointer));
        let undo = plan.undo.call.for_id(&ResourceId::new("k/1").unwrap());
        assert_eq!(undo, None);
        let undo = plan.undo.call.for_id(&ResourceId::new("k?1").unwrap()).unwrap();
        assert_eq!(
            (undo.method.as_str(), undo.target.as_str()),
            ("DELETE", "/agent_api_keys/k%3F1")
        );
        assert_eq!(plan.confirm.gone_on, [404]);
        assert_eq!(plan.confirm.id.as_str(), "/id");
        assert!(plan.before);
        let probe = plan.probe.unwrap();
        assert_eq!(probe.call.target, "/agent_api_keys?agent_id=a%201&limit=1000");
        assert_eq!(probe.page, Some(Page { parameter: "page_number".into(), size: 1000 }));
        assert_eq!(
            conditions(&probe),
            [("/api_key_type".to_owned(), json!("external")), ("/name".to_owned(), json!("k"))]
        );
    }

    #[test]
    fn p7_a_plan_holds_nothing_of_the_body_that_no_expression_names() {
        let body = r#"{"agent_id": "a", "name": "k", "api_key": "s3cret", "x": {"y": "s3cret"}}"#;
        let plan = plan(&shipped(), Method::POST, "/agent_api_keys", body).unwrap();
        assert!(!serde_json::to_string(&plan).unwrap().contains("s3cret"));
    }

    #[test]
    fn a_default_stands_in_for_what_is_absent_and_null_leaves_it_open() {
        let of = |body| conditions(&create("/agent_api_keys", body).probe.unwrap());
        let kind = |value: Value| ("/api_key_type".to_owned(), value);
        assert_eq!(of(r#"{"api_key_type": "github"}"#), [kind(json!("github"))]);
        assert_eq!(of("{}"), [kind(json!("external"))]);
        assert_eq!(of(r#"{"api_key_type": null}"#), []);
    }

    #[test]
    fn a_parent_is_looked_up_by_what_the_request_tells() {
        let source = |body| create("/agent_api_keys/webhook-trigger", body).parent.unwrap().source;
        let ParentSource::LookUp { call, id } = source(r#"{"agent_name": "my agent"}"#) else {
            panic!("no look-up")
        };
        assert_eq!(
            (call.method.as_str(), call.target.as_str()),
            ("GET", "/agents/name/my%20agent")
        );
        assert_eq!((call.credentials, id.as_str()), (As::Caller, "/id"));
        for lacking in ["", "no json", "{}", r#"{"agent_name": null}"#] {
            assert_eq!(source(lacking), ParentSource::Missing, "{lacking}");
        }
    }

    #[test]
    fn p5_a_value_that_is_more_than_one_segment_is_refused() {
        for name in ["a/b", "..", "", "a\\\\b", "a\\nb"] {
            let body = format!(r#"{{"agent_name": "{name}"}}"#);
            let refused = plan(&shipped(), Method::POST, "/agent_api_keys/webhook-trigger", &body)
                .unwrap_err();
            assert_eq!(refused.0, "$request.body#/agent_name can't be one path segment");
        }
    }

    /// `/agents/name/a1%252F` is `/agents/name/a1/` to who decodes twice, and that another's.
    #[test]
    fn p5_in_the_strict_dialect_a_value_that_some_router_reads_otherwise_is_refused() {
        let strict = shipped_in(Dialect::Strict);
        let create = |name: &str| {
            let body = format!(r#"{{"agent_name": "{name}"}}"#);
            plan(&strict, Method::POST, "/agent_api_keys/webhook-trigger", &body)
        };
        for name in ["a1%2F", "a1;x", "a1+x", "a1.json", "a1.", "a1 "] {
            let refused = create(name).unwrap_err().0;
            assert!(refused.contains("might be read otherwise in a path"), "{name}: {refused}");
        }
        create("an agent-1_x~").unwrap();
    }

    #[test]
    fn p8_a_value_that_would_bloat_the_journal_is_refused() {
        let body = json!({"agent_id": "a", "name": "x".repeat(5000)}).to_string();
        let refused = plan(&shipped(), Method::POST, "/agent_api_keys", &body).unwrap_err();
        assert_eq!(refused.0, "$request.body#/name is longer than 4096 bytes");
    }

    #[test]
    fn a_delete_by_id_asks_for_exactly_that_row() {
        let DeletePlan::ById { id, confirm } = delete("/agent_api_keys/K%20;x").unwrap() else {
            panic!("by probe")
        };
        assert_eq!(id.as_str(), "K ;x");
        assert_eq!(confirm.call.for_id(&id).unwrap().target, "/agent_api_keys/K%20%3Bx");
        assert_eq!((confirm.gone_on, confirm.id.as_str()), (vec![404], "/id"));
        let long = format!("/agent_api_keys/{}", "x".repeat(ResourceId::MAX_LEN + 1));
        assert_eq!(delete(&long).unwrap_err().0, "$request.path.id is not an id");
    }

    #[test]
    fn a_delete_by_id_may_have_a_confirmation_of_its_own() {
        let rules = compiled(
            "[{name: d, match: 'DELETE /t/{id}', deregister: {type: t, id: $request.path.id}, \
             confirm: {request: 'GET /all/{$request.path.id}', as: service, gone_on: [404, 410], id: /key}}]",
        )
        .unwrap();
        let plan = plan(&rules, Method::DELETE, "/t/1", "").unwrap();
        let Kind::Delete(DeletePlan::ById { confirm, .. }) = plan.kind else { panic!("{plan:?}") };
        assert_eq!(confirm.call.before, "/all/");
        assert_eq!(confirm.call.credentials, As::Service);
        assert_eq!((confirm.gone_on, confirm.id.as_str()), (vec![404, 410], "/key"));
    }

    #[test]
    fn a_delete_by_name_lists_the_rows_that_may_be_meant() {
        let target = "/agent_api_keys/name/a%20b?agent_id=1&agent_id=2&api_key_type=git+hub";
        let DeletePlan::ByProbe { probe, confirm } = delete(target).unwrap() else {
            panic!("by id")
        };
        assert_eq!(probe.call.target, "/agent_api_keys?agent_id=2&limit=1000");
        assert_eq!(
            conditions(&probe),
            [("/api_key_type".to_owned(), json!("git hub")), ("/name".to_owned(), json!("a b"))]
        );
        assert_eq!(confirm.call.before, "/agent_api_keys/");
    }

    #[test]
    fn a_body_that_no_expression_needs_is_not_read() {
        let rules = compiled(
            "[{name: c, match: POST /t, new: always, register: {type: t, id: $response.body#/id}, \
             undo: {request: 'DELETE /t/{$register.id}'}, confirm: {request: 'GET /t/{$register.id}'}}]",
        )
        .unwrap();
        assert!(plan(&rules, Method::POST, "/t", "{\"a\":1,\"a\":2}").is_ok());
        assert!(plan(&shipped(), Method::POST, "/agent_api_keys", "{\"a\":1,\"a\":2}").is_err());
    }

    #[test]
    fn a_create_that_could_not_be_undone_is_refused() {
        let rules = compiled(
            "[{name: c, match: POST /t, new: always, register: {type: t, id: $response.body#/id}, \
             undo: {request: 'DELETE /o/{$request.query.o}/t/{$register.id}'}, \
             confirm: {request: 'GET /t/{$register.id}/x', query: {o: $request.query.o, all: true}}}]",
        )
        .unwrap();
        let refused = plan(&rules, Method::POST, "/t", "").unwrap_err();
        assert_eq!(refused.0, "the request lacks $request.query.o");
        let Kind::Create(create) = plan(&rules, Method::POST, "/t?o=1", "").unwrap().kind else {
            panic!("a delete")
        };
        assert_eq!(create.undo.call.before, "/o/1/t/");
        assert_eq!(create.confirm.call.after, "/x?all=true&o=1");
    }
}
