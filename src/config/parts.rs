//! The parts of the file that components will own.

mod network;
mod principal;
mod saga;

pub use self::network::{Address, Forwarded, Limits, Network, Upstream};
pub use self::principal::{Authn, Cache, Credentials, Principal, ServiceCredentials};
pub use self::saga::{Agentex, Authz, Bounds, Journal, Memory};
