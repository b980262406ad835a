//! A request of HTTP/2 as a client sends it, right or wrong, and what RFC 9113 says that it is,
//! read independently of the sidecar.

use crate::support::http2::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

/// A flag of frames that begin with the length of their padding.
pub(crate) const PADDED: u8 = 0x8;

/// A name and a value, neither of which need be one.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// What is sent on a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Pseudo-headers and headers, in this order.
    pub(crate) head: Vec<Field>,
    /// The contents of its DATA frames.
    pub(crate) data: Vec<Vec<u8>>,
    /// Sent behind the data where there are any.
    pub(crate) trailers: Vec<Field>,
    /// As many bytes of padding has each frame that may have some.
    pub(crate) padding: Option<u8>,
    /// The head is cut into frames of so many bytes.
    pub(crate) cut: usize,
    /// Whether the head ends the stream, whatever follows.
    pub(crate) ends_early: bool,
    /// Whether there is a pause behind the head.
    pub(crate) pauses: bool,
}

/// What a [`Stream`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// Malformed from its head on: no handler may see it.
    Malformed,
    /// It begins as a request, and does not end as one: no handler may take it for whole.
    Broken,
    Whole,
}

impl Stream {
    /// Its frames on the stream of that number, in the pieces between which it pauses.
    pub(crate) fn frames(&self, stream: u32) -> Vec<Vec<u8>> {
        let last = if self.ends_early { usize::MAX } else { self.data.len() };
        let ends = |is: bool| if is { END_STREAM } else { 0 };
        let at_once = self.ends_early || (self.data.is_empty() && self.trailers.is_empty());
        let head = self.headers(stream, &self.head, ends(at_once));
        let mut rest = Vec::new();
        for (index, data) in self.data.iter().enumerate() {
            let flags = ends(index + 1 == last && self.trailers.is_empty());
            rest.extend(self.padded(DATA, flags, stream, data));
        }
        if !self.trailers.is_empty() {
            rest.extend(self.headers(stream, &self.trailers, END_STREAM));
        }
        if self.pauses && !rest.is_empty() { vec![head, rest] } else { vec![[head, rest].concat()] }
    }

    fn headers(&self, stream: u32, fields: &[Field], flags: u8) -> Vec<u8> {
        let block = block(fields);
        let mut cuts = block.chunks(self.cut).peekable();
        let first = cuts.next().unwrap_or_default();
        let ends = |more: bool| if more { 0 } else { END_HEADERS };
        let mut all = self.padded(HEADERS, flags | ends(cuts.peek().is_some()), stream, first);
        while let Some(cut) = cuts.next() {
            all.extend(frame(CONTINUATION, ends(cuts.peek().is_some()), stream, cut));
        }
        all
    }

    fn padded(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let Some(padding) = self.padding else { return frame(kind, flags, stream, payload) };
        let padded = [&[padding][..], payload, &vec![0; padding.into()]].concat();
        frame(kind, flags | PADDED, stream, &padded)
    }

    /// What a handler reads of it.
    pub(crate) fn body(&self) -> Vec<u8> {
        if self.ends_early { Vec::new() } else { self.data.concat() }
    }

    /// What it is, by RFC 9113 §8.
    pub(crate) fn reading(&self) -> Reading {
        let head =
            if block(&self.head).len() > self.cut { kept(&self.head) } else { self.head.clone() };
        let pseudo = head.iter().take_while(|(name, _)| name.starts_with(b":")).count();
        let (pseudo, headers) = head.split_at(pseudo);
        let lengths = headers.iter().filter(|(name, _)| name == b"content-length");
        let lengths: Option<Vec<_>> = lengths.map(|(_, value)| length(value)).collect();
        let (true, true, Some(lengths)) =
            (is_request(pseudo, headers), headers.iter().all(is_header), lengths)
        else {
            return Reading::Malformed;
        };
        let right = lengths.iter().all(|length| *length == self.body().len());
        // A pseudo-header among trailers is wrong too, but means nothing to anybody.
        let ends = self.trailers.iter().all(|field| field.0.starts_with(b":") || is_header(field));
        if right && (ends || self.ends_early) { Reading::Whole } else { Reading::Broken }
    }

    /// The first value of that name.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let mut known = self.head.iter().filter(|(known, _)| known == name.as_bytes());
        known.next().map(|(_, value)| value.as_slice())
    }

    /// It, for a reader.
    pub(crate) fn shown(&self) -> String {
        let fields = |fields: &[Field]| {
            let field =
                |(name, value): &Field| format!("{}={}", name.escape_ascii(), value.escape_ascii());
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        };
        let data: Vec<_> = self.data.iter().map(|data| data.escape_ascii().to_string()).collect();
        let Self { padding, cut, ends_early, pauses, .. } = self;
        format!(
            "HTTP/2 {} | {} | {} | padding={padding:?} cut={cut} ends_early={ends_early} \
             pauses={pauses}",
            fields(&self.head),
            data.join(","),
            fields(&self.trailers)
        )
    }
}

/// What is left of a head that comes in several frames: there h2 drops some fields for which it
/// should refuse the request. What nobody sees hurts nobody.
fn kept(head: &[Field]) -> Vec<Field> {
    let mut kept: Vec<Field> = Vec::new();
    for field in head {
        let known = |(known, _): &Field| *known == field.0 || !known.starts_with(b":");
        let misplaced = field.0.starts_with(b":") && kept.iter().any(known);
        if !misplaced && !is_of_hop(field) {
            kept.push(field.clone());
        }
    }
    kept
}

/// Whether the pseudo-headers and `Host` are those of one request (§8.3.1). Nothing is asked of the
/// scheme, which HTTP/1.1 does not tell, nor of a fragment, which no server sees.
fn is_request(pseudo: &[Field], headers: &[Field]) -> bool {
    let only = |name: &str| {
        let mut values = pseudo.iter().filter(|(known, _)| known == name.as_bytes());
        let value = values.next().map(|(_, value)| value.as_slice());
        (value, values.next().is_none())
    };
    let known = [":method", ":scheme", ":path", ":authority"];
    let all_known =
        pseudo.iter().all(|(name, _)| known.iter().any(|known| name == known.as_bytes()));
    if !all_known || !known.iter().all(|name| only(name).1) {
        return false;
    }
    let (Some(method), Some(_), Some(target)) =
        (only(":method").0, only(":scheme").0, only(":path").0)
    else {
        return false;
    };
    let path = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let visible = |text: &[u8]| text.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let rooted = path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS");
    let mut hosts = headers.iter().filter(|(name, _)| name == b"host").map(|(_, value)| value);
    let same = |host: &[u8]| only(":authority").0.is_none_or(|one| one.eq_ignore_ascii_case(host));
    is_token(method)
        && method != b"CONNECT"
        && rooted
        && visible(path)
        && only(":authority").0.is_none_or(|one| visible(one) && !one.contains(&b'@'))
        && hosts.next().is_none_or(|host| same(host))
        && hosts.next().is_none()
}

/// Whether a field may stand in a request (§8.2.1, §8.2.2).
fn is_header(field: &Field) -> bool {
    let (name, value) = field;
    is_token(name)
        && !name.iter().any(u8::is_ascii_uppercase)
        && !is_of_hop(field)
        && !value.iter().any(|byte| b"\0\r\n".contains(byte))
}

/// Whether it is a header of a connection of HTTP/1.1 (§8.2.2).
fn is_of_hop((name, value): &Field) -> bool {
    let own = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    own.iter().any(|own| name == own.as_bytes()) || (name == b"te" && value != b"trailers")
}

fn length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

fn is_token(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(fits)
}
