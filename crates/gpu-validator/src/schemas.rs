//! The schemas of what `--json` prints are those in `docs/schemas`.

use appraisal::Appraisal;
use cli::schema::{CommandSchema, check};
use cli::{ErrorReport, IdentityReport};
use report::Report;
use verifier::challenge_file::ChallengeFile;
use verifier::inspect::Transcript;
use verifier::partial::PartialReport;

use crate::appraise::policy::SoundPolicy;
use crate::appraise::result::verify::CheckedResult;
use crate::bench::BenchReport;
use crate::classes::ClassList;
use crate::joint::JointReport;
use crate::plan::PlanProposal;
use crate::refusal::Refused;
use crate::verify::VerifiedReport;

#[test]
fn the_schemas_are_those_that_are_kept() {
    let of = CommandSchema::new;
    let schemas = [
        of("gpu-validator-attest", "gpu-validator attest --json")
            .of::<Report>()
            .of::<PartialReport>(),
        of("gpu-validator-bench", "gpu-validator bench --json").of::<BenchReport>(),
        of("gpu-validator-challenge", "gpu-validator challenge").of::<ChallengeFile>(),
        of("gpu-validator-classes", "gpu-validator classes --json").of::<ClassList<'_>>(),
        of("gpu-validator-identity", "gpu-validator identity --json").of::<IdentityReport>(),
        of("gpu-validator-inspect", "gpu-validator inspect --json")
            .of::<Transcript>()
            .of::<Refused>(),
        of("gpu-validator-plan", "gpu-validator plan --json").of::<PlanProposal<'_>>(),
        of("gpu-validator-policy-check", "gpu-validator policy check --json").of::<SoundPolicy>(),
        of("gpu-validator-report", "gpu-validator report --format json").of::<Appraisal>(),
        of("gpu-validator-result-verify", "gpu-validator result verify --json")
            .of::<CheckedResult<'_>>()
            .of::<Refused>(),
        of("gpu-validator-verify", "gpu-validator verify --json")
            .of::<VerifiedReport>()
            .of::<PartialReport>()
            .of::<Refused>(),
        of("gpu-validator-verify-joint", "gpu-validator verify --joint --json")
            .of::<JointReport<'_>>()
            .of::<Refused>(),
    ];
    check("gpu-validator-", schemas);
    let error = of("error", "A failure of any command with --json").of::<ErrorReport>();
    check("error", [error]);
}
