//! The sidecar's own credentials towards the service.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

/// Credentials of the sidecar's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// What calls `as: service` send, and undos after a crash. Without it, they can't
    /// authenticate.
    pub service: Option<ServiceCredentials>,
    /// What a person's order (`retry`, `discard`) on the admin port must carry. Without it, none
    /// is taken there.
    pub admin: Option<AdminCredentials>,
}

/// What orders on the admin port must carry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminCredentials {
    /// A file of one line, the token: at least 16 visible ASCII characters. Checked at start, read
    /// anew for each order.
    pub token_file: PathBuf,
}

/// What `as: service` sends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceCredentials {
    /// A file of header lines, `name: value`, read at start.
    pub headers_file: PathBuf,
}

impl Credentials {
    /// Reads the headers of `as: service`; none where none are configured.
    ///
    /// # Errors
    /// When the file can't be read or a line is no header. The message names file and line,
    /// never a value.
    pub fn headers(&self) -> Result<HeaderMap, String> {
        let Some(service) = &self.service else { return Ok(HeaderMap::new()) };
        let path = &service.headers_file;
        let text = std::fs::read_to_string(path).map_err(|error| {
            let place = "credentials.service.headers_file";
            format!("{}: can't be read: {error}; {place} must name a readable file", path.display())
        })?;
        parse(path, &text)
    }
}

fn parse(path: &Path, text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let mend = || format!("{}:{}: write a header as `name: value`", path.display(), index + 1);
        let (name, value) = line.split_once(':').ok_or_else(mend)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| mend())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| mend())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_headers_are_read_and_a_mistake_names_the_line_and_no_value() {
        let path = Path::new("h");
        let headers = parse(path, "x-api-key: s3cret\n\nx-user-id:u\n").unwrap();
        assert_eq!(headers.get("x-api-key").unwrap(), "s3cret");
        assert!(!format!("{headers:?}").contains("s3cret"));
        let error = parse(path, "x: y\ns3cret\n").unwrap_err();
        assert_eq!(error, "h:2: write a header as `name: value`");
    }
}
