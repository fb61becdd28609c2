//! `gpu-validator verify`: evidence checked again.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cli::{Exit, Interrupt, Interruptible, RecomputeOptions, parse_time, print_json, print_text};
use protocol::bytes::unhex;
use serde_json::json;
use verifier::partial::PartialReport;
use verifier::report::Report;
use verifier::{VerifyError, challenge_file, verify_with};

use crate::engines::EngineOptions;
use crate::full::{Ended, FullOptions};

/// The clock of the challenge's issuer and the one that says when evidence was received may differ by this much.
const CLOCK_LEEWAY_MS: u64 = 60_000;

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

    /// Accept evidence of this Verifier alone (its public key, hex)
    #[arg(long, value_name = "KEY")]
    verifier: Option<String>,

    /// Accept evidence of this Attester alone (its public key, hex)
    #[arg(long, value_name = "KEY")]
    attester: Option<String>,

    /// Accept offline evidence for this challenge alone
    #[arg(long, value_name = "FILE")]
    challenge: Option<PathBuf>,

    /// When offline evidence was received (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    received: Option<SystemTime>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    full: FullOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    for (name, key) in [("--verifier", &options.verifier), ("--attester", &options.attester)] {
        if let Some(key) = key {
            let is_key = unhex(key).is_some_and(|bytes| bytes.len() == 32);
            anyhow::ensure!(
                is_key,
                "{name} {key:?} is no public key; expected 64 hexadecimal digits"
            );
        }
    }
    let challenge = match &options.challenge {
        Some(path) => Some(challenge_file::read(path).with_context(|| format!("challenge {}", path.display()))?),
        None => None,
    };
    let sealed = crate::evidence::read(&options.evidence)?;
    let engines = options.engine.find()?;
    let mut tile_engines = engines.tiles()?;
    let interrupt = Interrupt::listen()?;
    let observer = Interruptible::new(options.json, interrupt.clone());
    let since = Instant::now();
    let verified = verify_with(&sealed, &options.recompute.recompute(), &mut tile_engines, &observer);
    let (elapsed, tiles_due) = (since.elapsed(), observer.tiles_due.get().copied());
    // Full re-execution wants their memory.
    drop((observer, tile_engines));
    let verified = match verified {
        Ok(verified) => verified,
        Err(VerifyError::Stopped(stopped)) => {
            let report = PartialReport::new(&stopped);
            if options.json {
                print_json(&serde_json::to_value(&report)?)?;
            } else {
                print_text(&report)?;
            }
            return Ok(Exit::NoVerdict);
        }
        Err(VerifyError::Evidence(error)) => return refuse(options, &error.to_string()),
        Err(error @ VerifyError::Recompute(_)) => return Err(error.into()),
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
    // What was asked for beyond the evidence itself.
    let is = |key: &Option<String>, actual: Option<String>| match (key, actual) {
        (Some(key), Some(actual)) => key.eq_ignore_ascii_case(&actual),
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !is(&options.verifier, session.verifier().map(ToString::to_string)) {
        return refuse(options, "the evidence is another Verifier's");
    }
    if !is(
        &options.attester,
        session.hello().map(|hello| hello.identity.to_string()),
    ) {
        return refuse(options, "the evidence is another Attester's");
    }
    if challenge.is_some() && challenge != verified.evidence.challenge {
        return refuse(options, "the evidence answers another challenge");
    }
    anyhow::ensure!(
        options.received.is_none() || verified.evidence.challenge.is_some(),
        "--received: no effect on evidence of an online session, which has times of its own"
    );
    let report = Report::new(&verified.evidence, session, &sealed);
    if let Some(challenge) = &verified.evidence.challenge {
        let received = options.received.unwrap_or_else(SystemTime::now);
        let received_ms = received
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if received_ms.saturating_add(CLOCK_LEEWAY_MS) < challenge.issued_unix_ms {
            return refuse(
                options,
                &format!(
                    "received {}, the challenge was issued {}: a clock is wrong",
                    time(received_ms),
                    time(challenge.issued_unix_ms)
                ),
            );
        }
        if received_ms > challenge.expires_unix_ms {
            return refuse(
                options,
                &format!(
                    "received {}, the challenge expired {}",
                    time(received_ms),
                    time(challenge.expires_unix_ms)
                ),
            );
        }
        if !options.json {
            let after = received_ms.saturating_sub(challenge.issued_unix_ms);
            print_text(format_args!(
                "challenge    issued {}, received {} later at the latest\n",
                time(challenge.issued_unix_ms),
                humantime::format_duration(std::time::Duration::from_secs(after / 1000)),
            ))?;
        }
    }
    let full = options.full.run(
        session,
        &report.evidence_blake3,
        &engines,
        &options.recompute.recompute(),
        options.json,
        &interrupt,
    );
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

fn refuse(options: &Options, why: &str) -> anyhow::Result<Exit> {
    if options.json {
        print_json(&json!({ "verdict": "contraindicated", "reason": "evidence-refused", "message": why }))?;
    } else {
        print_text(format_args!("verdict      contraindicated (evidence-refused): {why}\n"))?;
    }
    Ok(Exit::Contraindicated)
}

/// A time of the Verifier's, RFC 3339 where that has a form for it.
pub(crate) fn time(unix_ms: u64) -> String {
    UNIX_EPOCH
        .checked_add(std::time::Duration::from_millis(unix_ms))
        // RFC 3339 ends with the year 9999.
        .filter(|_| unix_ms < 253_402_300_800_000)
        .map_or_else(
            || format!("{unix_ms} ms"),
            |at| humantime::format_rfc3339_seconds(at).to_string(),
        )
}
