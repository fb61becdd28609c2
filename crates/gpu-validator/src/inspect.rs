//! `gpu-validator inspect`: the transcript in evidence, readable.

use std::path::PathBuf;

use clap::Args;
use cli::{Exit, input_path, print_json, print_text};
use verifier::Opened;
use verifier::inspect::{RecordReport, State, Transcript};

use crate::evidence::MemoryOptions;
use crate::refusal::{self, Form};

/// Options of `gpu-validator inspect`.
#[derive(Args)]
#[command(
    after_help = "Shows what is in evidence after checking its seal, order, times, signature and paths; recomputes no tile.\n\n\
        Examples:\n  gpu-validator inspect e.cbor\n  gpu-validator inspect e.cbor --json | jq .samples[0]"
)]
pub(crate) struct Options {
    /// The evidence
    #[arg(value_parser = input_path())]
    evidence: PathBuf,

    /// Print everything as JSON: enough for another implementation to check it
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    memory: MemoryOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let Opened { evidence, session } = match options.memory.open(&options.evidence)? {
        Ok(opened) => opened,
        Err(refusal) => {
            let form = if options.json { Form::Json } else { Form::Text };
            return refusal::tell(&refusal, &options.evidence, form);
        }
    };
    let transcript = Transcript::new(&evidence, &session);
    if options.json {
        print_json(&transcript)?;
    } else {
        print_text(text(&transcript))?;
    }
    Ok(Exit::Affirmed)
}

/// The transcript for people: each message with its time, without the data of openings.
fn text(transcript: &Transcript) -> String {
    let mut out = format!(
        "{:<12} {}\n{:<12} {}\n",
        "mode", transcript.mode, "sealer", transcript.sealer
    );
    for (name, hex) in [("checksum", &transcript.checksum), ("nonce", &transcript.nonce)] {
        if let Some(hex) = hex {
            out += &format!("{name:<12} {hex}\n");
        }
    }
    out += &format!("{:<12} {}\n", "state", state(&transcript.state));
    let plain = |hex: &Option<String>| hex.clone().unwrap_or_else(|| "null".to_owned());
    for (i, iteration) in transcript.iterations.iter().enumerate() {
        out += &format!("\niteration {i}\n");
        for (name, value) in [
            ("chain", iteration.chain.clone()),
            ("v", plain(&iteration.v)),
            ("w", plain(&iteration.w)),
            ("fill_ns", iteration.fill_ns.to_string()),
            ("sweep_ns", iteration.sweep_ns.to_string()),
        ] {
            out += &format!("  {name:<10} {value}\n");
        }
        for (g, root) in iteration.fill_roots.iter().enumerate() {
            let sweeps = iteration.sweep_roots.get(g).map_or(0, Vec::len);
            out += &format!("  device {g}   fill root {}, {sweeps} sweep roots\n", plain(root));
        }
    }
    out += "\nrecords\n";
    for record in &transcript.records {
        let (at_ns, direction, what) = match record {
            RecordReport::Sent(frame) | RecordReport::Received(frame) => {
                let is_sent = matches!(record, RecordReport::Sent(_));
                let direction = if is_sent { "sent" } else { "received" };
                let what = format!("{:<9} {} bytes", frame.name, frame.payload_bytes);
                (frame.at_ns, direction, what)
            }
            RecordReport::Ended { at_ns, cause, .. } => (*at_ns, "ended", cause.clone()),
        };
        let at_s = at_ns as f64 / 1e9;
        out += &format!("  {at_s:>12.6} s  {direction:<9} {what}\n");
    }
    let samples = transcript.samples.len();
    out += &format!("\n{samples} samples; --json shows each with its openings\n");
    out
}

fn state(state: &State) -> String {
    match state {
        State::Ended {
            verdict,
            reason,
            message,
        } => match reason.is_empty() {
            true => (*verdict).to_owned(),
            false => format!("{verdict} ({reason}): {message}"),
        },
        State::Open(left) => left.clone(),
    }
}
