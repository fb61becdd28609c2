//! What evidence comes to under a policy, for people and Relying Parties: the commands that judge.

pub(crate) mod calibrate;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod result;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use appraisal::chain::Roots;
use appraisal::key::JwkSet;
use appraisal::nvidia::NvidiaKeys;
use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::reason::Tier;
use appraisal::{Appraisal, Subject, appraise};
use clap::Args;
use cli::{Exit, OutputFile, RecomputeOptions, SessionProgress, print_bytes};
use verifier::{Verified, VerifyError, verify};

/// Longest policy, profile, key set or result that is read, bytes: all are far smaller.
const MAX_INPUT_BYTES: u64 = 1 << 20;

/// Profiles beside the built-in ones.
#[derive(Args)]
pub(crate) struct ProfileOptions {
    /// Profiles of device classes that add to, or stand in for, the built-in ones
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
}

impl ProfileOptions {
    pub(crate) fn read(&self) -> anyhow::Result<Profiles> {
        let embedded = Profiles::embedded();
        Ok(match &self.profiles {
            Some(folder) => embedded.overridden_by(folder)?,
            None => embedded,
        })
    }
}

/// What evidence is judged by.
#[derive(Args)]
struct RuleOptions {
    /// The policy, TOML [default: the claim in HELLO must be consistent with its class]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    profiles: ProfileOptions,

    /// Keys of NVIDIA's attestation service, a JWK Set, to check what the evidence carries of it
    #[arg(long, value_name = "FILE")]
    nvidia_jwks: Option<PathBuf>,

    /// Roots in PEM that the certificates (x5c) of those keys must lead to [default: the keys are trusted as they are]
    #[arg(long, value_name = "FILE", requires = "nvidia_jwks")]
    nvidia_roots: Option<PathBuf>,
}

/// What evidence is judged by.
struct Rules {
    policy: Policy,
    profiles: Profiles,
    nvidia: Option<NvidiaKeys>,
}

impl Rules {
    fn appraise(&self, subject: &Subject<'_>, now_unix_ms: u64) -> Appraisal {
        let appraisal = appraise(subject, &self.policy, &self.profiles, now_unix_ms);
        match &self.nvidia {
            Some(keys) => appraisal.with_nvidia_keys(subject, keys),
            None => appraisal,
        }
    }
}

impl RuleOptions {
    /// Whether any rule was given.
    fn is_any(&self) -> bool {
        self.policy.is_some() || self.profiles.profiles.is_some() || self.nvidia_jwks.is_some()
    }

    fn read(&self) -> anyhow::Result<Rules> {
        let profiles = self.profiles.read()?;
        let policy = match &self.policy {
            Some(file) => Policy::parse(&file.display().to_string(), &read_text(file)?, &profiles)?,
            None => Policy::default(),
        };
        let roots =
            |file: &PathBuf| Roots::parse(&read_text(file)?).with_context(|| format!("roots {}", file.display()));
        let nvidia = match &self.nvidia_jwks {
            Some(file) => Some(NvidiaKeys {
                jwks: read_keys(file)?,
                roots: self.nvidia_roots.as_ref().map(roots).transpose()?,
            }),
            None => None,
        };
        Ok(Rules {
            policy,
            profiles,
            nvidia,
        })
    }
}

/// Evidence, rules, and where what follows goes.
#[derive(Args)]
struct JudgeOptions {
    /// The evidence; it is verified first
    evidence: PathBuf,

    #[command(flatten)]
    rules: RuleOptions,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    recompute: RecomputeOptions,
}

impl JudgeOptions {
    /// Verifies and appraises the evidence, writes what `form` makes of it; the exit code is the host's verdict.
    fn judge(
        &self,
        what: &'static str,
        form: impl FnOnce(&Appraisal) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Exit> {
        let rules = self.rules.read()?;
        let create = |path: &PathBuf| OutputFile::create(path, what);
        let output = self.output.as_ref().map(create).transpose()?;
        let (verified, sealed) = match read_verified(&self.evidence, &self.recompute, output.is_none())? {
            Ok(read) => read,
            Err(refused) => {
                cli::tell(format_args!("refused: {refused}"));
                return Ok(Exit::Contraindicated);
            }
        };
        let subject = Subject::from((&verified, &sealed[..]));
        let appraisal = rules.appraise(&subject, now_unix_ms()?);
        let bytes = form(&appraisal)?;
        match output {
            Some(file) => file.write(&bytes)?,
            None => print_bytes(&bytes)?,
        }
        for reason in &appraisal.reasons {
            cli::tell(format_args!("{}: {reason}", reason.tier().name()));
        }
        for device in &appraisal.devices {
            for reason in &device.reasons {
                cli::tell(format_args!(
                    "device {}: {}: {reason}",
                    device.ordinal,
                    reason.tier().name()
                ));
            }
        }
        cli::tell(format_args!("verdict: {}", appraisal.verdict.name()));
        Ok(exit(appraisal.verdict))
    }
}

/// The evidence in a file, its tiles recomputed, with its sealed bytes; within, why it is refused.
fn read_verified(
    path: &Path,
    recompute: &RecomputeOptions,
    is_quiet: bool,
) -> anyhow::Result<Result<(Verified, Vec<u8>), String>> {
    let sealed = crate::evidence::read(path)?;
    let progress = SessionProgress::new(is_quiet);
    let verified = verify(&sealed, &recompute.recompute(), &progress);
    drop(progress);
    match verified {
        Ok(verified) => Ok(Ok((verified, sealed))),
        Err(VerifyError::Evidence(error)) => Ok(Err(format!("evidence {}: {error}", path.display()))),
        Err(error) => Err(error.into()),
    }
}

/// The exit code of a verdict: a warning is no ban, and what cannot be said is no pass.
fn exit(verdict: Tier) -> Exit {
    match verdict {
        Tier::Affirming | Tier::Warning => Exit::Affirmed,
        Tier::Contraindicated => Exit::Contraindicated,
        Tier::None => Exit::NoVerdict,
    }
}

/// The public keys in a file.
fn read_keys(file: &Path) -> anyhow::Result<JwkSet> {
    JwkSet::parse(&read_text(file)?).with_context(|| format!("keys {}", file.display()))
}

/// The bytes of a file of at most [`MAX_INPUT_BYTES`]; no more are read, whatever it is.
fn read_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || file.display().to_string();
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(context)?;
    opened
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_INPUT_BYTES,
        "{} is longer than {MAX_INPUT_BYTES} bytes",
        file.display()
    );
    Ok(bytes)
}

/// The text of a file of at most [`MAX_INPUT_BYTES`].
fn read_text(file: &Path) -> anyhow::Result<String> {
    let bytes = read_bytes(file)?;
    String::from_utf8(bytes).with_context(|| format!("{} is no text in UTF-8", file.display()))
}

fn now_unix_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
