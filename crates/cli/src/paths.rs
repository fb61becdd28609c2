//! Files named on the command line: which are inputs, which are outputs, and that no output replaces an input.

use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::builder::{PathBufValueParser, TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};

use crate::failure::{ErrorCode, Failure, is_json_asked};
use crate::output::print_error;

/// Parses the command line, and refuses an output that is also an input: what a session needed hours for, or a key that
/// no one else has, would be lost with exit code 0.
///
/// An output is an option of the type [`OutputPath`]. Any other value on the command line that names the same file
/// counts as an input, including arguments of commands to be started; so an option added later cannot be forgotten.
#[must_use]
pub fn parse<C: Parser>() -> C {
    let mut command = C::command();
    let mut matches = command
        .try_get_matches_from_mut(std::env::args_os())
        .unwrap_or_else(|error| exit(&error));
    if let Some(clash) = clash(&command, &matches) {
        refuse(&mut command, &clash);
    }
    C::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| exit(&error))
}

/// Ends with an error of usage, or with the help or version that was asked for.
fn exit(error: &clap::Error) -> ! {
    if error.use_stderr() && is_json_asked() {
        // If standard output fails, standard error still says what is wrong.
        let _ = print_error(Failure::new(ErrorCode::Usage, what_is_wrong(&error.to_string())));
    }
    error.exit()
}

/// What is wrong, on one line, without the usage and the hints that follow.
fn what_is_wrong(rendered: &str) -> String {
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn refuse(command: &mut Command, clash: &Clash) -> ! {
    let Clash { output, other, path } = clash;
    let text = format!(
        "{output} would replace {}, which is also given as {other}; expected another file",
        path.display()
    );
    exit(&command.error(ErrorKind::ValueValidation, text))
}

/// The path of a file that is written, replaced or continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPath(PathBuf);

impl Deref for OutputPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for OutputPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl ValueParserFactory for OutputPath {
    type Parser = OutputPathParser;

    fn value_parser() -> OutputPathParser {
        OutputPathParser
    }
}

/// Parses an [`OutputPath`]: any path but `-`.
#[derive(Clone, Copy, Debug)]
pub struct OutputPathParser;

impl TypedValueParser for OutputPathParser {
    type Value = OutputPath;

    fn parse_ref(&self, command: &Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<OutputPath, clap::Error> {
        if value == "-" {
            let what = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!("{what}: - is not a file; expected a path, ./- for a file of this name");
            return Err(command.clone().error(ErrorKind::ValueValidation, text));
        }
        PathBufValueParser::new().parse_ref(command, arg, value).map(OutputPath)
    }
}

/// The parser of a path that is read: `-` is standard input.
#[must_use]
pub fn input_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| {
        if path == Path::new("-") {
            PathBuf::from("/dev/stdin")
        } else {
            path
        }
    })
}

/// An output that is also something else.
#[derive(Debug, PartialEq, Eq)]
struct Clash {
    output: String,
    other: String,
    path: PathBuf,
}

fn clash(command: &Command, matches: &ArgMatches) -> Option<Clash> {
    let mut outputs: Vec<(String, PathBuf)> = Vec::new();
    let mut others: Vec<(String, OsString)> = Vec::new();
    let mut level = Some((command, matches));
    while let Some((command, matches)) = level {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            // A default, like the preset's name, names no file.
            if !matches!(matches.try_contains_id(id), Ok(true))
                || matches.value_source(id) != Some(ValueSource::CommandLine)
            {
                continue;
            }
            if let Ok(Some(paths)) = matches.try_get_many::<OutputPath>(id) {
                outputs.extend(paths.map(|path| (arg.to_string(), path.0.clone())));
            } else if let Ok(Some(values)) = matches.try_get_raw(id) {
                others.extend(values.map(|value| (arg.to_string(), value.to_owned())));
            }
        }
        let below = matches.subcommand();
        level = below.and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
    }
    for (i, (output, path)) in outputs.iter().enumerate() {
        let earlier = outputs[..i].iter().map(|(name, path)| (name, path.as_os_str()));
        let mut named = earlier.chain(others.iter().map(|(name, value)| (name, value.as_os_str())));
        if let Some((other, _)) = named.find(|(_, value)| is_same_file(path, Path::new(value))) {
            return Some(Clash {
                output: output.clone(),
                other: other.clone(),
                path: path.clone(),
            });
        }
    }
    None
}

/// Whether both names lead to one file, by links too. Of files that do not exist yet, whether both would be one.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (identity(one), identity(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => matches!((place(one), place(other)), (Some(one), Some(other)) if one == other),
        _ => false,
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let there = fs::metadata(path)?;
    Ok((there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// The resolved folder and the name of a file that does not exist.
fn place(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
    Some(folder.join(name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(Parser, Debug)]
    struct Try {
        #[arg(long)]
        key: Option<PathBuf>,
        #[command(subcommand)]
        command: Below,
    }

    #[derive(clap::Subcommand, Debug)]
    enum Below {
        Report {
            #[arg(long, default_value = "smoke")]
            preset: String,
            #[arg(value_parser = input_path())]
            evidence: PathBuf,
            #[arg(long)]
            output: Option<OutputPath>,
            #[arg(long)]
            svg: Option<OutputPath>,
            #[arg(last = true)]
            command: Vec<String>,
        },
    }

    fn clash_of(arguments: &[&str]) -> Option<(String, String)> {
        let arguments = [&["try"], arguments].concat();
        let mut command = Try::command();
        let matches = command.try_get_matches_from_mut(arguments).expect("valid");
        clash(&command, &matches).map(|clash| (clash.output, clash.other))
    }

    #[test]
    fn an_output_that_is_an_input_is_found_by_any_of_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        fs::write(at("e"), b"evidence").expect("a file");
        fs::hard_link(at("e"), at("hard")).expect("a link");
        std::os::unix::fs::symlink(at("e"), at("soft")).expect("a link");
        let (e, hard, soft, new, other) = (&at("e"), &at("hard"), &at("soft"), &at("new"), &at("other"));
        let dotted = &at("./new");
        let same = |output: &str, other: &str| Some((output.to_owned(), other.to_owned()));
        for name in [e, hard, soft] {
            assert_eq!(
                clash_of(&["report", e, "--output", name]),
                same("--output <OUTPUT>", "<EVIDENCE>")
            );
        }
        // The option of the level above, and an argument of a command to be started.
        assert_eq!(
            clash_of(&["--key", e, "report", new, "--output", e]),
            same("--output <OUTPUT>", "--key <KEY>")
        );
        assert_eq!(
            clash_of(&["report", new, "--svg", e, "--", "run", e]),
            same("--svg <SVG>", "[COMMAND]...")
        );
        // Two outputs, one file: also before it exists.
        assert_eq!(
            clash_of(&["report", e, "--output", new, "--svg", dotted]),
            same("--svg <SVG>", "--output <OUTPUT>")
        );
        assert_eq!(clash_of(&["report", e, "--output", new, "--svg", other]), None);
        assert_eq!(clash_of(&["report", e, "--output", new]), None);
        // The names of a default and of an argument are no files.
        for name in ["smoke", "evidence", "preset", "report"] {
            assert_eq!(clash_of(&["report", e, "--output", name]), None, "{name}");
        }
    }

    #[test]
    fn a_dash_is_standard_input_and_no_output() {
        let parsed = Try::try_parse_from(["try", "report", "-"]).expect("valid");
        let Below::Report { evidence, .. } = parsed.command;
        assert_eq!(evidence, Path::new("/dev/stdin"));
        let refused = Try::try_parse_from(["try", "report", "e", "--output", "-"]).expect_err("no file");
        assert!(
            refused.to_string().contains("--output <OUTPUT>: - is not a file"),
            "{refused}"
        );
    }
}
