//! The JSON Schemas of what commands print, compared with the committed files. For the commands' tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The version of all schemas (`docs/guide/json.md` says what raises it).
pub const VERSION: u32 = 1;

/// The variable that makes [`check`] write the files instead of comparing them.
const UPDATE_VARIABLE: &str = "UPDATE_SCHEMAS";

/// The schema of what one command prints.
pub struct CommandSchema {
    name: &'static str,
    title: &'static str,
    generator: SchemaGenerator,
    outputs: Vec<Schema>,
}

impl CommandSchema {
    /// The schema with this name, of which nothing is known yet.
    #[must_use]
    pub fn new(name: &'static str, title: &'static str) -> Self {
        CommandSchema {
            name,
            title,
            generator: SchemaSettings::draft2020_12().for_serialize().into_generator(),
            outputs: Vec::new(),
        }
    }

    /// Adds an object that the command may print.
    #[must_use]
    pub fn of<T: JsonSchema>(mut self) -> Self {
        self.outputs.push(self.generator.subschema_for::<T>());
        self
    }

    /// The name, and the file's text.
    fn file(mut self) -> (String, String) {
        let mut schema = Map::new();
        schema.insert("$id".to_owned(), id(self.name).into());
        schema.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".to_owned(), self.title.into());
        let mut outputs: Vec<Value> = self.outputs.into_iter().map(Value::from).collect();
        match (outputs.pop(), outputs.is_empty()) {
            (Some(only), true) => schema.extend(only.as_object().cloned().unwrap_or_default()),
            (last, _) => {
                outputs.extend(last);
                schema.insert("anyOf".to_owned(), outputs.into());
            }
        }
        schema.insert("$defs".to_owned(), self.generator.take_definitions(true).into());
        (format!("{}.json", self.name), format!("{:#}\n", json!(schema)))
    }
}

/// The identifier of a schema.
#[must_use]
pub fn id(name: &str) -> String {
    format!("urn:gpu-attestor:schema:{VERSION}:{name}")
}

/// The committed schemas.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

/// Compares the schemas with the committed files, which must be all files whose names begin with `prefix`; with
/// `UPDATE_SCHEMAS=1` writes them.
///
/// # Panics
///
/// If a file differs, is missing or is no schema's.
pub fn check(prefix: &str, schemas: impl IntoIterator<Item = CommandSchema>) {
    let files: Vec<(String, String)> = schemas.into_iter().map(CommandSchema::file).collect();
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        fs::create_dir_all(folder()).expect("the folder of the schemas");
        for (name, text) in &files {
            fs::write(folder().join(name), text).expect("a schema is written");
        }
    }
    for (name, text) in &files {
        let kept = fs::read_to_string(folder().join(name)).unwrap_or_default();
        assert!(
            kept == *text,
            "docs/schemas/{name} is not what is printed: run the test with {UPDATE_VARIABLE}=1, and read docs/guide/json.md"
        );
    }
    let kept = fs::read_dir(folder()).expect("the folder of the schemas");
    let kept = kept.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let kept: BTreeSet<String> = kept.filter(|name| name.starts_with(prefix)).collect();
    let names: BTreeSet<String> = files.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, names, "files of docs/schemas");
}
