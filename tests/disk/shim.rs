//! Builds the disk (shim.c) and puts it under a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is wrong with the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// The n-th sync fails.
    Sync(usize),
    /// Syncs of the directory fail.
    Names,
    /// There is no space from the n-th write on.
    Full(usize),
    /// Syncs do nothing, and say nothing.
    Lie,
    /// The file system is mounted for reading.
    ReadOnly,
    /// The files are somebody else's.
    Denied,
}

/// A disk under the journal in `directory`.
#[derive(Clone)]
pub(crate) struct Shim {
    pub(crate) directory: PathBuf,
    pub(crate) fault: Fault,
    /// Where everything is written down; then nothing is really synced.
    pub(crate) log: Option<PathBuf>,
    /// The fault strikes only once this file exists.
    pub(crate) trigger: Option<PathBuf>,
    /// How long a sync takes, in microseconds.
    pub(crate) delay: u32,
    /// Whether the log leaves out what is written: then it can't be replayed.
    pub(crate) is_terse: bool,
}

impl Shim {
    pub(crate) fn new(directory: &Path, fault: Fault) -> Self {
        let directory = directory.to_owned();
        Self { directory, fault, log: None, trigger: None, delay: 0, is_terse: false }
    }

    /// Writes down what happens.
    pub(crate) fn logging(mut self, log: PathBuf) -> Self {
        self.log = Some(log);
        self
    }

    /// Waits for that file before it counts towards the fault.
    pub(crate) fn triggered_by(mut self, file: PathBuf) -> Self {
        self.trigger = Some(file);
        self
    }

    /// The environment of the process.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let show = |path: &Path| path.to_str().unwrap().to_owned();
        let (fault, after) = match self.fault {
            Fault::None => ("", 0),
            Fault::Sync(n) => ("sync", n),
            Fault::Names => ("names", 0),
            Fault::Full(n) => ("full", n),
            Fault::Lie => ("lie", 0),
            Fault::ReadOnly => ("readonly", 0),
            Fault::Denied => ("denied", 0),
        };
        let mut environment = vec![
            ("LD_PRELOAD", show(library())),
            ("DISK_SHIM_DIRECTORY", show(&self.directory)),
            ("DISK_SHIM_FAULT", fault.to_owned()),
            ("DISK_SHIM_AFTER", after.to_string()),
            ("DISK_SHIM_DELAY_US", self.delay.to_string()),
        ];
        if self.is_terse {
            environment.push(("DISK_SHIM_TERSE", "1".into()));
        }
        environment.extend(self.log.as_deref().map(|log| ("DISK_SHIM_LOG", show(log))));
        environment.extend(self.trigger.as_deref().map(|file| ("DISK_SHIM_TRIGGER", show(file))));
        environment
    }
}

/// The preloaded library, built once per run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/shim.c");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(&directory).unwrap();
        let library = directory.join("disk_shim.so");
        // Built beside and moved, since another run may be using it.
        let fresh = directory.join(format!("disk_shim.{}.so", std::process::id()));
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"];
        let mut compiler = Command::new("cc");
        let built = compiler.args(flags).arg(&fresh).arg(&source).status().expect("cc runs");
        assert!(built.success(), "cc builds tests/disk/shim.c");
        std::fs::rename(&fresh, &library).unwrap();
        library
    })
}
