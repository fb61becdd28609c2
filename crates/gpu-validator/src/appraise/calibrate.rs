//! `gpu-validator calibrate`: derives a class's expected figures from sessions with trusted devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use appraisal::Subject;
use appraisal::calibrate::{Observation, calibrate, observations};
use appraisal::policy::Policy;
use appraisal::profile::Profile;
use appraisal::profiles::Profiles;
use clap::Args;
use cli::{Exit, OutputFile, OutputPath, RecomputeOptions, input_path, print_bytes};
use evidence_check::Refusal;
use protocol::evidence::Evidence;
use verifier::outcome::Outcome;

use super::read_verified;
use crate::classes;
use crate::evidence::BudgetOptions;
use crate::judge::{ProfileOptions, VouchOptions};
use crate::refusal::{self, Form};

/// Options of `gpu-validator calibrate`.
#[derive(Args)]
#[command(
    after_help = "The sessions are verified first. Each must be affirmed, be of a device that you know is what it says, and \
    be a standard session with the device otherwise idle. The profile's other figures stay; for a class of your own, write \
    its datasheet's into FOLDER/NAME.toml first and name the folder with --profiles.\n\n\
    Exit codes: 0 done, 1 a session is contraindicated or its evidence refused, 2 anything else; nothing is written then.\n\n\
    Examples:\n  \
    gpu-validator calibrate --class h200 h200/*.cbor -o profiles/h200.toml\n  \
    gpu-validator calibrate --class x1 --profiles profiles sessions/*.cbor --content 0.99"
)]
pub(crate) struct CalibrateOptions {
    /// Evidence of trusted sessions
    #[arg(required = true, value_parser = input_path())]
    evidence: Vec<PathBuf>,

    /// The class of the devices
    #[arg(long, value_name = "NAME")]
    class: String,

    #[command(flatten)]
    profiles: ProfileOptions,

    #[command(flatten)]
    vouch: VouchOptions,

    /// Share of the class's devices that is to be within the limits, 0.5 to 0.9999
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    content: f64,

    /// Confidence that this share is within them, 0.5 to 0.9999
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    confidence: f64,

    /// Write the profile to this file, NAME.toml, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<OutputPath>,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    budget: BudgetOptions,
}

pub(crate) fn run(options: &CalibrateOptions) -> anyhow::Result<Exit> {
    let profiles = options.profiles.read()?;
    let base =
        classes::find(&profiles, &options.class).context("write the datasheet's figures into a profile first")?;
    if let Some(path) = &options.output {
        // A profile could not be read again from a file of another name.
        let expected = format!("{}.toml", base.name);
        ensure!(
            path.file_name().is_some_and(|name| name == expected.as_str()),
            "{} is not named {expected}, as the profile's file must be",
            path.display()
        );
    }
    let create = |path: &OutputPath| OutputFile::create(path, "a profile");
    let output = options.output.as_ref().map(create).transpose()?;
    let mut list = Vec::new();
    let mut seen: BTreeMap<[u8; 32], &Path> = BTreeMap::new();
    for path in &options.evidence {
        match observe(path, base, &profiles, options)? {
            Ok((session, found)) => {
                if let Some(first) = seen.insert(session, path) {
                    bail!(
                        "{} and {} are the same session: each counts once",
                        first.display(),
                        path.display()
                    );
                }
                list.extend(found);
            }
            Err(Unfit::Refused(refusal)) => return refusal::tell(&refusal, path, Form::Nothing),
            Err(Unfit::Failed(why)) => {
                cli::tell(format_args!("refused: {why}"));
                return Ok(Exit::Contraindicated);
            }
        }
    }
    let profile = calibrate(base, &list, options.content, options.confidence)?;
    let text = profile.to_toml();
    // Checks that the written profile can be read again.
    Profile::parse(&format!("{}.toml", profile.name), &text).context("the calibrated profile contradicts itself")?;
    match output {
        Some(file) => file.write(text.as_bytes())?,
        // A profile is read again, byte for byte.
        None => print_bytes(text.as_bytes())?,
    }
    if let (Some(measured), Some(note)) = (&profile.measured, &profile.source.note) {
        cli::tell(format_args!(
            "{}: {} observations, k = {}; {note}",
            profile.name, measured.sessions, measured.inner_dim
        ));
    }
    Ok(Exit::Affirmed)
}

/// The nonce of a session and the observations of its devices of the class; the inner error says why the session is not
/// used.
type Observed = Result<([u8; 32], Vec<Observation>), Unfit>;

/// A session that is not used.
enum Unfit {
    /// Its evidence is refused.
    Refused(Refusal),
    /// It was contraindicated.
    Failed(String),
}

fn observe(path: &Path, base: &Profile, profiles: &Profiles, options: &CalibrateOptions) -> anyhow::Result<Observed> {
    let name = path.display();
    let judge = |evidence: &Evidence| Ok(options.vouch.judge(&Policy::default(), evidence)?);
    let (verified, sealed, judge) =
        match read_verified(path, judge, &options.budget.recompute(&options.recompute), false)? {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(Unfit::Refused(refusal))),
        };
    let session = &verified.session;
    match Outcome::new(&verified.evidence, session, &judge, None) {
        Outcome::Affirmed(_) => {}
        Outcome::Contraindicated { message, .. } => {
            return Ok(Err(Unfit::Failed(format!("session {name} failed: {message}"))));
        }
        Outcome::CouldNotRun { message, .. } => bail!("session {name} could not run: {message}"),
        Outcome::None(why) => bail!("session {name}: {why}"),
    }
    let hello = session.hello().context("an affirmed session without HELLO")?;
    for offer in &hello.devices {
        let stated = profiles.stated(&offer.engine, &offer.model);
        ensure!(
            stated.iter().any(|profile| profile.name == base.name),
            "session {name}: device {} says that it is a {:?}, which is no {}",
            offer.ordinal,
            offer.model,
            base.name
        );
    }
    let found = observations(&Subject::from((&verified, &sealed[..])), &judge);
    ensure!(
        !found.is_empty(),
        "session {name} says nothing of rates: it has no clock, or no iteration with k of at least 4096"
    );
    let nonce = appraisal::nonce(session).context("an affirmed session without NONCE")?;
    Ok(Ok((nonce.0, found)))
}
