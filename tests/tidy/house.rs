//! What stands in the repository: its text files, its folders, its packages.

use crate::lexer::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not part of the repository, wherever they stand.
const SKIPPED: [&str; 4] = [".git", "target", "corpus", "artifacts"];

/// Files that are read: all that people write.
const READ: [&str; 6] = [".rs", ".md", ".toml", ".yml", ".sh", ".ci/run"];

/// The repository.
pub(crate) struct House {
    pub(crate) sources: Vec<Source>,
    /// Relative to the root, with `/`, without one at the end.
    pub(crate) folders: Vec<String>,
    /// Every file, read or not.
    pub(crate) files: Vec<String>,
}

impl House {
    pub(crate) fn load() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut house = Self { sources: Vec::new(), folders: Vec::new(), files: Vec::new() };
        house.enter(&root, "");
        assert!(house.rust().count() > 10, "the walk found the sources");
        house
    }

    fn enter(&mut self, folder: &Path, relative: &str) {
        let mut entries: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().into_string().unwrap();
            let path =
                if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    self.enter(&entry.path(), &path);
                    self.folders.push(path);
                }
                continue;
            }
            if READ.iter().any(|end| path.ends_with(end)) {
                let text = fs::read_to_string(entry.path()).unwrap();
                self.sources.push(Source::new(&path, &text));
            }
            self.files.push(path);
        }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.ends_with(".rs"))
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.ends_with("Cargo.toml"))
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        let source = self.sources.iter().find(|source| source.path == path);
        source.map_or("", |source| source.text.as_str())
    }
}
