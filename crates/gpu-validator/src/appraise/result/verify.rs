//! `gpu-validator result verify`: checks a signed result for a Relying Party.

use std::path::PathBuf;
use std::time::Duration;

use appraisal::Subject;
use appraisal::audit::Audit;
use attestation_result::{AttestationResult, Expectations, verify_token};
use clap::Args;
use cli::{ErrorCode, Exit, Failure, RecomputeOptions, input_path, print_error, print_json, print_text};
use protocol::bytes::unhex;
use serde::Serialize;

use super::text::{AuditText, ResultText};
use crate::appraise::{RuleOptions, now_unix_ms, read_keys, read_verified};
use crate::evidence::BudgetOptions;
use crate::input::read_bytes;
use crate::refusal::{self, Form};

/// A result that is accepted.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CheckedResult<'a> {
    /// The result's claims.
    result: &'a AttestationResult,
    /// With `--evidence`, how the result compares with a new appraisal; else null.
    audit: Option<&'a Audit>,
}

/// Options of `gpu-validator result verify`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 affirming or warning, 1 contraindicated, refused, or not what the evidence comes to, with --strict a \
    warning too, 2 none, or usage, input or output.\n\n\
    Examples:\n  \
    gpu-validator result verify r.jwt --jwks jwks.json --audience market.example\n  \
    gpu-validator result verify r.cwt --jwks jwks.json --max-age 1h --json\n  \
    gpu-validator result verify r.jwt --jwks jwks.json --evidence e.cbor --policy p.toml"
)]
pub(crate) struct Options {
    /// The signed result, JWT or CWT
    #[arg(value_parser = input_path())]
    result: PathBuf,

    /// The issuer's public keys, a JWK Set
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    jwks: PathBuf,

    /// The audience that the result must have [default: none]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// The issuer that it must have
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,

    /// The session's nonce that it must have, hex
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Option<[u8; 32]>,

    /// The policy that it must follow, as `policy check` prints it
    #[arg(long, value_name = "URN")]
    policy_id: Option<String>,

    /// How long ago it may have been issued
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    max_age: Option<Duration>,

    /// Print the result's content as JSON
    #[arg(long)]
    json: bool,

    /// Appraise this evidence again, as of the time of issue, and report where the result differs
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    evidence: Option<PathBuf>,

    #[command(flatten)]
    rules: RuleOptions,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    budget: BudgetOptions,
}

/// The times of a result are whole seconds.
fn parse_age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).ok();
    let age = age.filter(|age| age.as_secs() > 0 && age.subsec_nanos() == 0);
    age.ok_or_else(|| "expected whole seconds like 90s or 2h, at least 1s".to_owned())
}

fn parse_nonce(text: &str) -> Result<[u8; 32], String> {
    let nonce = unhex(text).and_then(|bytes| bytes.try_into().ok());
    nonce.ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let is_judged_again = options.evidence.is_some();
    anyhow::ensure!(
        is_judged_again || !options.rules.is_any(),
        "--policy, --profiles, --nvidia-jwks and --seen need --evidence: without it nothing is judged again"
    );
    let token = read_bytes(&options.result)?;
    let keys = read_keys(&options.jwks)?;
    let rules = options.rules.read()?;
    let expectations = Expectations {
        audience: options.audience.clone(),
        issuer: options.issuer.clone(),
        nonce: options.nonce,
        policy_id: options.policy_id.clone(),
        max_age_s: options.max_age.map(|age| age.as_secs()),
    };
    let refuse = |why: String| {
        if options.json {
            print_error(Failure::new(ErrorCode::ResultRefused, why.clone()))?;
        }
        cli::tell(format_args!("refused: {why}"));
        Ok(Exit::Contraindicated)
    };
    let result = match verify_token(&token, &keys, now_unix_ms()? / 1000, &expectations) {
        Ok(result) => result,
        Err(error) => return refuse(error.to_string()),
    };
    let audit = match &options.evidence {
        None => None,
        Some(path) => match read_verified(
            path,
            |evidence| rules.judge(evidence),
            &options.budget.recompute(&options.recompute),
            options.json,
        )? {
            Err(refusal) => {
                let form = if options.json { Form::Json } else { Form::Nothing };
                return refusal::tell(&refusal, path, form);
            }
            Ok((verified, sealed, judge)) => {
                let subject = Subject::from((&verified, &sealed[..]));
                // As of when the result was issued.
                let appraisal = rules.appraise(&subject, &judge, result.iat.saturating_mul(1000));
                Some(Audit::new(&result, &appraisal))
            }
        },
    };
    if options.json {
        print_json(&CheckedResult {
            result: &result,
            audit: audit.as_ref(),
        })?;
    } else {
        print_text(ResultText(&result))?;
        if let Some(audit) = &audit {
            print_text(AuditText(audit))?;
        }
    }
    match audit {
        Some(audit) if !audit.agrees() => {
            cli::tell("the result is not what the evidence comes to");
            Ok(Exit::Contraindicated)
        }
        _ => Ok(options.rules.exit(result.ear_status)),
    }
}
