//! TOML that people write: read strictly, every error with file, line and key.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a profile or a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    /// The file, by the name that was given.
    pub file: String,
    /// Line and column, from 1; `None` if the error has no single position.
    pub position: Option<(usize, usize)>,
    /// The key with its tables, say `capacity.memory_bytes`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        match self.key.as_str() {
            "" => write!(f, ": {}", self.problem),
            key => write!(f, ": {key}: {}", self.problem),
        }
    }
}

/// One text, and its name in errors.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Document { file, text }
    }

    /// The text as `T`; `T` itself must refuse unknown keys.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span();
            let key = span.as_ref().map(|span| self.key_at(span)).unwrap_or_default();
            InputError {
                file: self.file.to_owned(),
                position: span.map(|span| self.position(span.start)),
                key,
                problem: error.message().to_owned(),
            }
        })
    }

    /// An error at `key`, dotted from the root; at its table if the key is absent.
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> InputError {
        let parsed = DeTable::parse(self.text).ok();
        let start = parsed.and_then(|table| find(table.get_ref(), key).map(|span| span.start));
        InputError {
            file: self.file.to_owned(),
            position: start.map(|start| self.position(start)),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// The key whose name or value covers the span; empty if none does.
    fn key_at(&self, span: &Range<usize>) -> String {
        let mut best = (usize::MAX, String::new());
        match DeTable::parse(self.text) {
            Ok(table) => narrow(table.get_ref(), "", span, &mut best),
            // Errors of TOML syntax, including a key given twice, have a line at least.
            Err(_) => best.1 = self.key_of_line(span.start),
        }
        best.1
    }

    /// The key on the line at `offset`, with the last table header before it; empty if the line has none.
    fn key_of_line(&self, offset: usize) -> String {
        let is_key =
            |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let upto = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = upto.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let Some(key) = line.split('=').next().map(str::trim).filter(is_key) else {
            return String::new();
        };
        let headers = self.text[..line_start].lines().rev();
        let mut tables = headers.filter_map(|line| line.trim().strip_prefix('[')?.split(']').next().map(str::trim));
        match tables.find(is_key) {
            Some(table) => format!("{table}.{key}"),
            None => key.to_owned(),
        }
    }
}

fn narrow(table: &DeTable<'_>, path: &str, span: &Range<usize>, best: &mut (usize, String)) {
    for (key, value) in table {
        let path = match path {
            "" => key.get_ref().to_string(),
            _ => format!("{path}.{}", key.get_ref()),
        };
        for covering in [key.span(), value.span()] {
            let is_within = covering.start <= span.start && span.end <= covering.end;
            if is_within && covering.len() <= best.0 {
                *best = (covering.len(), path.clone());
            }
        }
        if let DeValue::Table(inner) = value.get_ref() {
            narrow(inner, &path, span, best);
        }
    }
}

fn find(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let (key, value): (_, &Spanned<DeValue<'_>>) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (value.get_ref(), rest) {
        (DeValue::Table(inner), Some(rest)) => find(inner, rest).or_else(|| Some(key.span())),
        _ => Some(key.span()),
    }
}
