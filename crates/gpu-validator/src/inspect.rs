//! `gpu-validator inspect`: the transcript in evidence, readable.

use std::path::PathBuf;

use clap::Args;
use cli::{Exit, input_path, print_json, print_text};
use serde_json::Value;
use verifier::Opened;
use verifier::inspect::to_json;

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
    let value = to_json(&evidence, &session);
    if options.json {
        print_json(&value)?;
    } else {
        print_text(text(&value))?;
    }
    Ok(Exit::Affirmed)
}

/// The transcript for people: each message with its time, without the data of openings.
fn text(value: &Value) -> String {
    let mut out = String::new();
    for key in ["mode", "sealer", "checksum", "nonce"] {
        if let Some(text) = value[key].as_str() {
            out += &format!("{key:<12} {text}\n");
        }
    }
    out += &format!("{:<12} {}\n", "state", plain(&value["state"]));
    for (i, iteration) in value["iterations"].as_array().into_iter().flatten().enumerate() {
        out += &format!("\niteration {i}\n");
        for key in ["chain", "v", "w", "fill_ns", "sweep_ns"] {
            out += &format!("  {key:<10} {}\n", plain(&iteration[key]));
        }
        for (g, root) in iteration["fill_roots"].as_array().into_iter().flatten().enumerate() {
            let sweeps = iteration["sweep_roots"][g].as_array().map_or(0, Vec::len);
            out += &format!("  device {g}   fill root {}, {sweeps} sweep roots\n", plain(root));
        }
    }
    out += "\nrecords\n";
    for record in value["records"].as_array().into_iter().flatten() {
        let at_s = record["at_ns"].as_u64().unwrap_or(0) as f64 / 1e9;
        let what = match record["direction"].as_str() {
            Some("ended") => plain(&record["cause"]),
            _ => format!("{:<9} {} bytes", plain(&record["type"]), record["payload_bytes"]),
        };
        out += &format!("  {at_s:>12.6} s  {:<9} {what}\n", plain(&record["direction"]));
    }
    let samples = value["samples"].as_array().map_or(0, Vec::len);
    out += &format!("\n{samples} samples; --json shows each with its openings\n");
    out
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
