//! Which characters a text may have, in messages and in every output: none that moves a terminal's cursor, colours it, reorders
//! text, cannot be seen, or is no character at all (spec §8.2).

/// The format characters (Cf), line separator (Zl) and paragraph separator (Zp) of Unicode 16. Later versions of Unicode change
/// nothing: what a message may have is fixed with the protocol's version.
const FORMAT_CHARACTERS: [(u32, u32); 21] = [
    (0xAD, 0xAD),
    (0x600, 0x605),
    (0x61C, 0x61C),
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
];

/// Whether a text may have this character: no control (Cc), no format character (Cf), no separator of lines or paragraphs
/// (Zl, Zp), no noncharacter.
#[must_use]
pub fn is_printable(c: char) -> bool {
    let code = u32::from(c);
    let is_noncharacter = (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE;
    !c.is_control()
        && !is_noncharacter
        && !FORMAT_CHARACTERS
            .iter()
            .any(|&(first, last)| (first..=last).contains(&code))
}

/// The character, or its replacement if it is not printable: a space for whitespace, otherwise U+FFFD.
#[must_use]
pub fn printable_char(c: char) -> char {
    match c {
        c if is_printable(c) => c,
        c if c.is_whitespace() => ' ',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// `text` in printable characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

/// The same for a text of several lines: newlines and tabs are kept.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    let shown = |c| if matches!(c, '\n' | '\t') { c } else { printable_char(c) };
    text.chars().map(shown).collect()
}

/// `json` with every unprintable character as a JSON escape: the value stays the same.
///
/// JSON has non-ASCII characters only in strings, where an escape can replace each of them. Newlines between its items
/// are kept.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_printable(c) {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped += &format!("\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_printable() {
        for c in "aZ 0~\u{A0}é漢😀\u{FFFD}\u{2E2F}".chars() {
            assert!(is_printable(c), "{c:?}");
        }
        for c in [
            '\0',
            '\n',
            '\t',
            '\u{1B}',
            '\u{7F}',
            '\u{85}',
            '\u{9B}',
            '\u{AD}',
            '\u{200B}',
            '\u{200E}',
            '\u{2028}',
            '\u{2029}',
            '\u{202E}',
            '\u{2066}',
            '\u{FEFF}',
            '\u{FDD0}',
            '\u{FDEF}',
            '\u{FFFE}',
            '\u{FFFF}',
            '\u{1FFFE}',
            '\u{10FFFF}',
            '\u{E0001}',
            '\u{E007F}',
        ] {
            assert!(!is_printable(c), "{c:?}");
        }
        assert_eq!(printable("a\u{1B}[2J\nb\u{2028}c"), "a\u{FFFD}[2J b c");
        assert_eq!(printable_lines("a\u{9B}\n\tb\r"), "a\u{FFFD}\n\tb ");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({ "a\u{202E}": ["\u{9B}2J", "\u{1}", "\u{1FFFE}", "é漢\u{FFFF}"] });
        let escaped = printable_json(&format!("{value:#}"));
        assert!(escaped.chars().all(|c| c == '\n' || is_printable(c)), "{escaped}");
        assert!(
            escaped.contains("\\u202e") && escaped.contains("\\ud83f\\udffe") && escaped.contains("é漢"),
            "{escaped}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"),
            value
        );
    }
}
