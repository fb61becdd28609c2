//! What commands print as JSON, checked against `docs/schemas`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{code, json as parsed, text};

/// The committed schemas.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

/// The schema of this name, as published.
pub(crate) fn published(name: &str) -> Value {
    let file = folder().join(format!("{name}.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// What `schema` finds wrong with a value.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let validator: Validator = jsonschema::validator_for(schema).expect("a schema");
    let fault = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(value).map(fault).collect()
}

/// The schema by which an object is checked: a failure has its own.
pub(crate) fn schema_of(command: &str, printed: &Value) -> String {
    if printed.get("error").is_some() {
        "error".to_owned()
    } else {
        command.to_owned()
    }
}

/// Checks what a command printed, if it was to print JSON: one object of the command's schema, or of a failure, without any
/// member that the schema does not name.
pub(crate) fn assert_printed(program: &str, arguments: &[&str], output: &Output) {
    let Some(command) = command_of(program, arguments) else {
        return;
    };
    // An interrupted command prints nothing, and a report that is refused is none.
    let is_interrupted = matches!(output.status.code(), None | Some(130));
    let is_optional = !arguments.contains(&"--json");
    if output.stdout.is_empty() && (is_interrupted || is_optional) {
        return;
    }
    let printed = parsed(output);
    let name = schema_of(&command, &printed);
    assert!(
        name != "error" || code(output) != 0,
        "{arguments:?}: a failure with code 0"
    );
    let faults = faults(&closed(published(&name)), &printed);
    assert!(
        faults.is_empty(),
        "{arguments:?} is not as docs/schemas/{name}.json says:\n{}\n{}",
        faults.join("\n"),
        text(&output.stdout)
    );
}

/// The name of the schema of a command's output; `None` if it prints no JSON.
fn command_of(program: &str, arguments: &[&str]) -> Option<String> {
    let own: Vec<&str> = arguments.iter().copied().take_while(|word| *word != "--").collect();
    let words: Vec<&str> = match &own[..] {
        [group @ ("policy" | "result"), command, ..] => vec![group, command],
        [command, ..] => vec![command],
        [] => return None,
    };
    let is_json_report = own.windows(2).any(|pair| pair == ["--format", "json"])
        && !own.iter().any(|word| ["-o", "--output"].contains(word));
    let prints_json = own.contains(&"--json") || words == ["challenge"] || words == ["report"] && is_json_report;
    let of_joint = (words == ["verify"] && own.contains(&"--joint")).then_some("joint");
    let parts: Vec<&str> = [program].into_iter().chain(words).chain(of_joint).collect();
    prints_json.then(|| parts.join("-"))
}

/// The schema with every object closed: members that it does not name are faults.
pub(crate) fn closed(mut schema: Value) -> Value {
    let mut parts = BTreeSet::new();
    find_parts(&schema, false, &mut parts);
    close(&mut schema, false, &parts);
    schema
}

const COMBINATORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Finds the definitions that describe a part of an object: the object has other members, so that they cannot be closed.
fn find_parts(schema: &Value, is_part: bool, parts: &mut BTreeSet<String>) {
    let Some(members) = schema.as_object() else { return };
    let is_whole = members.contains_key("properties");
    if let Some(name) = members.get("$ref").and_then(Value::as_str)
        && (is_part || is_whole)
    {
        parts.extend(name.strip_prefix("#/$defs/").map(str::to_owned));
    }
    for (name, member) in members {
        match name.as_str() {
            name if COMBINATORS.contains(&name) => {
                let branches = member.as_array().into_iter().flatten();
                branches.for_each(|branch| find_parts(branch, is_part || is_whole, parts));
            }
            "properties" | "$defs" => {
                let schemas = member.as_object().into_iter().flatten();
                schemas.for_each(|(_, schema)| find_parts(schema, false, parts));
            }
            "items" | "additionalProperties" => find_parts(member, false, parts),
            "prefixItems" => {
                let items = member.as_array().into_iter().flatten();
                items.for_each(|item| find_parts(item, false, parts));
            }
            _ => {}
        }
    }
}

fn close(schema: &mut Value, is_part: bool, parts: &BTreeSet<String>) {
    let Some(members) = schema.as_object_mut() else { return };
    let is_whole = members.contains_key("properties");
    let is_combined = members.contains_key("$ref") || COMBINATORS.iter().any(|name| members.contains_key(*name));
    if is_whole && !is_part && !members.contains_key("additionalProperties") {
        let keyword = if is_combined {
            "unevaluatedProperties"
        } else {
            "additionalProperties"
        };
        members.insert(keyword.to_owned(), json!(false));
    }
    for (name, member) in members {
        match name.as_str() {
            name if COMBINATORS.contains(&name) => {
                let branches = member.as_array_mut().into_iter().flatten();
                branches.for_each(|branch| close(branch, is_part || is_whole, parts));
            }
            "properties" => {
                let schemas = member.as_object_mut().into_iter().flatten();
                schemas.for_each(|(_, schema)| close(schema, false, parts));
            }
            "$defs" => {
                let schemas = member.as_object_mut().into_iter().flatten();
                schemas.for_each(|(name, schema)| close(schema, parts.contains(name), parts));
            }
            "items" | "additionalProperties" => close(member, false, parts),
            "prefixItems" => {
                let items = member.as_array_mut().into_iter().flatten();
                items.for_each(|item| close(item, false, parts));
            }
            _ => {}
        }
    }
}
