//! The result of evidence under a policy, for people and Relying Parties: the commands that judge.

pub(crate) mod calibrate;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod result;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use appraisal::finding::Effect;
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::seen::Seen;
use appraisal::{Appraisal, Subject, appraise};
use attestation_result::Tier;
use attestation_result::chain::Roots;
use attestation_result::key::JwkSet;
use attestation_result::nvidia::NvidiaKeys;
use clap::Args;
use cli::{Exit, OutputFile, OutputPath, RecomputeOptions, SessionProgress, input_path, print_bytes};
use evidence_check::Refusal;
use protocol::evidence::Evidence;
use verifier::Verified;
use verifier::outcome::Judge;
use verifier::recompute::Recompute;

use crate::evidence::{self, BudgetOptions};
use crate::input::{read_limited_text, read_text};
use crate::judge::{PolicyOptions, VouchOptions};
use crate::refusal::{self, Form};

/// Longest registry of devices that is read, bytes: some hundred thousand devices.
const MAX_SEEN_BYTES: u64 = 64 << 20;

/// What evidence is judged by.
#[derive(Args)]
struct RuleOptions {
    #[command(flatten)]
    policy: PolicyOptions,

    #[command(flatten)]
    vouch: VouchOptions,

    /// Keys of NVIDIA's attestation service, a JWK Set, to check its token in the evidence
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    nvidia_jwks: Option<PathBuf>,

    /// Registry of devices, JSON: a UUID that another Attester stated before raises a finding; `report` and `issue` add
    /// the UUIDs of this evidence
    #[arg(long, value_name = "FILE")]
    seen: Option<OutputPath>,

    /// Exit with 1 also for a warning
    #[arg(long)]
    strict: bool,

    /// Root certificates in PEM; the certificates (x5c) of those keys must lead to one of them [default: the keys are
    /// trusted as they are]
    #[arg(long, value_name = "FILE", requires = "nvidia_jwks")]
    nvidia_roots: Option<PathBuf>,
}

/// What evidence is judged by.
struct Rules<'a> {
    vouch: &'a VouchOptions,
    policy: Policy,
    profiles: Profiles,
    nvidia: Option<NvidiaKeys>,
    seen: Option<Seen>,
}

impl Rules<'_> {
    fn judge(&self, evidence: &Evidence) -> anyhow::Result<Judge> {
        Ok(self.vouch.judge(&self.policy, evidence)?)
    }

    fn appraise(&self, subject: &Subject<'_>, judge: &Judge, now_unix_ms: u64) -> Appraisal {
        let appraisal = appraise(subject, &self.policy, &self.profiles, judge, now_unix_ms);
        let appraisal = match &self.nvidia {
            Some(keys) => appraisal.with_nvidia_keys(subject, keys),
            None => appraisal,
        };
        match &self.seen {
            Some(seen) => appraisal.with_seen(subject, &self.policy, seen),
            None => appraisal,
        }
    }
}

impl RuleOptions {
    /// Whether any rule was given.
    fn is_any(&self) -> bool {
        let is_file = self.nvidia_jwks.is_some() || self.seen.is_some();
        is_file || self.policy.is_any() || !self.vouch.named().is_empty()
    }

    fn read(&self) -> anyhow::Result<Rules<'_>> {
        let (policy, profiles) = self.policy.read()?;
        let roots =
            |file: &PathBuf| Roots::parse(&read_text(file)?).with_context(|| format!("roots {}", file.display()));
        let nvidia = match &self.nvidia_jwks {
            Some(file) => Some(NvidiaKeys {
                jwks: read_keys(file)?,
                roots: self.nvidia_roots.as_ref().map(roots).transpose()?,
            }),
            None => None,
        };
        let seen = self.seen.as_deref().map(read_seen).transpose()?;
        Ok(Rules {
            vouch: &self.vouch,
            policy,
            profiles,
            nvidia,
            seen,
        })
    }

    /// The exit code of a verdict: a warning is not a failure unless this was asked for, and an undecided verdict is not a
    /// success.
    fn exit(&self, verdict: Tier) -> Exit {
        match verdict {
            Tier::Warning if self.strict => Exit::Contraindicated,
            Tier::Affirming | Tier::Warning => Exit::Affirmed,
            Tier::Contraindicated => Exit::Contraindicated,
            Tier::None => Exit::NoVerdict,
        }
    }
}

/// Evidence, rules, and where what follows goes.
#[derive(Args)]
struct JudgeOptions {
    /// The evidence; it is verified first
    #[arg(value_parser = input_path())]
    evidence: PathBuf,

    #[command(flatten)]
    rules: RuleOptions,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<OutputPath>,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    budget: BudgetOptions,
}

impl JudgeOptions {
    /// Verifies and appraises the evidence, and writes the output of `form`; the exit code follows from the host's verdict.
    fn judge(
        &self,
        what: &'static str,
        form: impl FnOnce(&Appraisal) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Exit> {
        let rules = self.rules.read()?;
        let create = |path: &OutputPath| OutputFile::create(path, what);
        let output = self.output.as_ref().map(create).transpose()?;
        let registry = self.rules.seen.as_deref();
        let registry = registry
            .map(|path| OutputFile::create(path, "a registry"))
            .transpose()?;
        let judge = |evidence: &Evidence| rules.judge(evidence);
        let recompute = self.budget.recompute(&self.recompute);
        let (verified, sealed, judge) = match read_verified(&self.evidence, judge, &recompute, output.is_none())? {
            Ok(read) => read,
            Err(refusal) => return refusal::tell(&refusal, &self.evidence, Form::Nothing),
        };
        let subject = Subject::from((&verified, &sealed[..]));
        let appraisal = rules.appraise(&subject, &judge, now_unix_ms()?);
        let bytes = form(&appraisal)?;
        match output {
            Some(file) => file.write(&bytes)?,
            None => print_bytes(&bytes)?,
        }
        // This appraisal uses the earlier entries; the new entries are for the next one.
        if let (Some(file), Some(mut seen)) = (registry, rules.seen) {
            seen.record(&subject, &appraisal);
            file.write(seen.to_json().as_bytes())?;
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
        for (place, finding) in appraisal.all_findings() {
            // Findings that affect the verdict are among the reasons.
            if finding.effect == Effect::Note {
                cli::tell(format_args!("{place}: {}: {}", finding.kind.name(), finding.detail));
            }
        }
        cli::tell(format_args!("verdict: {}", appraisal.verdict.name()));
        Ok(self.rules.exit(appraisal.verdict))
    }
}

/// Evidence whose tiles were recomputed, its sealed bytes, and its judge.
type Checked = (Verified, Vec<u8>, Judge);

/// The evidence in a file, its tiles recomputed, with its sealed bytes and its judge; the inner error says why it is
/// refused.
fn read_verified(
    path: &Path,
    judge: impl FnOnce(&Evidence) -> anyhow::Result<Judge>,
    recompute: &Recompute,
    is_quiet: bool,
) -> anyhow::Result<Result<Checked, Refusal>> {
    let (opened, sealed) = match evidence::open(path, &recompute.budget)? {
        Ok(opened) => opened,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let judge = judge(&opened.evidence)?;
    let progress = SessionProgress::new(is_quiet);
    let verified = opened.recompute(recompute, &mut [], &judge, &progress);
    drop(progress);
    match verified {
        Ok(verified) => Ok(Ok((verified, sealed, judge))),
        Err(error) => Ok(Err(Refusal::of(error)?)),
    }
}

/// The registry in a file; an empty one if there is no file yet.
fn read_seen(file: &Path) -> anyhow::Result<Seen> {
    let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    if std::fs::symlink_metadata(file).is_err_and(|error| missing(&error)) {
        return Ok(Seen::default());
    }
    let text = read_limited_text(file, MAX_SEEN_BYTES)?;
    Seen::parse(&text).with_context(|| format!("registry {}", file.display()))
}

/// The public keys in a file.
fn read_keys(file: &Path) -> anyhow::Result<JwkSet> {
    JwkSet::parse(&read_text(file)?).with_context(|| format!("keys {}", file.display()))
}

fn now_unix_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
