//! What only a journal in PostgreSQL promises.
