//! Environment overrides: `AUTHZ_SIDECAR_…` for the scalar settings that differ between places.

use std::str::FromStr;

use super::file::File;
use super::parts::{Agentex, Journal, Upstream};
use crate::rules::{Located, Place, Problem, nearest};

/// One variable and the setting that it overrides.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable.
    pub variable: &'static str,
    /// The setting's path in the file.
    pub path: &'static str,
    set: fn(&mut File, &str, Place) -> Result<(), String>,
}

/// Begins every variable of ours.
const PREFIX: &str = "AUTHZ_SIDECAR_";

/// Variables of ours that are no settings: the log filter.
const OTHERS: [&str; 1] = ["AUTHZ_SIDECAR_LOG"];

/// Every variable there is.
pub const SETTINGS: [Setting; 27] = [
    setting("AUTHZ_SIDECAR_LISTEN", "listen", |file, text, place| {
        located(&mut file.listen, text, place)
    }),
    setting("AUTHZ_SIDECAR_HEALTH", "health", |file, text, place| {
        located(&mut file.health, text, place)
    }),
    setting("AUTHZ_SIDECAR_ADMIN", "admin", |file, text, place| {
        located(&mut file.admin, text, place)
    }),
    setting("AUTHZ_SIDECAR_UPSTREAM", "upstream", |file, text, place| {
        let value: Upstream = text.parse()?;
        file.upstream = Some(Located { value, place });
        Ok(())
    }),
    setting(
        "AUTHZ_SIDECAR_CREDENTIALS_SERVICE_HEADERS_FILE",
        "credentials.service.headers_file",
        |file, text, _| {
            let headers_file = text.into();
            file.credentials.service = Some(super::parts::ServiceCredentials { headers_file });
            Ok(())
        },
    ),
    setting("AUTHZ_SIDECAR_PRINCIPAL_AUTHN_URL", "principal.authn.url", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        text.clone_into(&mut principal.value.authn.url);
        Ok(())
    }),
    setting("AUTHZ_SIDECAR_PRINCIPAL_AUTHN_TIMEOUT", "principal.authn.timeout", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        parsed(&mut principal.value.authn.timeout, text)
    }),
    setting("AUTHZ_SIDECAR_PRINCIPAL_CACHE_TTL", "principal.cache.ttl", |file, text, _| {
        let principal = file.principal.as_mut().ok_or("the file has no `principal`")?;
        parsed(&mut principal.value.cache.ttl, text)
    }),
    setting("AUTHZ_SIDECAR_AUTHZ_AGENTEX_URL", "authz.agentex.url", |file, text, _| {
        let authz = file.authz.as_mut().ok_or("the file has no `authz`")?;
        authz.value.agentex = Some(Agentex { url: text.to_owned() });
        Ok(())
    }),
    setting("AUTHZ_SIDECAR_AUTHZ_DEADLINE", "authz.deadline", |file, text, _| {
        let authz = file.authz.as_mut().ok_or("the file has no `authz`")?;
        parsed(&mut authz.value.deadline, text)
    }),
    setting("AUTHZ_SIDECAR_JOURNAL_URL", "journal.url", |file, text, _| {
        text.clone_into(&mut journal(file)?.url);
        Ok(())
    }),
    setting(
        "AUTHZ_SIDECAR_JOURNAL_EXCLUSIVE_WRITER",
        "journal.exclusive_writer",
        |file, text, _| parsed(&mut journal(file)?.exclusive_writer, text),
    ),
    setting("AUTHZ_SIDECAR_JOURNAL_MAX_SIZE", "journal.max_size", |file, text, _| {
        parsed(&mut journal(file)?.max_size, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_LATE_EFFECT", "bounds.late_effect", |file, text, _| {
        parsed(&mut file.bounds.value.late_effect, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_CLOCK_SKEW", "bounds.clock_skew", |file, text, _| {
        parsed(&mut file.bounds.value.clock_skew, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_REPLY_DEADLINE", "bounds.reply_deadline", |file, text, _| {
        parsed(&mut file.bounds.value.reply_deadline, text)
    }),
    setting(
        "AUTHZ_SIDECAR_BOUNDS_INLINE_DEREGISTER",
        "bounds.inline_deregister",
        |file, text, _| parsed(&mut file.bounds.value.inline_deregister, text),
    ),
    setting("AUTHZ_SIDECAR_BOUNDS_CONNECT", "bounds.connect", |file, text, _| {
        parsed(&mut file.bounds.value.connect, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_ANSWER", "bounds.answer", |file, text, _| {
        parsed(&mut file.bounds.value.answer, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_IDLE", "bounds.idle", |file, text, _| {
        parsed(&mut file.bounds.value.idle, text)
    }),
    setting("AUTHZ_SIDECAR_BOUNDS_DRAIN", "bounds.drain", |file, text, _| {
        parsed(&mut file.bounds.value.drain, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_CONNECTIONS", "limits.connections", |file, text, _| {
        parsed(&mut file.limits.connections, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADER_BYTES", "limits.header_bytes", |file, text, _| {
        parsed(&mut file.limits.header_bytes, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADERS", "limits.headers", |file, text, _| {
        parsed(&mut file.limits.headers, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_HEADER_TIMEOUT", "limits.header_timeout", |file, text, _| {
        parsed(&mut file.limits.header_timeout, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_INTERCEPTED_BODY", "limits.intercepted_body", |file, text, _| {
        parsed(&mut file.limits.intercepted_body, text)
    }),
    setting("AUTHZ_SIDECAR_LIMITS_OPERATIONS", "limits.operations", |file, text, _| {
        parsed(&mut file.limits.operations, text)
    }),
];

const fn setting(
    variable: &'static str,
    path: &'static str,
    set: fn(&mut File, &str, Place) -> Result<(), String>,
) -> Setting {
    Setting { variable, path, set }
}

/// Applies every variable of ours in `environment`, and tells what is wrong with them.
pub(super) fn apply(
    file: &mut File,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<Problem> {
    let ours = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    let mut ours: Vec<_> = ours.filter(|(name, _)| !OTHERS.contains(&name.as_str())).collect();
    ours.sort();
    let mut problems = Vec::new();
    for (name, text) in ours {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable == name) else {
            problems.push(unknown(&name));
            continue;
        };
        let place = Place::Environment(setting.variable);
        if let Err(error) = (setting.set)(file, &text, place) {
            let mend = format!("it overrides `{}`", setting.path);
            problems.push(Problem::new(place, error, mend));
        }
    }
    problems
}

fn unknown(name: &str) -> Problem {
    let known = SETTINGS.iter().map(|setting| setting.variable).chain(OTHERS);
    let mend = nearest(name, known).map_or_else(
        || "remove it; docs/CONFIGURATION.md lists those there are".to_owned(),
        |nearest| format!("did you mean {nearest}?"),
    );
    Problem::new(Place::Environment("environment"), format!("unknown variable {name}"), mend)
}

fn located<T: FromStr<Err: ToString>>(
    setting: &mut Located<T>,
    text: &str,
    place: Place,
) -> Result<(), String> {
    parsed(&mut setting.value, text)?;
    setting.place = place;
    Ok(())
}

fn parsed<T: FromStr<Err: ToString>>(setting: &mut T, text: &str) -> Result<(), String> {
    *setting = text.parse().map_err(|error: T::Err| error.to_string())?;
    Ok(())
}

fn journal(file: &mut File) -> Result<&mut Journal, String> {
    file.journal.as_mut().ok_or_else(|| "the file has no `journal`".to_owned())
}
