//! What is around the sidecar: the keys service, the back end, and a directory for its files.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Trouble;
use super::books::{Books, Broken};
use super::keys::Keys;
use super::provider::Provider;
use super::server::Server;

/// Both services, serving, and the sidecar's directory.
pub(super) struct World {
    /// The service behind the sidecar.
    pub(super) keys: Keys,
    /// The back end beside it.
    pub(super) provider: Provider,
    service: Server,
    back_end: Server,
    directory: Directory,
}

impl World {
    /// Opens both services on free ports of loopback.
    pub(super) async fn open() -> Result<Self, Trouble> {
        let stuck = |what: &str, error: io::Error| Trouble::Stuck(format!("{what}: {error}"));
        let (keys, provider) = (Keys::default(), Provider::default());
        let bound = Server::start(keys.router()).await;
        let service = bound.map_err(|error| stuck("the keys service", error))?;
        let bound = Server::start(provider.router()).await;
        let back_end = bound.map_err(|error| stuck("the back end", error))?;
        let directory = Directory::new();
        let directory = directory.map_err(|error| stuck("the directory for its files", error))?;
        Ok(Self { keys, provider, service, back_end, directory })
    }

    /// Where the keys service listens.
    pub(super) fn service(&self) -> SocketAddr {
        self.service.address()
    }

    /// Where the back end listens.
    pub(super) fn back_end(&self) -> SocketAddr {
        self.back_end.address()
    }

    /// Where the sidecar's configuration, journal and log are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// What both services hold now.
    pub(super) fn books(&self) -> Books {
        let rows = self.keys.rows().into_iter();
        let registrations = self.provider.registrations().into_iter();
        Books {
            rows: rows.map(|row| (row.id, row.agent_id.to_owned())).collect(),
            registrations: registrations
                .map(|found| {
                    let parent = found.parent.map(|parent| parent.to_string());
                    (found.resource.id.as_str().to_owned(), parent)
                })
                .collect(),
        }
    }

    /// The id of the key called `name`, if there is one.
    pub(super) fn key_called(&self, name: &str) -> Option<String> {
        self.keys.rows().into_iter().find(|row| row.name == name).map(|row| row.id)
    }

    /// No secret that the service ever made is in any file of the sidecar's. Gives how many
    /// secrets were looked for, and in how many files.
    pub(super) fn no_secret_at_rest(&self) -> Result<(usize, usize), Trouble> {
        let secrets = self.keys.secrets();
        let unreadable = |error| Trouble::Stuck(format!("the sidecar's files: {error}"));
        let mut files = 0;
        for entry in fs::read_dir(self.directory()).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let content = fs::read(&path).map_err(unreadable)?;
            let holds = |secret: &String| {
                content.windows(secret.len()).any(|window| window == secret.as_bytes())
            };
            if secrets.iter().any(holds) {
                let what = format!("a key's secret is in {}", path.display());
                return Err(Broken::new("P7", what).into());
            }
            files += 1;
        }
        Ok((secrets.len(), files))
    }
}

/// A directory for nobody else, removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let name = format!("authz-sidecar-demo-{}", Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What can't be removed is left to whoever cleans the system's temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
