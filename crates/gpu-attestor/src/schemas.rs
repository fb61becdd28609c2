//! The schemas of what `--json` prints are those in `docs/schemas`.

use cli::IdentityReport;
use cli::schema::{CommandSchema, check};
use report::Report;
use verifier::partial::PartialReport;

use crate::bench::BenchReport;
use crate::devices::DeviceList;
use crate::prove::ProofReport;

#[test]
fn the_schemas_are_those_that_are_kept() {
    let of = CommandSchema::new;
    let schemas = [
        of("gpu-attestor-attest", "gpu-attestor attest --json")
            .of::<Report>()
            .of::<PartialReport>(),
        of("gpu-attestor-bench", "gpu-attestor bench --json").of::<BenchReport>(),
        of("gpu-attestor-devices", "gpu-attestor devices --json").of::<DeviceList>(),
        of("gpu-attestor-identity", "gpu-attestor identity --json").of::<IdentityReport>(),
        of("gpu-attestor-prove", "gpu-attestor prove --json").of::<ProofReport>(),
    ];
    check("gpu-attestor-", schemas);
}
