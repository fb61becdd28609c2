//! How much of a session's report is printed, and how it looks on a terminal.

use clap::Args;
use console::{Style, Term, colors_enabled};
use protocol::printable::printable_lines;
use report::{Detail, Report};

use crate::output::print_bytes;

/// The column where the value of a line with a name begins.
const VALUE_COLUMN: usize = 13;

/// How much is printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DetailOptions {
    /// Print only the verdict and what it means; no progress
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub quiet: bool,

    /// Print the plan, times and identifiers too
    #[arg(short, long, conflicts_with = "json")]
    pub verbose: bool,
}

impl DetailOptions {
    fn detail(self) -> Detail {
        match (self.quiet, self.verbose) {
            (true, _) => Detail::Verdict,
            (false, true) => Detail::All,
            (false, false) => Detail::Figures,
        }
    }
}

/// Prints a report to standard output. On a terminal its lines are wrapped and the verdict is coloured, unless `NO_COLOR`
/// is set.
///
/// # Errors
///
/// Those of standard output.
pub fn print_report(report: &Report, options: DetailOptions) -> anyhow::Result<()> {
    let text = printable_lines(&report.text(options.detail()));
    let Some((_, columns)) = Term::stdout().size_checked().filter(|_| Term::stdout().is_term()) else {
        return print_bytes(text.as_bytes());
    };
    let text = wrapped(&text, columns.into());
    // After the text was made printable: escapes in it are this command's own.
    if !colors_enabled() {
        return print_bytes(text.as_bytes());
    }
    print_bytes(
        text.replacen(report.verdict, &style(report).apply_to(report.verdict).to_string(), 1)
            .as_bytes(),
    )
}

/// Green only where memory of a GPU is certified.
fn style(report: &Report) -> Style {
    let style = Style::new().bold();
    let certifies_memory = || {
        let host = report.host.as_ref();
        host.is_some_and(|host| host.memory_bytes.at_least.is_some() && host.bandwidth_bytes_per_s.at_least.is_some())
    };
    match report.verdict {
        "contraindicated" => style.red(),
        "affirmed" if certifies_memory() => style.green(),
        _ => style.yellow(),
    }
}

/// The text with lines of at most `columns` characters, broken at spaces; the rest of a line is indented to where its value
/// begins.
fn wrapped(text: &str, columns: usize) -> String {
    let mut wrapped = String::with_capacity(text.len());
    for line in text.lines() {
        let indent = indent_of(line);
        // On a narrow terminal there is no room for it.
        let indent = if 2 * indent < columns { indent } else { 0 };
        let mut rest: Vec<char> = line.chars().collect();
        while rest.len() > columns.max(1) {
            let end = rest[..=columns].iter().rposition(|c| *c == ' ');
            let end = end.filter(|end| *end > indent).unwrap_or(columns);
            wrapped.extend(&rest[..end]);
            wrapped.push('\n');
            let after = rest[end..].iter().skip_while(|c| **c == ' ');
            rest = std::iter::repeat_n(' ', indent).chain(after.copied()).collect();
        }
        wrapped.extend(rest);
        wrapped.push('\n');
    }
    wrapped
}

fn indent_of(line: &str) -> usize {
    let at = |column: usize| line.chars().nth(column);
    let has_name = at(VALUE_COLUMN - 1) == Some(' ') && at(VALUE_COLUMN).is_some_and(|c| c != ' ');
    if line.starts_with("- ") || !has_name {
        2
    } else {
        VALUE_COLUMN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces_and_indented() {
        let text = "assumed      hardware on sale of a day: for each device one\n- a note that is long\nshort\n";
        assert_eq!(
            wrapped(text, 30),
            "assumed      hardware on sale\n             of a day: for\n             each device one\n- a note that is long\nshort\n"
        );
        assert_eq!(wrapped("- a note that is long\n", 12), "- a note\n  that is\n  long\n");
        // A word that is wider than the terminal, and a terminal that is narrower than the indent.
        assert_eq!(wrapped("abcdefghij\n", 4), "abcd\nefgh\nij\n");
        for columns in 1..60 {
            let lines = wrapped(text, columns);
            assert!(
                lines.lines().all(|line| line.chars().count() <= columns),
                "{columns}: {lines}"
            );
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(letters(&lines), letters(text));
        }
    }
}
