//! What the packages are called and what they build on, read from their manifests.

use crate::lexer::Source;

/// One dependency of a package.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// For tests and benches alone.
    pub(crate) dev: bool,
    pub(crate) offset: usize,
}

/// A package's name; none for a manifest that is a workspace alone.
pub(crate) fn name_of(manifest: &Source) -> Option<&str> {
    let line = manifest.text.lines().find_map(|line| line.strip_prefix("name = "))?;
    Some(line.trim().trim_matches('"'))
}

/// The dependencies that a manifest lists, those of its workspace aside.
pub(crate) fn dependencies(manifest: &Source) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut offset = 0;
    for line in manifest.text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            section = trimmed.trim_matches(['[', ']']).to_owned();
            // A table of its own: [dependencies.name].
            if let Some((kind, name)) = section.split_once("dependencies.") {
                let dev = kind.ends_with("dev-");
                found.push(Dependency { name: bare(name), dev, offset });
            }
        } else if section.ends_with("dependencies")
            && !section.starts_with("workspace")
            && !trimmed.starts_with('#')
            && let Some((name, _)) = trimmed.split_once('=')
        {
            let name = name.split('.').next().unwrap_or(name);
            let dev = section.ends_with("dev-dependencies");
            found.push(Dependency { name: bare(name), dev, offset });
        }
        offset += line.len();
    }
    found
}

/// Lines that name the feature `feature`, but for those that say what it switches on: nobody gets
/// it without asking for it by its name.
pub(crate) fn implied(manifest: &Source, feature: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut section = "";
    let mut offset = 0;
    for line in manifest.text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            section = trimmed;
        }
        let own = trimmed.split('=').next().is_some_and(|name| bare(name) == feature);
        let says = section == "[features]" && own;
        if trimmed.contains(feature) && !trimmed.starts_with('#') && !says {
            found.push(manifest.at(offset, &format!("`{feature}` is switched on for others")));
        }
        offset += line.len();
    }
    found
}

fn bare(name: &str) -> String {
    name.trim().trim_matches('"').to_owned()
}

#[test]
fn dependencies_are_read_however_they_are_written() {
    let manifest = Source::new(
        "Cargo.toml",
        "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n# c = 1\n\
         d = { path = \"d\" }\n[dev-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\n\
         f = \"1\"\n[dependencies.g]\nversion = \"1\"\n[workspace.dependencies]\nh = \"1\"\n",
    );
    let found: Vec<_> =
        dependencies(&manifest).into_iter().map(|found| (found.name, found.dev)).collect();
    let expected = [("b", false), ("d", false), ("e", true), ("f", false), ("g", false)];
    assert_eq!(found, expected.map(|(name, dev)| (name.to_owned(), dev)));
    assert_eq!(name_of(&manifest), Some("a"));
}
