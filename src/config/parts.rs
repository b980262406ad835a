//! The parts of the file that no component owns.

mod credentials;
mod network;

pub use self::credentials::{AdminCredentials, Credentials, ServiceCredentials};
pub use self::network::Address;
