//! `gpu-validator verify`: evidence checked again.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use cli::{Exit, Interrupt, Interruptible, RecomputeOptions, print_json, print_text};
use verifier::VerifyError;
use verifier::partial::PartialReport;
use verifier::report::Report;

use crate::engines::EngineOptions;
use crate::evidence::{self, BudgetOptions};
use crate::full::{Ended, FullOptions};
use crate::refusal::{Form, Refusal};
use crate::wanted::{Refused, WantedOptions};

/// Options of `gpu-validator verify`.
#[derive(Args)]
#[command(
    after_help = "Ctrl-C ends the recomputing of samples, says what those so far certify, and exits with 2; during --full it says \
    how many jobs are done.\n\n\
    Examples:\n  \
    gpu-validator verify e.cbor\n  \
    gpu-validator verify e.cbor --json --verifier $(gpu-validator identity)\n  \
    gpu-validator verify e.cbor --full --resume e.done --engine auto\n  \
    gpu-validator verify e.cbor --challenge c.json --received 2026-11-24T12:00:00Z"
)]
pub(crate) struct Options {
    /// The evidence
    evidence: PathBuf,

    #[command(flatten)]
    wanted: WantedOptions,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    budget: BudgetOptions,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    full: FullOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let wanted = options.wanted.wanted()?;
    let recompute = options.budget.recompute(&options.recompute);
    let form = if options.json { Form::Json } else { Form::Text };
    let refuse = |refusal: Refusal| refusal.tell(&options.evidence, form);
    let engines = options.engine.find()?;
    let interrupt = Interrupt::listen()?;
    let observer = Interruptible::new(options.json, interrupt.clone());
    let since = Instant::now();
    // Cheap checks first: evidence that is not wanted costs no tile.
    let (opened, sealed) = match evidence::open(&options.evidence, &recompute.budget)? {
        Ok(opened) => opened,
        Err(refusal) => return refuse(refusal),
    };
    let whose = match wanted.check(&opened)? {
        Ok(whose) => whose,
        Err(Refused(why)) => return refuse(Refusal::refused(why)),
    };
    let mut tile_engines = engines.tiles()?;
    let verified = opened.recompute(&recompute, &mut tile_engines, &observer);
    let (elapsed, tiles_due) = (since.elapsed(), observer.tiles_due.get().copied());
    // Full re-execution wants their memory.
    drop((observer, tile_engines));
    let verified = match verified {
        Ok(verified) => verified,
        Err(VerifyError::Stopped(stopped)) => {
            let report = PartialReport::new(&stopped.session, &stopped.evidence.assumptions, &stopped.so_far);
            return cli::print_stopped(&report, options.json, None);
        }
        Err(error) => return refuse(Refusal::of(error)?),
    };

    let session = &verified.session;
    if let Some(tiles_due) = tiles_due.filter(|_| !options.json) {
        let before = tiles_due.duration_since(since);
        cli::tell(format_args!(
            "checked in {:.3} s: {} samples recomputed in {:.3} s, all else in {:.3} s",
            elapsed.as_secs_f64(),
            session.tile_checks().len(),
            elapsed.saturating_sub(before).as_secs_f64(),
            before.as_secs_f64(),
        ));
    }
    let report = Report::new(&verified.evidence, session, &sealed);
    if !options.json {
        print_text(whose)?;
    }
    let full = options.full.run(
        session,
        &report.evidence_blake3,
        &engines,
        &recompute,
        options.json,
        &interrupt,
    );
    let report = match full.as_ref().map(|full| &full.ended) {
        Some(Ended::Differs(mismatch)) => Report::contradicted(&verified.evidence, session, &sealed, mismatch),
        _ => report,
    };
    if options.json {
        let mut value = serde_json::to_value(&report)?;
        if let Some(full) = &full {
            value["full_reexecution"] = full.to_json();
        }
        print_json(&value)?;
    } else {
        print_text(&report)?;
        if let Some(full) = &full {
            print_text(format_args!("\n{full}\n"))?;
        }
    }
    let verdict = session.verdict().context("a session without a verdict")?;
    if let Exit::NoVerdict = Exit::from(verdict) {
        cli::tell(format_args!("could not run: {}", verdict.message()));
    }
    Ok(match (full.map(|full| full.ended), Exit::from(verdict)) {
        (Some(Ended::Differs(_)), _) => Exit::Contraindicated,
        // What the samples found against it stands; what they found for it is not what was asked.
        (Some(ended @ (Ended::Stopped | Ended::Failed(_))), exit) => {
            if let Ended::Failed(error) = ended {
                cli::tell(format_args!("error: {error:#}"));
            }
            if exit == Exit::Contraindicated {
                exit
            } else {
                Exit::NoVerdict
            }
        }
        (Some(Ended::Agrees) | None, exit) => exit,
    })
}
