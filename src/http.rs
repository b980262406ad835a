//! The small JSON-over-HTTP client that the back ends and authn share.
