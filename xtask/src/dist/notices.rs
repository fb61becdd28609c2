//! The licence texts and notices of the crates in a binary: most licences want them with every copy of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::architecture::Architecture;
use super::crates::{self, Crates, Edges, output};
use super::shipped::Shipped;

/// The name of the file in every archive, package and wheel.
pub(super) const FILE: &str = "THIRD-PARTY-NOTICES.txt";

/// The notices of everything that is linked into these commands.
///
/// # Errors
///
/// If cargo fails, or the source of a crate cannot be read.
pub(super) fn of(repository: &Path, commands: &[&Shipped], architecture: Architecture) -> Result<String> {
    let mut linked = Crates::new();
    for &shipped in commands {
        linked.extend(crates::tree(repository, shipped, architecture, Edges::Linked)?.0);
    }
    let sources = sources(repository)?;
    let mut found = Vec::new();
    for (reference, one) in linked {
        // The crates of this repository have its own licence, which is beside this file.
        if let Some(source) = sources.get(&reference) {
            let texts = texts(source).with_context(|| source.display().to_string())?;
            found.push((reference, one.license, texts));
        }
    }
    Ok(format(&found))
}

/// A crate's reference, its licences and their texts.
type Found = (String, String, Vec<String>);

fn format(found: &[Found]) -> String {
    let mut crates_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut out = String::from("What is linked into the programs of this release, and under which licences.\n\n");
    for (reference, license, texts) in found {
        let without = if texts.is_empty() {
            "; its source has no text of it"
        } else {
            ""
        };
        let _ = writeln!(out, "{reference}: {license}{without}");
        for text in texts {
            crates_of.entry(text).or_default().push(reference);
        }
    }
    out.push_str(
        "\nRust's standard library: MIT OR Apache-2.0\n\
         zig's compiler-rt and start files: MIT; LLVM's libunwind: Apache-2.0 WITH LLVM-exception\n\n\
         The texts of MIT and Apache-2.0 are also in LICENSE-MIT and LICENSE-APACHE.\n",
    );
    for (text, crates) in crates_of {
        let _ = write!(
            out,
            "\n{}\n{}\n\n{}\n",
            "=".repeat(80),
            crates.join(", "),
            text.trim_end()
        );
    }
    out
}

/// The folder of each crate's source by the crate's reference; crates of this repository are left out.
fn sources(repository: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let text = output(Command::new("cargo").current_dir(repository).args([
        "metadata",
        "--quiet",
        "--locked",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut sources = BTreeMap::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let text = |key: &str| {
            package[key]
                .as_str()
                .with_context(|| format!("cargo metadata: a package without {key}"))
        };
        let folder = Path::new(text("manifest_path")?)
            .parent()
            .context("a manifest lies in a folder")?;
        sources.insert(format!("{}@{}", text("name")?, text("version")?), folder.to_owned());
    }
    Ok(sources)
}

/// The texts of licences and notices in the folder of a crate's source.
fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let is_notice = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_notice && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let text = |file: &PathBuf| Ok(String::from_utf8_lossy(&fs::read(file)?).replace("\r\n", "\n"));
    files.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_printed_once_with_all_its_crates() {
        let found = [
            (
                "a@1.0.0".to_owned(),
                "MIT".to_owned(),
                vec!["text of A".to_owned(), "notice".to_owned()],
            ),
            ("b@0.2.0".to_owned(), "ISC".to_owned(), vec!["text of A".to_owned()]),
            ("c@0.1.0".to_owned(), "MIT".to_owned(), vec![]),
        ];
        let text = format(&found);
        assert_eq!(text.matches("text of A").count(), 1);
        assert!(text.contains("a@1.0.0, b@0.2.0\n\ntext of A\n"), "{text}");
        assert!(text.contains("a@1.0.0\n\nnotice\n"), "{text}");
        assert!(text.contains("c@0.1.0: MIT; its source has no text of it\n"), "{text}");
    }

    #[test]
    fn the_notices_of_a_command_have_its_crates_and_no_others() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        let [attestor, _] = &super::super::shipped::COMMANDS;
        let text = of(repository, &[attestor], Architecture::ALL[0]).expect("cargo knows its crates");
        assert!(text.contains("\nblake3@") && text.contains("Apache License"), "{text}");
        assert!(!text.contains("\nprotocol@"), "a crate of this repository");
        assert!(!text.contains("\ninsta@"), "a crate of the tests alone");
    }
}
