//! `gpu-validator verify`: evidence checked again.

use std::path::{Path, PathBuf};
use std::time::Instant;

use appraisal::policy::Policy;
use clap::Args;
use cli::{
    DetailOptions, Exit, Interrupt, Interruptible, RecomputeOptions, input_path, print_json, print_report, print_text,
};
use evidence_check::{Admission, Admitted, Refusal, Rules, admit};
use report::{Report, evidence_blake3};
use serde::Serialize;
use verifier::VerifyError;
use verifier::outcome::Outcome;
use verifier::partial::PartialReport;
use verifier::recompute::Recompute;
use verifier::reexecute::FullReport;

use crate::engines::EngineOptions;
use crate::evidence::{self, BudgetOptions};
use crate::full::{Ended, Full, FullOptions};
use crate::joint;
use crate::judge::{PolicyOptions, VouchOptions};
use crate::refusal::{self, Form};
use crate::wanted::WantedOptions;

/// Evidence that was checked.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct VerifiedReport {
    #[serde(flatten)]
    report: Report,
    /// With `--full`, what it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    full_reexecution: Option<FullReport>,
}

/// Options of `gpu-validator verify`.
#[derive(Args)]
#[command(
    after_help = "Ctrl-C ends the recomputing of samples, says what those so far certify, and exits with 2; during --full it says \
    how many jobs are done.\n\n\
    Examples:\n  \
    gpu-validator verify e.cbor\n  \
    gpu-validator verify e.cbor --json --verifier $(gpu-validator identity)\n  \
    gpu-validator verify e.cbor --full --resume e.done --engine auto\n  \
    gpu-validator verify e.cbor --challenge c.json --received 2026-11-24T12:00:00Z\n  \
    gpu-validator verify --joint joint.cbor a.cbor b.cbor"
)]
pub(crate) struct Options {
    /// The evidence; several files with --joint
    #[arg(required = true, value_parser = input_path())]
    evidence: Vec<PathBuf>,

    /// Check sessions that ran at the same time: this record names them; shows what they certify together
    #[arg(long, value_name = "RECORD", value_parser = input_path(), conflicts_with_all = ["attester", "challenge", "received", "full", "quiet", "verbose"])]
    joint: Option<PathBuf>,

    #[command(flatten)]
    wanted: WantedOptions,

    #[command(flatten)]
    vouch: VouchOptions,

    #[command(flatten)]
    policy: PolicyOptions,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    detail: DetailOptions,

    #[command(flatten)]
    budget: BudgetOptions,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    full: FullOptions,
}

impl Options {
    /// Nothing but the result is printed.
    fn is_silent(&self) -> bool {
        self.json || self.detail.quiet
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let wanted = options.wanted.wanted()?;
    let (policy, _) = options.policy.read()?;
    let recompute = options.budget.recompute(&options.recompute);
    let form = if options.json { Form::Json } else { Form::Text };
    let path = match (&options.joint, &options.evidence[..]) {
        (None, [path]) => path,
        (Some(record), _) => return run_joint(options, record, &policy, &recompute, form),
        (None, several) => anyhow::bail!("{} evidence files; several at once need --joint RECORD", several.len()),
    };
    let refuse = |refusal: Refusal| refusal::tell(&refusal, path, form);
    let engines = options.engine.find()?;
    let interrupt = Interrupt::listen()?;
    let observer = Interruptible::new(options.is_silent(), interrupt.clone());
    let since = Instant::now();
    let opened = match evidence::open(path, &recompute.budget)? {
        Ok(opened) => opened,
        Err(refusal) => return refuse(refusal),
    };
    let rules = Rules {
        policy: &policy,
        named: options.vouch.named(),
        wanted: &wanted,
    };
    let Admitted {
        opened,
        sealed,
        judge,
        whose,
    } = match admit(opened, &rules)? {
        Admission::Refused(refusal) => return refuse(refusal),
        Admission::Untrusted(admitted) => {
            options.wanted.ensure_used(&admitted)?;
            let (outcome, report) = admitted.untested();
            if options.json {
                print_json(&report)?;
            } else {
                print_report(&report, options.detail)?;
                if !options.is_silent() {
                    print_text(format_args!("\n{}", admitted.whose))?;
                }
            }
            return Ok(end(&outcome));
        }
        Admission::Trusted(admitted) => {
            options.wanted.ensure_used(&admitted)?;
            *admitted
        }
    };
    let checkpoint = options.full.checkpoint(&evidence_blake3(&sealed))?;
    let mut tile_engines = engines.tiles()?;
    let verified = opened.recompute(&recompute, &mut tile_engines, &judge, &observer);
    let (elapsed, tiles_due) = (since.elapsed(), observer.tiles_due.get().copied());
    // Full re-execution needs their memory.
    drop((observer, tile_engines));
    let verified = match verified {
        Ok(verified) => verified,
        Err(VerifyError::Stopped(stopped)) => {
            let report = PartialReport::new(&stopped.evidence, &stopped.session, &judge, &stopped.so_far);
            return cli::print_stopped(&report, options.json, None);
        }
        Err(error) => return refuse(Refusal::of(error)?),
    };

    let session = &verified.session;
    if let Some(tiles_due) = tiles_due.filter(|_| !options.is_silent()) {
        let before = tiles_due.duration_since(since);
        cli::tell(format_args!(
            "checked in {:.3} s: {} samples recomputed in {:.3} s, all else in {:.3} s",
            elapsed.as_secs_f64(),
            session.tile_checks().len(),
            elapsed.saturating_sub(before).as_secs_f64(),
            before.as_secs_f64(),
        ));
    }
    let outcome = |mismatch| Outcome::new(&verified.evidence, session, &judge, mismatch);
    let report = |outcome: &Outcome| Report::of(&verified.evidence, session, &sealed, &judge, outcome);
    let by_samples = outcome(None);
    let full = options.full.run(
        checkpoint,
        session,
        &engines,
        &recompute,
        options.is_silent(),
        &interrupt,
    );
    let outcome = match full.as_ref().map(|full| &full.ended) {
        Some(Ended::Differs(mismatch)) => outcome(Some(mismatch)),
        _ => by_samples,
    };
    let report = report(&outcome);
    if options.json {
        print_json(&VerifiedReport {
            report,
            full_reexecution: full.as_ref().map(Full::report),
        })?;
    } else {
        print_report(&report, options.detail)?;
        if !options.is_silent() {
            print_text(format_args!("\n{whose}"))?;
        }
        if let Some(full) = &full {
            print_text(format_args!("\n{full}\n"))?;
        }
    }
    let exit = end(&outcome);
    Ok(match full.map(|full| full.ended) {
        // A failure that the samples found is final; agreement of the samples is not what was asked for.
        Some(ended @ (Ended::Stopped | Ended::Failed(_))) => {
            if let Ended::Failed(error) = ended {
                cli::tell(format_args!("error: {error:#}"));
            }
            if exit == Exit::Contraindicated {
                exit
            } else {
                Exit::NoVerdict
            }
        }
        Some(Ended::Agrees | Ended::Differs(_)) | None => exit,
    })
}

/// The sessions of a joint record.
fn run_joint(
    options: &Options,
    record: &Path,
    policy: &Policy,
    recompute: &Recompute,
    form: Form,
) -> anyhow::Result<Exit> {
    let check = joint::Check {
        vouch: &options.vouch,
        policy,
        recompute,
        engines: &options.engine.find()?,
        observer: &Interruptible::new(options.json, Interrupt::listen()?),
        form,
    };
    joint::run(record, &options.evidence, &check)
}

/// The exit code; if there is no verdict, standard error says why.
fn end(outcome: &Outcome) -> Exit {
    let exit = Exit::from(outcome);
    if exit == Exit::NoVerdict {
        cli::tell(format_args!("{}: {}", outcome.name(), outcome.message()));
    }
    exit
}
