//! What a binary is made of, as CycloneDX: crates, Rust's standard library, and what zig links into it.
//!
//! Own code, since cargo-cyclonedx reads `cargo metadata`, which unifies the features of the whole workspace: it would list
//! crates that are not in the binary, and it knows neither the standard library nor zig's part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::architecture::Architecture;
use super::checksum::hex_of_sha256;
use super::crates::{self, Crate, Edges, output};
use super::shipped::Shipped;

/// Writes the SBOM of a binary.
///
/// # Errors
///
/// If cargo or rustc fails, prints what is not expected here, or the file cannot be written.
pub(super) fn write(
    repository: &Path,
    shipped: &Shipped,
    architecture: Architecture,
    binary: &Path,
    file: &Path,
) -> Result<()> {
    let (all, root) = crates::tree(repository, shipped, architecture, Edges::Built)?;
    let (linked, _) = crates::tree(repository, shipped, architecture, Edges::Linked)?;
    let lock = fs::read_to_string(repository.join("Cargo.lock")).context("Cargo.lock")?;
    let checksums = checksums(&lock);

    let mut components: Vec<Value> = all
        .iter()
        .filter(|(reference, _)| **reference != root)
        .map(|(reference, one)| component(reference, one, linked.contains_key(reference), checksums.get(reference)))
        .collect();
    let toolchain = [rust_std(repository)?, zig(repository)?];
    let depends_on: BTreeSet<&str> = toolchain.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
    let dependencies: Vec<Value> = all
        .iter()
        .map(|(reference, one)| {
            let mut on: BTreeSet<&str> = one.depends_on.iter().map(String::as_str).collect();
            if *reference == root {
                on.extend(&depends_on);
            }
            json!({ "ref": reference, "dependsOn": on })
        })
        .collect();
    components.extend(toolchain.iter().cloned());
    let (name, version) = split(&root)?;
    let sbom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": version,
                "licenses": [{ "expression": all[&root].license }],
                "hashes": [{ "alg": "SHA-256", "content": hex_of_sha256(&fs::read(binary)?) }],
            },
            "properties": [{ "name": "gpu-attestor:target", "value": architecture.triple() }],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_string_pretty(&sbom)?;
    text.push('\n');
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// A crate that is not linked has taken part in the build: a build script, a procedural macro, or a dependency of one.
fn component(reference: &str, one: &Crate, is_linked: bool, checksum: Option<&String>) -> Value {
    let (name, version) = reference.split_once('@').unwrap_or((reference, ""));
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "scope": if is_linked { "required" } else { "excluded" },
    });
    if !one.license.is_empty() {
        // Crates from before SPDX expressions have a slash for OR.
        let license: Vec<&str> = one.license.split('/').map(str::trim).collect();
        component["licenses"] = json!([{ "expression": license.join(" OR ") }]);
    }
    // Crates of this repository have no checksum, and are not published.
    if let Some(checksum) = checksum {
        component["purl"] = json!(format!("pkg:cargo/{reference}"));
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn rust_std(repository: &Path) -> Result<Value> {
    let text = output(Command::new("rustc").current_dir(repository).arg("--version"))?;
    let version = text
        .split_whitespace()
        .nth(1)
        .context("rustc --version names no version")?;
    Ok(json!({
        "type": "library",
        "bom-ref": format!("rust-std@{version}"),
        "name": "rust-std",
        "version": version,
        "description": "Rust's standard library",
        "scope": "required",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    }))
}

fn zig(repository: &Path) -> Result<Value> {
    let pinned = fs::read_to_string(repository.join("xtask/zig.txt")).context("xtask/zig.txt")?;
    let version = pinned
        .strip_prefix("ziglang==")
        .and_then(|text| text.split_whitespace().next())
        .context("xtask/zig.txt does not begin with ziglang==VERSION")?;
    Ok(json!({
        "type": "library",
        "bom-ref": format!("ziglang@{version}"),
        "name": "ziglang",
        "version": version,
        "description": "LLVM's libunwind and zig's compiler-rt and start files, linked into the binary",
        "purl": format!("pkg:pypi/ziglang@{version}"),
        "scope": "required",
        "licenses": [{ "expression": "MIT AND Apache-2.0 WITH LLVM-exception" }],
    }))
}

/// The checksums of `Cargo.lock` by the reference of the crate.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let value = |entry: &str, key: &str| {
        entry.lines().find_map(|line| {
            Some(
                line.strip_prefix(key)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')?
                    .to_owned(),
            )
        })
    };
    lock.split("[[package]]")
        .filter_map(|entry| {
            let (name, version) = (value(entry, "name")?, value(entry, "version")?);
            Some((format!("{name}@{version}"), value(entry, "checksum")?))
        })
        .collect()
}

fn split(reference: &str) -> Result<(&str, &str)> {
    reference
        .split_once('@')
        .with_context(|| format!("{reference} has no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"0.2.0\"\nsource = \"registry\"\nchecksum = \"ff\"\n";
        assert_eq!(
            checksums(lock),
            BTreeMap::from([("b@0.2.0".to_owned(), "ff".to_owned())])
        );
    }
}
