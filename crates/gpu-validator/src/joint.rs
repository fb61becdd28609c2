//! `gpu-validator verify --joint`: the evidence of several sessions at once, and what all of it certifies (spec §6.5).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cli::{Exit, Interruptible, print_json, print_text};
use evidence_check::Refusal;
use protocol::certified::{Bound, HostBounds};
use protocol::joint::{EvidenceHash, JointCertified, JointError, JointRecord};
use protocol::verifier::VerifierSession;
use report::figure::CertifiedFigures;
use serde::Serialize;
use verifier::assumptions::Assumed;
use verifier::outcome::{Judge, NoVerdict, Outcome};
use verifier::recompute::Recompute;
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use appraisal::policy::Policy;

use crate::engines::Engines;
use crate::evidence;
use crate::judge::VouchOptions;
use crate::refusal::{Form, tell as tell_refusal};

/// Longest sealed record: each of its sessions has at most 44 bytes.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// What is printed of sessions that belong together.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct JointReport<'a> {
    /// The verdict of all sessions, or that of the first that is against it.
    #[cfg_attr(test, schemars(extend("enum" = ["affirmed", "contraindicated", "could not run", "none"])))]
    verdict: &'static str,
    /// The reason's code; empty when affirmed.
    reason: &'a str,
    /// The reason for people; empty when affirmed.
    message: &'a str,
    /// What the sessions certify; absent if one of them decides alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    joint: Option<Together>,
}

/// What sessions certify together.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Together {
    /// The Verifier of all sessions, hex.
    verifier: String,
    /// Sessions to which SAMPLE was sent, including those that did not remain.
    sampled: u32,
    /// The sessions, in the record's order.
    sessions: Vec<Share>,
    /// The common windows, one per iteration.
    windows: Vec<CommonWindow>,
    /// Whether V and B are certified: memory that is faster than links.
    shows_gpu_memory: bool,
    /// What is certified for the system behind all sessions; a value of more than 64 bits is replaced by the largest.
    certified: CertifiedFigures,
    /// The probability that the bounds are false.
    error: JointSoundness,
    /// What the bounds assume.
    assumptions: Assumed,
}

/// A session, and its share of what is certified.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Share {
    /// The file of its evidence, as given.
    file: String,
    /// BLAKE3 of its evidence, hex.
    evidence: String,
    /// The Attester's key, hex.
    attester: Option<String>,
    /// Its share.
    share: CertifiedFigures,
}

/// The windows of an iteration that all sessions share.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CommonWindow {
    /// The fill window, ns.
    fill_ns: u64,
    /// The sweep window, ns.
    sweep_ns: u64,
}

/// All bounds together are false with probability at most `groups` times 2^-`error_bits`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JointSoundness {
    /// Groups of samples: one for each device and distinct k.
    groups: u64,
    /// The soundness error of a group is 2^-this.
    error_bits: u32,
}

/// What the check needs.
pub(crate) struct Check<'a> {
    pub(crate) vouch: &'a VouchOptions,
    pub(crate) policy: &'a Policy,
    pub(crate) recompute: &'a Recompute,
    pub(crate) engines: &'a Engines,
    pub(crate) observer: &'a Interruptible,
    pub(crate) form: Form,
}

/// Evidence that was checked on its own.
struct Member {
    path: PathBuf,
    hash: EvidenceHash,
    session: VerifierSession,
    judge: Judge,
    outcome: Outcome,
}

/// Checks the joint record in `path` and the evidence of its sessions.
pub(crate) fn run(path: &Path, evidence: &[PathBuf], check: &Check<'_>) -> anyhow::Result<Exit> {
    let record = match read(path)? {
        Ok(record) => record,
        Err(refusal) => return tell_refusal(&refusal, path, check.form),
    };
    let mut members = Vec::new();
    for path in evidence {
        match check.member(path)? {
            Ok(member) => members.push(member),
            Err(refusal) => return tell_refusal(&refusal, path, check.form),
        }
    }
    // A session without a verdict, or with one against it, decides before anything is added up.
    if let Some(member) = members.iter().find(|member| !counts(&member.outcome)) {
        let (code, message) = (member.outcome.code(), member.outcome.message());
        let message = format!("{}: {message}", member.path.display());
        return tell(check.form, &member.outcome, code, &message, None);
    }
    let Some(assumptions) = members
        .iter()
        .map(|member| member.judge.assumptions)
        .reduce(|a, b| a.worst(b))
    else {
        anyhow::bail!("no evidence is given");
    };
    let sessions: Vec<_> = members.iter().map(|member| (member.hash, &member.session)).collect();
    match record.certified(&sessions, &assumptions) {
        Ok(certified) => {
            let shown = Shown {
                record: &record,
                members: &members,
                certified: &certified,
            };
            let outcome = if certified.system.is_empty() {
                Outcome::None(NoVerdict::NothingCertified(
                    "what is assumed of links and helpers explains all that was measured in the common windows",
                ))
            } else {
                Outcome::Affirmed(None)
            };
            tell(check.form, &outcome, outcome.code(), &outcome.message(), Some(&shown))
        }
        Err(error) => tell_refusal(&Refusal::refused(error.to_string()), path, check.form),
    }
}

/// Whether a session can be one of several: alone it may certify nothing.
fn counts(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Affirmed(_) | Outcome::None(NoVerdict::NothingCertified(_))
    )
}

fn read(path: &Path) -> anyhow::Result<Result<JointRecord, Refusal>> {
    let context = || format!("joint record {}", path.display());
    let metadata = fs::metadata(path).with_context(context)?;
    if metadata.is_dir() {
        return Ok(Err(Refusal::folder()));
    }
    // A pipe or a device does not report a length.
    let mut sealed = Vec::new();
    let file = fs::File::open(path).with_context(context)?;
    file.take(MAX_RECORD_BYTES + 1)
        .read_to_end(&mut sealed)
        .with_context(context)?;
    if sealed.len() as u64 > MAX_RECORD_BYTES {
        let why = format!("more than {MAX_RECORD_BYTES} bytes, which no joint record has");
        return Ok(Err(Refusal::damaged(why)));
    }
    Ok(JointRecord::open(&sealed).map_err(|error| match error {
        JointError::Malformed(_) | JointError::TooShort(_) | JointError::Seal(_) => Refusal::damaged(error.to_string()),
        other => Refusal::refused(other.to_string()),
    }))
}

impl Check<'_> {
    fn member(&self, path: &Path) -> anyhow::Result<Result<Member, Refusal>> {
        let (opened, sealed) = match evidence::open(path, &self.recompute.budget)? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let judge = self.vouch.judge(self.policy, &opened.evidence)?;
        let (evidence, session) = if judge.trusts(&opened.evidence, &opened.session) {
            let mut tiles = self.engines.tiles()?;
            match opened.recompute(self.recompute, &mut tiles, &judge, self.observer) {
                Ok(verified) => (verified.evidence, verified.session),
                Err(error) => return Ok(Err(Refusal::of(error)?)),
            }
        } else {
            (opened.evidence, opened.session)
        };
        let outcome = Outcome::new(&evidence, &session, &judge, None);
        Ok(Ok(Member {
            path: path.to_owned(),
            hash: EvidenceHash::of(&sealed),
            session,
            judge,
            outcome,
        }))
    }
}

/// The output about sessions that belong together.
struct Shown<'a> {
    record: &'a JointRecord,
    members: &'a [Member],
    certified: &'a JointCertified,
}

fn tell(form: Form, outcome: &Outcome, code: &str, message: &str, shown: Option<&Shown<'_>>) -> anyhow::Result<Exit> {
    let exit = Exit::from(outcome);
    let name = outcome.name();
    match form {
        Form::Json => {
            print_json(&JointReport {
                verdict: name,
                reason: code,
                message,
                joint: shown.map(Shown::report),
            })?;
        }
        Form::Text | Form::Nothing => {
            let why = if code.is_empty() {
                String::new()
            } else {
                format!(" ({code}): {message}")
            };
            print_text(format_args!("verdict      {name}{why}\n"))?;
            if let Some(shown) = shown {
                print_text(shown.to_text())?;
            }
        }
    }
    if exit == Exit::NoVerdict {
        cli::tell(format_args!("{name}: {message}"));
    }
    Ok(exit)
}

impl Shown<'_> {
    /// Each session with its path and its share, in the record's order.
    fn shares(&self) -> impl Iterator<Item = (&Member, &HostBounds)> {
        let member = |hash| self.members.iter().find(move |member| member.hash == hash);
        let members = self.record.members().iter().filter_map(move |one| member(one.evidence));
        members.zip(&self.certified.shares)
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "verifier     {}\nat once      {} sessions, {} in all were sampled\n",
            self.record.verifier(),
            self.members.len(),
            self.record.sampled()
        );
        if !self.certified.system.shows_gpu_memory() {
            text += "shown        no GPU is proven on this host: no memory is shown to be faster than links\n";
        }
        text += &format!("certified    {}\n", line(&self.certified.system));
        for (member, share) in self.shares() {
            text += &format!("  {}  {}\n", member.path.display(), line(share));
        }
        text += &format!(
            "error        together false with probability at most {} * 2^-{}\n",
            self.certified.sampled_groups, self.certified.assumptions.error_bits
        );
        text + "not proven   that no GPU outside these sessions helps; what docs/threat-model.md lists for one session\n"
    }

    fn report(&self) -> Together {
        let shares = self.shares().map(|(member, share)| Share {
            file: member.path.display().to_string(),
            evidence: member.hash.to_string(),
            attester: member.session.hello().map(|hello| hello.identity.to_string()),
            share: figures(share),
        });
        let windows = self.certified.windows.iter().map(|window| CommonWindow {
            fill_ns: window.fill_ns,
            sweep_ns: window.sweep_ns,
        });
        let assumptions = &self.certified.assumptions;
        Together {
            verifier: self.record.verifier().to_string(),
            sampled: self.record.sampled(),
            sessions: shares.collect(),
            windows: windows.collect(),
            shows_gpu_memory: self.certified.system.shows_gpu_memory(),
            certified: figures(&self.certified.system),
            error: JointSoundness {
                groups: self.certified.sampled_groups,
                error_bits: assumptions.error_bits,
            },
            assumptions: Assumed::from(assumptions),
        }
    }
}

fn line(bounds: &HostBounds) -> String {
    let figure = |bound: Option<Bound<u128>>, unit: fn(u128) -> String| {
        bound.map_or_else(
            || "not certified".to_owned(),
            |bound| format!(">= {}", unit(bound.value)),
        )
    };
    format!(
        "V {}, B {}, T {}, T_local {}",
        figure(bounds.memory_bytes, bytes),
        figure(bounds.bandwidth_bytes_per_s, bytes_per_s),
        figure(bounds.tensor_ops_per_s, ops_per_s),
        figure(bounds.local_tensor_ops_per_s, ops_per_s)
    )
}

/// Figures may be beyond what a JSON number of most readers holds exactly: they are counts, and stay numbers below 2^64.
fn figures(bounds: &HostBounds) -> CertifiedFigures {
    let figure = |bound: Option<Bound<u128>>| bound.map(|bound| u64::try_from(bound.value).unwrap_or(u64::MAX));
    CertifiedFigures {
        memory_bytes: figure(bounds.memory_bytes),
        bandwidth_bytes_per_s: figure(bounds.bandwidth_bytes_per_s),
        tensor_ops_per_s: figure(bounds.tensor_ops_per_s),
        local_tensor_ops_per_s: figure(bounds.local_tensor_ops_per_s),
    }
}
