//! What an exchange with the service means (docs/DESIGN.md, section 4): one total table for
//! creates and one for deletes. Pure.

use crate::model::{Effect, ResourceId};

/// What was seen of one exchange with the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Certainly nothing of the request reached the service.
    NotSent,
    /// The exchange took too long; what came of it is not known.
    TimedOut,
    /// The connection ended, or what came was not HTTP, before there was a whole head.
    Cut,
    /// A head came.
    Answer {
        /// Its status.
        status: u16,
        /// What could be read of its body.
        body: BodySeen,
    },
}

/// What could be read of an answer's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodySeen {
    /// It is whole and holds a resource id where the rule says.
    Id(ResourceId),
    /// It is whole and holds no such id, or can't be decoded.
    NoId,
    /// It is larger than the limit.
    TooLarge,
    /// It ended early.
    Cut,
}

/// What the client gets for an exchange, once the saga lets it have an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientGets {
    /// The service's own answer, untouched.
    ServiceAnswer,
    /// 502: the service can't be reached; nothing was sent.
    Unreachable,
    /// 502: the answer was cut, or is a redirect that says nothing about the create.
    BadAnswer,
    /// 503: a success that can't be used, since it names no resource.
    Unusable,
    /// 504: the service took too long.
    TimedOut,
}

/// What a create came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateOutcome {
    /// Nothing was sent.
    NotSent,
    /// The service said no: there is no row.
    Rejected,
    /// The service made a row with this id.
    Committed(ResourceId),
    /// The service answered with a row that stood before. `held` says whether an operation holds its id.
    Found {
        /// The row's id.
        id: ResourceId,
        /// Whether an operation holds it.
        held: bool,
    },
    /// The service answered with a row, and nothing proves whether it is new, or stood before.
    Unproven {
        /// The row's id.
        id: ResourceId,
        /// What is missing.
        why: &'static str,
    },
    /// The service answered with a row that a create with an unknown outcome may have made: no client may be
    /// told of it.
    Disputed(ResourceId),
    /// There may be a row.
    Unknown,
}

/// What a delete came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteOutcome {
    /// Nothing was sent.
    NotSent,
    /// The service said no: nothing was removed.
    Refused,
    /// Rows may be gone: each has to be looked at.
    Look(Effect),
}

/// Classifies the exchange of a create.
#[must_use]
pub fn create(seen: &Seen) -> (CreateOutcome, ClientGets) {
    use ClientGets::{BadAnswer, ServiceAnswer, TimedOut, Unreachable, Unusable};
    use CreateOutcome::{Committed, NotSent, Rejected, Unknown};
    let (status, body) = match seen {
        Seen::NotSent => return (NotSent, Unreachable),
        Seen::TimedOut => return (Unknown, TimedOut),
        Seen::Cut => return (Unknown, BadAnswer),
        Seen::Answer { status, body } => (*status, body),
    };
    // A body that was cut can't be passed on as if it were whole.
    let passed_on = if *body == BodySeen::Cut { BadAnswer } else { ServiceAnswer };
    match (status, body) {
        // Accepted, or a part: a promise, not a row (RFC 9110 §15.3.3, §15.3.7).
        (202 | 206, _) => (Unknown, Unusable),
        (200..=299, BodySeen::Id(id)) => (Committed(id.clone()), ServiceAnswer),
        (200..=299, BodySeen::Cut) => (Unknown, BadAnswer),
        (200..=299, BodySeen::NoId | BodySeen::TooLarge) => (Unknown, Unusable),
        // Unchanged, or "send this same request elsewhere": not carried out here.
        (304 | 307 | 308, _) => (Rejected, passed_on),
        // 408: the service gave up waiting, perhaps in the middle of its work.
        (408 | 500..=599, _) => (Unknown, passed_on),
        (400..=499, _) => (Rejected, passed_on),
        // 301–303 are sent after work as often as instead of it; the rest means nothing.
        _ => (Unknown, BadAnswer),
    }
}

/// Classifies the exchange of a delete. The client gets what came, whatever it means.
#[must_use]
pub fn delete(seen: &Seen) -> (DeleteOutcome, ClientGets) {
    use ClientGets::{BadAnswer, ServiceAnswer, TimedOut, Unreachable};
    use DeleteOutcome::{Look, NotSent, Refused};
    let (status, body) = match seen {
        Seen::NotSent => return (NotSent, Unreachable),
        Seen::TimedOut => return (Look(Effect::MayCome), TimedOut),
        Seen::Cut => return (Look(Effect::MayCome), BadAnswer),
        Seen::Answer { status, body } => (*status, body),
    };
    let passed_on = if *body == BodySeen::Cut { BadAnswer } else { ServiceAnswer };
    let outcome = match status {
        202 => Look(Effect::MayCome),
        // If there is no such row, the same request may have removed it: the way to the service may repeat it.
        200..=299 | 404 | 410 => Look(Effect::Past),
        304 | 307 | 308 => Refused,
        408 => Look(Effect::MayCome),
        400..=499 => Refused,
        _ => Look(Effect::MayCome),
    };
    (outcome, passed_on)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_body() -> impl Strategy<Value = BodySeen> {
        prop_oneof![
            Just(BodySeen::NoId),
            Just(BodySeen::TooLarge),
            Just(BodySeen::Cut),
            Just(BodySeen::Id(ResourceId::new("k").unwrap())),
        ]
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        prop_oneof![
            1 => Just(Seen::NotSent),
            1 => Just(Seen::TimedOut),
            1 => Just(Seen::Cut),
            20 => (any::<u16>(), any_body()).prop_map(|(status, body)| Seen::Answer { status, body }),
            20 => (100..600u16, any_body()).prop_map(|(status, body)| Seen::Answer { status, body }),
        ]
    }

    proptest! {
        #[test]
        fn p1_only_a_whole_success_with_an_id_can_become_a_2xx(seen in any_seen()) {
            let (outcome, gets) = create(&seen);
            let success = matches!(seen, Seen::Answer { status: 200..=299, .. });
            if success && gets == ClientGets::ServiceAnswer {
                prop_assert!(matches!(outcome, CreateOutcome::Committed(_)));
            }
        }

        #[test]
        fn p2_whatever_may_have_made_a_row_is_never_called_rejected(seen in any_seen()) {
            let (outcome, _) = create(&seen);
            let no_row = match &seen {
                Seen::NotSent => true,
                Seen::Answer { status, .. } => {
                    matches!(status, 304 | 307 | 308 | 400..=407 | 409..=499)
                }
                Seen::TimedOut | Seen::Cut => false,
            };
            let settled = matches!(outcome, CreateOutcome::Rejected | CreateOutcome::NotSent);
            prop_assert_eq!(settled, no_row);
        }

        #[test]
        fn p3_a_delete_is_forgotten_only_when_it_certainly_removed_nothing(seen in any_seen()) {
            let (outcome, gets) = delete(&seen);
            if matches!(outcome, DeleteOutcome::NotSent | DeleteOutcome::Refused) {
                let nothing = match &seen {
                    Seen::NotSent => true,
                    Seen::Answer { status, .. } => {
                        matches!(status, 304 | 307 | 308 | 400..=499) && !matches!(status, 404 | 408 | 410)
                    }
                    _ => false,
                };
                prop_assert!(nothing);
            }
            let whole = matches!(&seen, Seen::Answer { body, .. } if *body != BodySeen::Cut);
            prop_assert_eq!(gets == ClientGets::ServiceAnswer, whole);
        }

        #[test]
        fn a_cut_body_is_never_passed_on_as_whole(status in any::<u16>()) {
            let seen = Seen::Answer { status, body: BodySeen::Cut };
            prop_assert_ne!(create(&seen).1, ClientGets::ServiceAnswer);
            prop_assert_ne!(delete(&seen).1, ClientGets::ServiceAnswer);
        }
    }

    #[test]
    fn the_table_of_design_3() {
        let answer = |status, body| create(&Seen::Answer { status, body });
        let id = ResourceId::new("k").unwrap();
        let with_id = || BodySeen::Id(id.clone());
        let committed = (CreateOutcome::Committed(id.clone()), ClientGets::ServiceAnswer);
        assert_eq!(answer(200, with_id()), committed);
        assert_eq!(answer(201, with_id()), committed);
        let unusable = (CreateOutcome::Unknown, ClientGets::Unusable);
        assert_eq!(answer(202, with_id()), unusable);
        assert_eq!(answer(206, with_id()), unusable);
        assert_eq!(answer(204, BodySeen::NoId), unusable);
        assert_eq!(answer(200, BodySeen::TooLarge), unusable);
        assert_eq!(answer(303, with_id()), (CreateOutcome::Unknown, ClientGets::BadAnswer));
        assert_eq!(answer(307, with_id()), (CreateOutcome::Rejected, ClientGets::ServiceAnswer));
        assert_eq!(answer(408, with_id()), (CreateOutcome::Unknown, ClientGets::ServiceAnswer));
        assert_eq!(answer(409, with_id()), (CreateOutcome::Rejected, ClientGets::ServiceAnswer));
        assert_eq!(answer(500, with_id()), (CreateOutcome::Unknown, ClientGets::ServiceAnswer));
        assert_eq!(create(&Seen::TimedOut), (CreateOutcome::Unknown, ClientGets::TimedOut));
        assert_eq!(create(&Seen::NotSent), (CreateOutcome::NotSent, ClientGets::Unreachable));
    }
}
