//! Which quirks of the service a round draws.

use std::collections::BTreeSet;

use crate::crash::bounds::Bounds;
use crate::crash::plan::Plan;
use crate::crash::quirks::Faults;
use crate::support::service::quirks::Quirks;

fn faults(text: &str) -> Faults {
    text.parse().unwrap()
}

/// The names of those that are switched on.
fn names(quirks: &Quirks) -> Vec<&'static str> {
    let on = [
        ("replay", quirks.replays),
        ("late", quirks.late > 0.0),
        ("lag", quirks.lag > 0.0),
        ("storm", !quirks.storms.is_empty()),
    ];
    on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

#[test]
fn rounds_draw_each_set_of_the_quirks_that_are_allowed_and_always_one() {
    for number in 0..200 {
        let plan = Plan::new(7, number, true);
        let drawn = plan.clone().with(&faults("new"));
        assert_eq!(drawn, plan.clone().with(&faults("new")), "by seed and number");
        assert_eq!(Plan { quirks: Quirks::default(), ..drawn }, plan, "all else is the same");
        assert_eq!(plan.clone().with(&faults("old")), plan);
        assert_eq!(names(&plan.with(&faults("lag")).quirks), ["lag"]);
    }
    let sets = |text: &str| {
        let faults = faults(text);
        let sets = (0..200).map(|number| names(&Plan::new(7, number, true).with(&faults).quirks));
        sets.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((sets("new"), sets("late,storm"), sets("old")), (15, 3, 1));
}

#[test]
fn quirks_stay_within_the_bounds_that_are_declared() {
    let bounds = Bounds::default();
    for number in 0..200 {
        let quirks = Plan::new(7, number, true).with(&faults("new")).quirks;
        assert!(quirks.late < bounds.late_effect.as_secs_f64());
        assert!(quirks.lag <= bounds.read_lag.as_secs_f64());
        assert!(quirks.storms.iter().all(|(begin, end)| begin < end));
    }
}

#[test]
fn faults_are_read_as_they_are_written_and_others_are_refused() {
    for text in ["old", "new", "replay", "late,lag,storm"] {
        assert_eq!(faults(text).to_string(), text);
    }
    for text in ["", "lags", "old,lag"] {
        assert!(text.parse::<Faults>().is_err(), "{text}");
    }
}
