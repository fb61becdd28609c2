//! The crates that a command is made of, as cargo knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::architecture::Architecture;
use super::shipped::Shipped;

/// Each crate by its reference, `name@version`.
pub(super) type Crates = BTreeMap<String, Crate>;

/// A crate as `cargo tree` shows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    pub(super) license: String,
    pub(super) depends_on: BTreeSet<String>,
}

/// Which crates are asked for.
#[derive(Clone, Copy)]
pub(super) enum Edges {
    /// All that take part in the build.
    Built,
    /// Those in the binary.
    Linked,
}

/// The crates of a command, and the reference of its own.
///
/// # Errors
///
/// If cargo fails, or prints what is not expected here.
pub(super) fn tree(
    repository: &Path,
    shipped: &Shipped,
    architecture: Architecture,
    edges: Edges,
) -> Result<(Crates, String)> {
    let edges = match edges {
        Edges::Built => "normal,build",
        Edges::Linked => "normal,no-proc-macro",
    };
    let text = output(Command::new("cargo").current_dir(repository).args([
        "tree",
        "--quiet",
        "--locked",
        "--package",
        shipped.name,
        "--target",
        &architecture.triple(),
        "--edges",
        edges,
        "--prefix",
        "depth",
        "--format",
        "{p}\t{l}",
    ]))?;
    parse(&text)
}

/// The crates of `cargo tree --prefix depth`, and the reference of the one at its root.
fn parse(tree: &str) -> Result<(Crates, String)> {
    let mut crates = Crates::new();
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines() {
        let context = || format!("unexpected line of cargo tree: {line:?}");
        let name_at = line.find(|c: char| !c.is_ascii_digit()).with_context(context)?;
        let depth: usize = line[..name_at].parse().with_context(context)?;
        let (package, license) = line[name_at..].split_once('\t').with_context(context)?;
        let mut words = package.split(' ');
        let name = words.next().with_context(context)?;
        let version = words
            .next()
            .and_then(|word| word.strip_prefix('v'))
            .with_context(context)?;
        let reference = format!("{name}@{version}");
        ensure!(depth <= above.len(), context());
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| crates.get_mut(parent)) {
            parent.depends_on.insert(reference.clone());
        }
        let license = license.strip_suffix(" (*)").unwrap_or(license).to_owned();
        crates.entry(reference.clone()).or_default().license = license;
        above.push(reference);
    }
    let root = above.into_iter().next().context("cargo tree printed nothing")?;
    Ok((crates, root))
}

/// What a command prints, if it succeeds.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_gives_crates_and_what_they_depend_on() {
        let tree = "0a v1.0.0 (/src/a)\tMIT\n\
                    1b v0.2.0\tMIT/Apache-2.0\n\
                    2c v3.0.0+x (proc-macro)\t\n\
                    1c v3.0.0+x (proc-macro)\t (*)\n\
                    1d v0.1.0\tISC\n";
        let (crates, root) = parse(tree).expect("it is a tree");
        assert_eq!(root, "a@1.0.0");
        let on = |reference: &str| {
            crates[reference]
                .depends_on
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(on("a@1.0.0"), ["b@0.2.0", "c@3.0.0+x", "d@0.1.0"]);
        assert_eq!(on("b@0.2.0"), ["c@3.0.0+x"]);
        assert_eq!(on("c@3.0.0+x"), [] as [&str; 0]);
        assert_eq!(crates["c@3.0.0+x"].license, "");
        assert_eq!(crates["d@0.1.0"].license, "ISC");
        for wrong in ["", "a v1\tMIT", "0a\tMIT", "0a v1", "1a v1\tMIT"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
