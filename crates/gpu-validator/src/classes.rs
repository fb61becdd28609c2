//! `gpu-validator classes` and `gpu-validator profile`: the classes of devices that are known.

use anyhow::Context;
use appraisal::expected::Expected;
use appraisal::policy::Policy;
use appraisal::profile::{Profile, Status};
use appraisal::profiles::Profiles;
use clap::{Args, Subcommand};
use cli::{Exit, print_json, print_text};
use report::figure::CertifiedFigures;
use serde::Serialize;
use verifier::preset::{DEFAULT_ERROR_BITS, default_assumptions};
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use crate::judge::ProfileOptions;

/// Options of `gpu-validator classes`.
#[derive(Args)]
#[command(
    after_help = "The certified figures are computed for a flawless, idle device in a session of the standard preset: by default \
    (the worst hardware on sale is assumed), and with --policy CLASS (the links are the class's own).\n\n\
    Examples:\n  \
    gpu-validator classes\n  \
    gpu-validator classes --profiles profiles --json"
)]
pub(crate) struct Options {
    #[command(flatten)]
    profiles: ProfileOptions,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What can be done with profiles.
#[derive(Subcommand)]
pub(crate) enum ProfileCommand {
    /// Print the profile of a class: figures, limits, their sources
    #[command(after_help = "Examples:\n  \
        gpu-validator profile show h200\n  \
        gpu-validator profile show a100-80 > profiles/a100-80.toml")]
    Show {
        /// The class
        class: String,

        #[command(flatten)]
        profiles: ProfileOptions,
    },
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let profiles = options.profiles.read()?;
    let rows: Vec<Row<'_>> = profiles.iter().map(Row::of).collect();
    if options.json {
        print_json(&ClassList {
            classes: rows.iter().map(Row::report).collect(),
        })?;
    } else {
        print_text(table(&rows))?;
    }
    Ok(Exit::Affirmed)
}

pub(crate) fn profile(command: &ProfileCommand) -> anyhow::Result<Exit> {
    let ProfileCommand::Show { class, profiles } = command;
    print_text(find(&profiles.read()?, class)?.to_toml())?;
    Ok(Exit::Affirmed)
}

/// The class of this name, whatever its case.
///
/// # Errors
///
/// The known names.
pub(crate) fn find<'a>(profiles: &'a Profiles, name: &str) -> anyhow::Result<&'a Profile> {
    profiles.named(name).with_context(|| {
        let known: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        format!("no class {name:?}; known are {}", known.join(", "))
    })
}

/// The status that a profile gives its class.
pub(crate) fn status(class: &Profile) -> &'static str {
    match class.status {
        Status::Measured => "measured",
        Status::Datasheet => "datasheet",
    }
}

/// The known classes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ClassList<'a> {
    /// The classes.
    classes: Vec<ClassReport<'a>>,
}

/// A class, and what a session of the standard preset can certify of a flawless device of it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ClassReport<'a> {
    /// Its name.
    name: &'a str,
    /// Its name for people.
    title: &'a str,
    /// Where its figures come from.
    status: Status,
    /// Memory of a device, bytes; null for a class without figures.
    memory_bytes: Option<u64>,
    /// Bandwidth of that memory, bytes/s; null for a class without figures.
    bandwidth_bytes_per_s: Option<u64>,
    /// Peak int8 rate, operations/s; null if it is not known.
    int8_ops_per_s: Option<u64>,
    /// Certified under the default assumptions; null for a class without figures.
    certified_by_default: Option<CertifiedFigures>,
    /// Certified under the assumptions of the class's own policy; null for a class without figures.
    certified_by_own_policy: Option<CertifiedFigures>,
}

/// A class, and what a session can show of it.
struct Row<'a> {
    profile: &'a Profile,
    /// Under the default assumptions, and under the class's own policy.
    certified: Option<[CertifiedFigures; 2]>,
}

impl<'a> Row<'a> {
    fn of(profile: &'a Profile) -> Self {
        let by_default = default_assumptions(DEFAULT_ERROR_BITS);
        let by_policy = Policy::for_class(profile).assumptions.applied_to(&by_default);
        let certified = |expected: Expected| [by_default, by_policy].map(|assumed| expected.certified(&assumed));
        Row {
            profile,
            certified: Expected::of(profile).map(certified),
        }
    }

    fn cells(&self) -> [String; 9] {
        let missing = || "-".to_owned();
        let of =
            |figure: Option<u64>, text: fn(u128) -> String| figure.map_or_else(missing, |figure| text(figure.into()));
        let capacity = self.profile.capacity.as_ref();
        let shown = |at: usize| {
            self.certified.as_ref().map_or([missing(), missing()], |certified| {
                [
                    of(certified[at].memory_bytes, bytes),
                    of(certified[at].bandwidth_bytes_per_s, bytes_per_s),
                ]
            })
        };
        let ([default_v, default_b], [policy_v, policy_b]) = (shown(0), shown(1));
        [
            self.profile.name.clone(),
            status(self.profile).to_owned(),
            of(capacity.map(|capacity| capacity.memory_bytes), bytes),
            of(capacity.map(|capacity| capacity.bandwidth_bytes_per_s), bytes_per_s),
            of(capacity.and_then(|capacity| capacity.int8_ops_per_s), ops_per_s),
            default_v,
            default_b,
            policy_v,
            policy_b,
        ]
    }

    fn report(&self) -> ClassReport<'_> {
        let profile = self.profile;
        let capacity = profile.capacity.as_ref();
        let [by_default, by_policy] = self.certified.map_or([None; 2], |certified| certified.map(Some));
        ClassReport {
            name: &profile.name,
            title: &profile.title,
            status: profile.status,
            memory_bytes: capacity.map(|capacity| capacity.memory_bytes),
            bandwidth_bytes_per_s: capacity.map(|capacity| capacity.bandwidth_bytes_per_s),
            int8_ops_per_s: capacity.and_then(|capacity| capacity.int8_ops_per_s),
            certified_by_default: by_default,
            certified_by_own_policy: by_policy,
        }
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let head = ["class", "figures", "memory", "bandwidth", "int8", "V", "B", "V", "B"].map(str::to_owned);
    let lines: Vec<[String; 9]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let line = |cells: &[String; 9]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let before = |column: usize| widths[..column].iter().map(|width| width + 2).sum::<usize>();
    let (first, second) = (before(5), before(7));
    let mut text = format!(
        "{:first$}{:<between$}with --policy CLASS\n",
        "",
        "by default",
        between = second - first
    );
    text.extend(lines.iter().map(line));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_whatever_its_case() {
        let profiles = Profiles::embedded();
        assert_eq!(find(&profiles, "H200").expect("the class").name, "h200");
        let unknown = find(&profiles, "h2000").expect_err("no such class").to_string();
        assert!(unknown.contains("h2000") && unknown.contains("a100-40, "), "{unknown}");
    }

    #[test]
    fn the_table_has_a_row_per_class_and_its_columns_are_aligned() {
        let profiles = Profiles::embedded();
        let rows: Vec<Row<'_>> = profiles.iter().map(Row::of).collect();
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 + profiles.iter().count());
        let at = |needle| lines[0].find(needle).expect("a heading");
        let (by_default, by_policy) = (at("by default"), at("with --policy"));
        assert!(lines[1][by_default..].starts_with('V') && lines[1][by_policy..].starts_with('V'));
        let h200 = lines.iter().find(|line| line.starts_with("h200")).expect("a row");
        assert!(h200[by_default..].starts_with("105.9 GiB"), "{h200}");
        assert!(h200[by_policy..].starts_with("129.7 GiB"), "{h200}");
    }
}
