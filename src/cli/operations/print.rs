//! Operations as text for people.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use crate::model::{Clock, Order, SystemClock, Timestamp};

/// A table, a line for each.
pub(super) fn list(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let operations = answer.get("operations").and_then(Value::as_array);
    let operations = operations.map_or(&[][..], Vec::as_slice);
    if operations.is_empty() {
        return writeln!(out, "No such operation is unfinished.");
    }
    let row = |operation: &Value| {
        let ids = operation.get("resource_ids").and_then(Value::as_array).map_or(&[][..], |v| v);
        let ids: Vec<_> = ids.iter().filter_map(Value::as_str).take(2).collect();
        [
            text(operation, "id").to_owned(),
            age(text(operation, "intent")),
            text(operation, "rule").to_owned(),
            text(operation, "phase").to_owned(),
            attention(operation),
            ids.join(","),
        ]
    };
    let head = ["OPERATION", "AGE", "RULE", "PHASE", "ATTENTION", "ROWS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(operations.iter().map(row)).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    for row in &rows {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, cell)| {
            format!("{cell:<width$}", width = width(column).unwrap_or_default())
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    writeln!(
        out,
        "\n{} unfinished; `authz-sidecar operations show ID` tells more.",
        rows.len() - 1
    )?;
    match answer.get("after").and_then(Value::as_str) {
        Some(after) => writeln!(out, "There are more: --after {after}, or --limit 0 for all."),
        None => Ok(()),
    }
}

/// What asks for a person's attention.
fn attention(operation: &Value) -> String {
    let is = |name| operation.get(name).and_then(Value::as_bool).unwrap_or_default();
    match number(operation, "attempts") {
        _ if is("needs_a_person") => "needs a person".into(),
        _ if !text(operation, "waits_for").is_empty() => {
            format!("stuck: the {} is down", text(operation, "waits_for"))
        }
        failed if is("stuck") => format!("stuck: {failed} attempts failed"),
        0 => "-".into(),
        failed => format!("{failed} attempts failed"),
    }
}

/// All that is known of one.
pub(super) fn show(operation: &Value, out: &mut dyn Write) -> io::Result<()> {
    let part = |name| text(operation, name);
    let mut line = |title: &str, text: &str| match text {
        "" => Ok(()),
        text => writeln!(out, "{title:<11} {text}"),
    };
    line("operation", part("id"))?;
    let (kind, rule, mode) = (part("kind"), part("rule"), part("mode"));
    let what = part("resource_type");
    line("what", &format!("{kind} of {what}, rule {rule} ({mode}), sent {}", part("intent")))?;
    let ids = operation.get("resource_ids").and_then(Value::as_array).map_or(&[][..], |v| v);
    let ids: Vec<_> = ids.iter().filter_map(Value::as_str).collect();
    line("rows", &ids.join(", "))?;
    let since = part("since");
    line("stands at", &format!("{}, since {since} ({} ago)", part("phase"), age(since)))?;
    line("known", part("known"))?;
    let next_at = match part("next_at") {
        "" => String::new(),
        at => format!(" (at {at})"),
    };
    line("next", &format!("{}{next_at}", part("next")))?;
    let failures = match number(operation, "attempts") {
        0 => String::new(),
        failed => format!("; {failed} attempts failed, the last: {}", part("last_failure")),
    };
    line("tried", &format!("{}{failures}", part("task")))?;
    line("to be done", part("remedy"))?;
    line("discarding", part("discarding"))?;
    writeln!(out, "history")?;
    for one in operation.get("history").and_then(Value::as_array).map_or(&[][..], |v| v) {
        let (at, record) = (text(one, "at"), text(one, "record"));
        let line = format!("  {at:<27} {record:<10} {}", held(one));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// What a record holds.
fn held(record: &Value) -> String {
    let fields = record.as_object().into_iter().flatten();
    let held = fields.filter(|(name, _)| !["at", "record"].contains(&name.as_str()));
    let held: Vec<_> = held.map(|(name, value)| format!("{name}: {value}")).collect();
    held.join(", ")
}

/// What became of an order.
pub(super) fn followed(order: &Order, operation: &Value, out: &mut dyn Write) -> io::Result<()> {
    let done = match order {
        Order::Retry { .. } => {
            "Retried: the next attempt is made at once; its records say who ordered it."
        }
        Order::Discard { .. } => {
            "Discarded: nothing more is done for it; its records say who and why."
        }
    };
    writeln!(out, "{done}\n")?;
    show(operation, out)
}

fn text<'a>(operation: &'a Value, name: &str) -> &'a str {
    operation.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(operation: &Value, name: &str) -> u64 {
    operation.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// How long ago that was, roughly.
fn age(time: &str) -> String {
    let Some(time) = Timestamp::parse(time) else { return "?".into() };
    rough(SystemClock.now().since(time))
}

fn rough(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..=119 => format!("{seconds}s"),
        seconds @ ..=7_199 => format!("{}m", seconds / 60),
        seconds @ ..=172_799 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_unit_that_says_most() {
        let told = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            [told(0), told(119), told(120), told(7_200), told(172_800)],
            ["0s", "119s", "2m", "2h", "2d"]
        );
    }
}
