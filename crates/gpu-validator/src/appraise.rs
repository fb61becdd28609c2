//! `gpu-validator report`, `policy` and `result`: what evidence comes to under a policy, for people and Relying Parties.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use appraisal::key::{Algorithm, JwkSet};
use appraisal::key_ring::KeyRing;
use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::reason::Tier;
use appraisal::report;
use appraisal::result::{AttestationResult, Expectations, Issuance, verify_result};
use appraisal::{Appraisal, Subject, appraise};
use clap::{Args, Subcommand, ValueEnum};
use cli::{EvidenceFile, Exit, RecomputeOptions, SessionProgress, print_text};
use verifier::{VerifyError, verify};

/// What evidence is judged by.
#[derive(Args)]
struct JudgeOptions {
    /// The evidence; it is verified first
    evidence: PathBuf,

    /// The policy, TOML [default: the claim in HELLO must be consistent with its class]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Profiles of device classes that add to, or stand in for, the built-in ones
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    recompute: RecomputeOptions,
}

/// Options of `gpu-validator report`.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 affirming or warning, 1 contraindicated, 2 none.\n\n\
    Examples:\n  \
    gpu-validator report e.cbor -o report.html\n  \
    gpu-validator report e.cbor --format md --policy policy.toml")]
pub(crate) struct ReportOptions {
    #[command(flatten)]
    judge: JudgeOptions,

    /// html (one page, no network), md, json or junit
    #[arg(long, value_name = "FORMAT", default_value = "html")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Html,
    Md,
    Json,
    Junit,
}

/// What can be done with policies.
#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy; errors name line and key
    Check {
        /// The policy
        file: PathBuf,
    },
    /// Print the default policy, to begin one from
    Default,
}

/// What can be done with Attestation Results.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
    gpu-validator result keys keys/ --new\n  \
    gpu-validator result issue e.cbor --keys keys/ --audience market.example -o result.jwt\n  \
    gpu-validator result keys keys/ > jwks.json\n  \
    gpu-validator result verify result.jwt --jwks jwks.json --audience market.example")]
pub(crate) enum ResultCommand {
    /// Sign what evidence comes to: EAR as a JWT
    Issue(IssueOptions),
    /// Check a signed result
    Verify(VerifyOptions),
    /// Print the public keys of a folder of signing keys as a JWK set
    Keys {
        /// The folder
        folder: PathBuf,
        /// Make a new key that signs from here on; older ones stay in the set
        #[arg(long)]
        new: bool,
        /// Algorithm of a new key
        #[arg(long, value_name = "ALG", default_value = "eddsa")]
        algorithm: AlgorithmChoice,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AlgorithmChoice {
    /// Ed25519
    Eddsa,
    /// ECDSA on P-256
    Es256,
}

/// Options of `gpu-validator result issue`.
#[derive(Args)]
pub(crate) struct IssueOptions {
    #[command(flatten)]
    judge: JudgeOptions,

    /// Folder of signing keys, as `result keys` makes them
    #[arg(long, value_name = "FOLDER")]
    keys: PathBuf,

    /// For whom the result is
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Who issues it
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

/// Options of `gpu-validator result verify`.
#[derive(Args)]
pub(crate) struct VerifyOptions {
    /// The signed result
    result: PathBuf,

    /// The issuer's public keys, a JWK set
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,

    /// Who is asking: the result must be for this audience [default: for nobody in particular]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Who must have issued it
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

pub(crate) fn report(options: &ReportOptions) -> anyhow::Result<Exit> {
    judged(&options.judge, |appraisal| {
        Ok(match options.format {
            Format::Html => report::html(appraisal),
            Format::Md => report::markdown(appraisal),
            Format::Json => report::json(appraisal),
            Format::Junit => report::junit(appraisal),
        })
    })
}

pub(crate) fn policy(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read_policy(file, &Profiles::embedded())?;
            print_text(format_args!("{} is sound\n", policy.id()))?;
        }
        PolicyCommand::Default => print_text(Policy::default().to_toml())?,
    }
    Ok(Exit::Affirmed)
}

pub(crate) fn result(command: &ResultCommand) -> anyhow::Result<Exit> {
    match command {
        ResultCommand::Issue(options) => {
            let keys = KeyRing::load(&options.keys)?;
            let issuance = Issuance {
                issuer: options.issuer.clone(),
                audience: options.audience.clone(),
                ..Issuance::default()
            };
            judged(&options.judge, |appraisal| {
                Ok(AttestationResult::new(appraisal, &issuance).to_jwt(keys.signing()) + "\n")
            })
        }
        ResultCommand::Verify(options) => {
            let jwt = read_text(&options.result)?;
            let keys = JwkSet::parse(&read_text(&options.jwks)?)
                .with_context(|| format!("keys {}", options.jwks.display()))?;
            let expectations = Expectations {
                audience: options.audience.clone(),
                issuer: options.issuer.clone(),
                ..Expectations::default()
            };
            match verify_result(jwt.trim(), &keys, now_unix_ms()? / 1000, &expectations) {
                Ok(result) => {
                    print_text(format_args!("{}\n", serde_json::to_string_pretty(&result)?))?;
                    Ok(Exit::Affirmed)
                }
                Err(error) => {
                    eprintln!("refused: {error}");
                    Ok(Exit::Contraindicated)
                }
            }
        }
        ResultCommand::Keys { folder, new, algorithm } => {
            let algorithm = match algorithm {
                AlgorithmChoice::Eddsa => Algorithm::EdDsa,
                AlgorithmChoice::Es256 => Algorithm::Es256,
            };
            let keys = match (new, folder.exists()) {
                (false, _) => KeyRing::load(folder)?,
                (true, true) => KeyRing::rotate(folder, algorithm)?,
                (true, false) => KeyRing::create(folder, algorithm)?,
            };
            print_text(format_args!("{}\n", keys.jwks().to_json()))?;
            Ok(Exit::Affirmed)
        }
    }
}

/// Verifies and appraises the evidence, writes what `form` makes of it; the exit code is the host's verdict.
fn judged(options: &JudgeOptions, form: impl FnOnce(&Appraisal) -> anyhow::Result<String>) -> anyhow::Result<Exit> {
    let mut profiles = Profiles::embedded();
    if let Some(folder) = &options.profiles {
        profiles = profiles.overridden_by(folder)?;
    }
    let policy = match &options.policy {
        Some(file) => read_policy(file, &profiles)?,
        None => Policy::default(),
    };
    let output = options.output.as_deref().map(EvidenceFile::create).transpose()?;
    let sealed = crate::evidence::read(&options.evidence)?;
    let progress = SessionProgress::new(output.is_none());
    let verified = verify(&sealed, &options.recompute.recompute(), &progress);
    drop(progress);
    let verified = match verified {
        Ok(verified) => verified,
        Err(VerifyError::Evidence(error)) => {
            eprintln!("refused: {error}");
            return Ok(Exit::Contraindicated);
        }
        Err(error) => return Err(error.into()),
    };
    let appraisal = appraise(
        &Subject::from((&verified, &sealed[..])),
        &policy,
        &profiles,
        now_unix_ms()?,
    );
    let text = form(&appraisal)?;
    match output {
        Some(file) => file.write(text.as_bytes())?,
        None => print_text(text)?,
    }
    for reason in &appraisal.reasons {
        eprintln!("{}: {reason}", reason.tier().name());
    }
    for device in &appraisal.devices {
        for reason in &device.reasons {
            eprintln!("device {}: {}: {reason}", device.ordinal, reason.tier().name());
        }
    }
    eprintln!("verdict: {}", appraisal.verdict.name());
    Ok(match appraisal.verdict {
        Tier::Affirming | Tier::Warning => Exit::Affirmed,
        Tier::Contraindicated => Exit::Contraindicated,
        Tier::None => Exit::NoVerdict,
    })
}

fn read_policy(file: &Path, profiles: &Profiles) -> anyhow::Result<Policy> {
    Ok(Policy::parse(&file.display().to_string(), &read_text(file)?, profiles)?)
}

/// The text of a file of at most 1 MiB: policies, keys and results are far smaller.
fn read_text(file: &Path) -> anyhow::Result<String> {
    let context = || file.display().to_string();
    let size = fs::metadata(file).with_context(context)?.len();
    anyhow::ensure!(
        size <= 1 << 20,
        "{} has {size} bytes, expected at most 1 MiB",
        file.display()
    );
    fs::read_to_string(file).with_context(context)
}

fn now_unix_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
