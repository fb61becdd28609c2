//! The output of --help for every subcommand of both commands: compared with snapshots, with a format that can be pasted,
//! and with the guide.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{Place, assert_snapshot, attester, text};

/// Every subcommand that the help of its parent lists.
fn subcommands(program: &Path, place: &Place, path: &[String]) -> Vec<Vec<String>> {
    let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = text(&place.run(program, &arguments).stdout);
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default().to_owned();
    let names = listed.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    let below = names.flat_map(|name| subcommands(program, place, &[path, &[name.to_owned()]].concat()));
    [path.to_vec()].into_iter().chain(below).collect()
}

/// The help of a program and of all its subcommands.
fn every_help(program: &Path) -> String {
    let place = Place::new();
    let mut every = String::new();
    for path in subcommands(program, &place, &[]) {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = text(&place.run(program, &arguments).stdout);
        let Some((_, examples)) = help.split_once("Examples:\n") else {
            panic!("{path:?} has no examples: {help}");
        };
        // Examples can be pasted: each line is a command.
        for line in examples.lines() {
            assert!(line.chars().count() <= 95, "{path:?}: {line}");
            let is_command = line.trim_start().starts_with("gpu-") || line.is_empty();
            assert!(is_command, "{path:?}: broken at {line}");
        }
        let name = program.file_name().expect("a name").display();
        every += &format!("$ {name} {}\n{help}\n", arguments.join(" "));
    }
    every
}

#[test]
fn every_help_says_what_it_did() {
    assert_snapshot("help-of-gpu-attestor", &every_help(attester()));
    let validator = Path::new(env!("CARGO_BIN_EXE_gpu-validator"));
    let every = every_help(validator);
    // The usual build: other builds have a different help about engines.
    if !cfg!(feature = "cuda") {
        assert_snapshot("help-of-gpu-validator", &every);
    }
}

/// The options in a text, in order of their names: `--name` at the beginning of a word.
fn options<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
    let options = words.filter(|word| {
        word.strip_prefix("--")
            .is_some_and(|name| !name.is_empty() && !name.starts_with('-'))
    });
    options.map(str::to_owned).collect()
}

#[test]
fn the_guide_has_every_option_and_no_other() {
    let place = Place::new();
    let mut known = BTreeSet::new();
    for program in [attester(), Path::new(env!("CARGO_BIN_EXE_gpu-validator"))] {
        for path in subcommands(program, &place, &[]) {
            let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
            let help = text(&place.run(program, &arguments).stdout);
            // An option's own line begins with it; the rest of the line may name others.
            let own = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
            known.extend(options(own.map(|line| line.split("  ").next().unwrap_or(line))));
        }
    }
    known.retain(|option| option != "--help" && option != "--version");
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/tuning.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let (_, after) = guide.split_once("\n## Options\n").expect("its section of options");
    let (section, _) = after.split_once("\n## ").expect("the section after it");
    let rows = section.lines().filter(|line| line.starts_with("| `--"));
    let written = options(rows.filter_map(|row| row.split('|').nth(1)));
    assert_eq!(written, known);
}
