//! Problem answers (RFC 9457) for everything that the sidecar itself answers.
