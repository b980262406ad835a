//! Which finished operations may be forgotten. Pure, and the same for all implementations.

use std::time::Duration;

use crate::model::Timestamp;

/// How long people can still look at a void operation, of which a client may have told them.
const READABLE: Duration = Duration::from_mins(1);

/// In which what is void may be forgotten, whatever is open.
pub(super) fn void(now: Timestamp, before: Timestamp) -> Gap {
    Gap { after: Timestamp::from_micros(i64::MIN), before: now.minus(READABLE).max(before) }
}

/// A stretch of time of which no open operation needs anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    /// What it begins behind.
    pub(super) after: Timestamp,
    /// What it ends before.
    pub(super) before: Timestamp,
}

/// The gaps between what `open` operations need, oldest first: whatever happened from the margin
/// (`now - before`) before their intent until the margin after they settled may tell whose a row is,
/// and whatever ended since `before` may concern an operation that begins only now.
///
/// Of each open operation its intent and when it settled is given, oldest intent first. One that has
/// not settled needs all that came after its intent.
pub(super) fn gaps(
    now: Timestamp,
    before: Timestamp,
    open: impl IntoIterator<Item = (Timestamp, Option<Timestamp>)>,
) -> Vec<Gap> {
    let margin = now.since(before);
    let mut gaps = Vec::new();
    let mut after = Timestamp::from_micros(i64::MIN);
    for (opened_at, settled_at) in open {
        let needed = opened_at.minus(margin).min(before);
        if after < needed {
            gaps.push(Gap { after, before: needed });
        }
        match settled_at {
            Some(settled_at) => after = after.max(settled_at.plus(margin)),
            None => return gaps,
        }
    }
    if after < before {
        gaps.push(Gap { after, before });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// With a margin of 10.
    fn found(open: &[(i64, Option<i64>)]) -> Vec<(i64, i64)> {
        let open = open.iter().map(|(opened, settled)| (at(*opened), settled.map(at)));
        let seconds = |time: Timestamp| time.as_micros() / 1_000_000;
        let gaps = gaps(at(1000), at(990), open);
        gaps.iter().map(|gap| (seconds(gap.after).max(0), seconds(gap.before))).collect()
    }

    #[test]
    fn p8_without_an_open_operation_all_that_is_old_may_go() {
        assert_eq!(found(&[]), [(0, 990)]);
    }

    #[test]
    fn p4_windows_are_spared_and_those_that_meet_are_one() {
        assert_eq!(found(&[(100, Some(120))]), [(0, 90), (130, 990)]);
        assert_eq!(found(&[(100, Some(120)), (139, Some(150))]), [(0, 90), (160, 990)]);
        assert_eq!(found(&[(100, Some(400)), (200, Some(210))]), [(0, 90), (410, 990)]);
        let apart = [(0, 90), (130, 190), (220, 990)];
        assert_eq!(found(&[(100, Some(120)), (200, Some(210))]), apart);
    }

    #[test]
    fn p4_what_has_not_settled_spares_all_that_came_after() {
        assert_eq!(
            found(&[(100, Some(120)), (200, None), (300, Some(310))]),
            [(0, 90), (130, 190)]
        );
        assert_eq!(found(&[(995, None)]), [(0, 985)]);
    }

    #[test]
    fn p4_what_ended_since_is_spared_in_any_case() {
        assert_eq!(found(&[(100, Some(985))]), [(0, 90)]);
        assert_eq!(found(&[(2000, Some(2001))]), [(0, 990)]);
    }
}
