//! What is sent, and which requests that is by the program's own reading.

use super::framing;
use super::stream::{Reading, Stream};

/// What every body is, for all handlers that want one.
pub(crate) const BODY: &str =
    r#"{"agent_id":"a1","agent_name":"a1","name":"n","source":"slack","forward_path":"/f"}"#;

/// What marks a request on its way to the server: the sidecar asks for known encodings only where
/// it intercepts, and its own calls ask for `identity`.
pub(crate) const ENCODINGS: &str = "gzip, x-differential";

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Its name, which the `x-case` of its first request carries.
    pub(crate) name: String,
    pub(crate) sent: Sent,
    /// The requests that may reach a handler, once each, in this order.
    pub(crate) allowed: Vec<String>,
    /// What a handler must read, where it is one request.
    pub(crate) body: Option<Vec<u8>>,
    /// Whether a handler that creates or deletes may run: not for what does not end as a request.
    pub(crate) whole: bool,
}

/// What is sent of a case, and how.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Bytes {
        /// Sent one after the other; each but the first after an answer, or a while.
        pieces: Vec<Vec<u8>>,
        /// Whether a connection is for this case alone, and its sending side closed afterwards.
        alone: bool,
    },
    /// One request of HTTP/2.
    Stream(Stream),
}

impl Case {
    /// One request on a connection that others use too.
    pub(crate) fn spelling(name: String, bytes: Vec<u8>) -> Self {
        Self::body(name, bytes, BODY.into())
    }

    /// One request with that body.
    pub(crate) fn body(name: String, bytes: Vec<u8>, body: Vec<u8>) -> Self {
        let sent = Sent::Bytes { pieces: vec![bytes], alone: false };
        Self { allowed: vec![name.clone()], sent, body: Some(body), whole: true, name }
    }

    /// Bytes on a connection of their own, which are the requests that [`framing`] finds in them.
    pub(crate) fn framed(name: String, pieces: Vec<Vec<u8>>) -> Self {
        let allowed = framing::requests(&pieces.concat());
        Self { allowed, sent: Sent::Bytes { pieces, alone: true }, body: None, whole: true, name }
    }

    /// What [`Stream::reading`] says that it is.
    pub(crate) fn stream(name: String, stream: Stream) -> Self {
        let reading = stream.reading();
        let allowed = if reading == Reading::Malformed { vec![] } else { vec![name.clone()] };
        let (body, whole) = (Some(stream.body()), reading == Reading::Whole);
        Self { allowed, sent: Sent::Stream(stream), body, whole, name }
    }

    /// Whether it is sent over HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sent, Sent::Stream(_))
    }

    /// Whether the first request's answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        matches!(&self.sent, Sent::Bytes { pieces, .. } if pieces[0].starts_with(b"HEAD "))
    }

    /// Whether its first request is one whose upgrade can pass: a GET whose body is not framed.
    pub(crate) fn may_upgrade(&self) -> bool {
        let Sent::Bytes { pieces, .. } = &self.sent else { return false };
        let text = String::from_utf8_lossy(&pieces.concat()).to_ascii_lowercase();
        let text = text.replace("\r\n", "\n");
        let head = text.split("\n\n").next().unwrap_or_default();
        let framed = ["\ncontent-length:", "\ntransfer-encoding:"];
        head.starts_with("get ") && !framed.iter().any(|name| head.contains(name))
    }

    /// What is sent, for a reader.
    pub(crate) fn shown(&self) -> String {
        match &self.sent {
            Sent::Bytes { pieces, .. } => {
                let pieces = pieces.iter().map(|piece| piece.escape_ascii().to_string());
                pieces.collect::<Vec<_>>().join(" | ")
            }
            Sent::Stream(stream) => stream.shown(),
        }
    }
}

/// The headers that every request has: who asks, and what is traced.
pub(crate) fn headers(name: &str) -> String {
    format!(
        "host: keys\r\nx-user-id: alice\r\nx-case: {name}\r\naccept-encoding: {ENCODINGS}\r\n\
         content-type: application/json\r\n"
    )
}
