//! W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>): which trace a request
//! belongs to, for the `trace_id` of its span. Pure; the header itself is passed on as it came.

use std::fmt;

use http::HeaderMap;

/// The part of `traceparent` that all spans of a trace share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A parsed `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// Which trace.
    pub trace: TraceId,
    /// The caller's span in it.
    pub parent: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// The context of a request. None without exactly one valid header: one that can be read two
    /// ways is no context (§3.2.2).
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.to_str().ok()?)
    }

    /// Reads a `traceparent` value (§3.2.2). A later version may have more fields than the four of
    /// version 00, which are read all the same; `ff` is no version, and ids are not zero.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace = hex(fields.next()?, 32).filter(|id| *id != 0)?;
        let parent = hex(fields.next()?, 16).filter(|id| *id != 0)?;
        let flags = hex(fields.next()?, 2)?;
        let more = fields.next().is_some();
        if version == 0xff || (version == 0 && more) {
            return None;
        }
        let parent = u64::try_from(parent).ok()?;
        Some(Self { trace: TraceId(trace), parent, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(lower);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example_is_read() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        let leading = GOOD.replace("4bf92f35", "00000001").replace("-01", "-02");
        let context = TraceContext::parse(&leading).unwrap();
        assert_eq!(context.trace.to_string(), "0000000177b34da6a3ce929d0e0e4736");
        assert!(!context.sampled);
    }

    #[test]
    fn a_later_version_is_read_with_what_follows() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(GOOD));
        assert_eq!(TraceContext::parse(&format!("{later}-more")), TraceContext::parse(GOOD));
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        let zero = |from: &str| GOOD.replace(from, &"0".repeat(from.len()));
        for bad in [
            String::new(),
            "-".into(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-more"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            GOOD.replacen("00-", "00", 1),
            GOOD.replace("-01", "-1"),
            GOOD.replace("-01", "-+1"),
            GOOD.replace("-01", ""),
            zero("4bf92f3577b34da6a3ce929d0e0e4736"),
            zero("00f067aa0ba902b7"),
        ] {
            assert_eq!(TraceContext::parse(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn two_headers_are_no_context() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(TraceContext::of(&headers), TraceContext::parse(GOOD));
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(TraceContext::of(&headers), None);
    }
}
