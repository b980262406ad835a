//! Files to be judged: the project's, or a few made up by a test.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Paths from the project's root, and what is in them.
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Every text file that git tracks, or would if it were added.
    pub(crate) fn tracked() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&listed.stderr);
        assert!(listed.status.success(), "git ls-files: {error}");
        let paths = String::from_utf8(listed.stdout).unwrap();
        let read = |path: &str| {
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            Some((path.to_owned(), text))
        };
        let tree = Self(paths.split_terminator('\0').filter_map(read).collect());
        assert!(tree.text("src/lib.rs").is_some(), "no project at {}", root.display());
        tree
    }

    /// A tree of the given files.
    pub(crate) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.map(|(path, text)| (path.to_owned(), text.to_owned())).into())
    }

    /// All files, by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files below `src/`.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let source = |path: &str| {
            path.starts_with("src/") && Path::new(path).extension().is_some_and(|end| end == "rs")
        };
        self.files().filter(move |(path, _)| source(path))
    }

    /// What is in the file at `path`.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Whether there is a file or a directory at `path`.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let directory = format!("{}/", path.trim_end_matches('/'));
        self.0.keys().any(|file| file == path || file.starts_with(&directory)) || path.is_empty()
    }
}
