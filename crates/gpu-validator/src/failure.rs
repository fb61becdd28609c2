//! What a failure of a command is to a program.

use appraisal::profiles::ProfilesError;
use appraisal::{InputError, PolicyFileError};
use cli::{ErrorCode, Failure, Place};

/// The failure that an error is; that of a policy or profile with its place.
pub(crate) fn of(error: &anyhow::Error) -> Failure {
    let failure = Failure::of(error);
    let Some(InputError {
        file,
        position,
        key,
        problem,
    }) = error.chain().find_map(invalid_input)
    else {
        return failure;
    };
    let (line, column) = position.unzip();
    Failure {
        code: ErrorCode::InvalidInput,
        place: Some(Place {
            file: file.clone(),
            line,
            column,
            key: key.clone(),
            problem: problem.clone(),
        }),
        ..failure
    }
}

/// The place of an error in a policy or profile. The errors of the files print it as their own, without a source.
fn invalid_input<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a InputError> {
    if let Some(PolicyFileError::Input(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(ProfilesError::Input(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}
