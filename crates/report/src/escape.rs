//! Escapes text from others.

use protocol::printable::printable_char;

/// `text` in printable characters, with every character that HTML and XML parse as markup replaced.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML does not allow control characters and noncharacters; bidirectional controls reorder the text.
            c => escaped.push(printable_char(c)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_or_moves_text() {
        let hostile = "<a href=\"x\" b='y'>&\u{1B}[2J\u{202E}\u{2066}\u{200F}\u{FFFE}\n";
        let replaced = "\u{FFFD}[2J\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD} ";
        let markup = "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;";
        assert_eq!(escape(hostile), format!("{markup}{replaced}"));
    }
}
