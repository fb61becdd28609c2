//! The started command's standard error, as rows that cannot be mistaken for the Verifier's own.
//!
//! The command forwards bytes of the host (ssh: its banner and its agent's output), and the host is not trusted: it could
//! draw a report, hide what follows, or never stop (`terminal: a_host_cannot_speak_as_the_verifier`). So each row begins
//! with a prefix, has only printable characters, is no wider than the screen, and the number of rows is limited.

use std::time::{Duration, Instant};

use protocol::printable::printable;

/// What each row begins with.
const PREFIX: &str = "host| ";

/// Longest part of a line that is shown (bytes).
const MAX_LINE_BYTES: usize = 1_000;

/// The duration of a moment, for which rows are counted.
const MOMENT: Duration = Duration::from_secs(1);

/// Most that is shown per moment: enough for the greeting of a login.
const MOST_A_MOMENT: Amount = Amount {
    rows: 50,
    bytes: 8 << 10,
};

/// Most that is shown per session.
const MOST_IN_ALL: Amount = Amount {
    rows: 1_000,
    bytes: 128 << 10,
};

/// Fewest columns of text in a row, however narrow the reported screen is.
const MIN_COLUMNS: usize = 10;

/// Rows shown, or lines left out, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    rows: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, rows: usize, bytes: usize) {
        self.rows = self.rows.saturating_add(rows as u64);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    fn has_room(&self, rows: usize, bytes: usize, most: Amount) -> bool {
        self.rows.saturating_add(rows as u64) <= most.rows && self.bytes.saturating_add(bytes as u64) <= most.bytes
    }
}

/// Bytes in, rows out.
#[derive(Default)]
pub(super) struct HostLines {
    /// The line that has begun, as far as it can be shown.
    begun: Vec<u8>,
    /// Bytes of it beyond that.
    beyond: usize,
    moment: Option<(Instant, Amount)>,
    shown: Amount,
    left_out: Amount,
}

impl HostLines {
    /// The rows that `bytes` complete at `now`, on a screen of so many columns; without one they are not folded.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant, columns: Option<usize>) -> Vec<String> {
        let mut rows = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = MAX_LINE_BYTES - self.begun.len();
            let (kept, beyond) = text.split_at(room.min(text.len()));
            self.begun.extend_from_slice(kept);
            self.beyond = self.beyond.saturating_add(beyond.len());
            if text.len() < piece.len() {
                self.finish_line(now, columns, &mut rows);
            }
        }
        rows
    }

    /// The rows of the incomplete line, and a note of what was left out since the last such note.
    pub(super) fn end(&mut self, now: Instant, columns: Option<usize>) -> Vec<String> {
        let mut rows = Vec::new();
        if !self.begun.is_empty() {
            self.finish_line(now, columns, &mut rows);
        }
        rows.extend(self.say_left_out());
        rows
    }

    /// Whether so much arrives that most of it is left out: the reader may then read slowly.
    pub(super) fn is_flooded(&self) -> bool {
        self.left_out != Amount::default() || self.beyond > 0
    }

    fn finish_line(&mut self, now: Instant, columns: Option<usize>, rows: &mut Vec<String>) {
        let line = std::mem::take(&mut self.begun);
        let beyond = std::mem::take(&mut self.beyond);
        let (_, moment) = match &mut self.moment {
            Some(moment) if now.saturating_duration_since(moment.0) < MOMENT => moment,
            moment => moment.insert((now, Amount::default())),
        };
        let folded = fold(&line, columns);
        let has_room = moment.has_room(folded.len(), line.len(), MOST_A_MOMENT)
            && self.shown.has_room(folded.len(), line.len(), MOST_IN_ALL);
        if !has_room {
            self.left_out.add(1, line.len().saturating_add(beyond));
            return;
        }
        moment.add(folded.len(), line.len());
        self.shown.add(folded.len(), line.len());
        rows.extend(self.say_left_out());
        rows.extend(folded);
        // Its beginning is shown, so it does not count as a line that was left out.
        self.left_out.add(0, beyond);
    }

    /// A row of the Verifier's own, if anything was left out.
    fn say_left_out(&mut self) -> Option<String> {
        let Amount { rows, bytes } = std::mem::take(&mut self.left_out);
        (bytes > 0 || rows > 0).then(|| format!("left out of what the host says: {rows} lines, {bytes} bytes"))
    }
}

/// A line as rows, each with its prefix and no wider than the screen: a terminal would wrap it into a row without a prefix.
fn fold(line: &[u8], columns: Option<usize>) -> Vec<String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = printable(&String::from_utf8_lossy(line));
    // The last column stays free: some terminals wrap once it is written.
    let most = columns.map_or(usize::MAX, |columns| {
        columns.saturating_sub(PREFIX.len() + 1).max(MIN_COLUMNS)
    });
    let mut rows = vec![PREFIX.to_owned()];
    let mut width = 0;
    for c in text.chars() {
        // Beyond ASCII a character may take two columns; none takes more.
        let own = if c.is_ascii() { 1 } else { 2 };
        if width + own > most {
            rows.push(PREFIX.to_owned());
            width = 0;
        }
        width += own;
        rows.last_mut().expect("there is one").push(c);
    }
    for row in &mut rows {
        row.truncate(row.trim_end().len());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: &[u8], columns: Option<usize>) -> Vec<String> {
        let (mut lines, now) = (HostLines::default(), Instant::now());
        let mut rows = lines.take(bytes, now, columns);
        rows.extend(lines.end(now, columns));
        rows
    }

    #[test]
    fn every_row_has_the_prefix_and_printable_characters_alone() {
        assert_eq!(
            rows(b"one\r\ntwo\n\nthree", None),
            ["host| one", "host| two", "host|", "host| three"]
        );
        assert_eq!(
            rows("\u{1B}[2Jx\u{9B}\u{202E}\u{2028}\u{FFFF}\ty\rz\n".as_bytes(), None),
            ["host| \u{FFFD}[2Jx\u{FFFD}\u{FFFD} \u{FFFD} y z"]
        );
        // Not UTF-8: the C1 controls of one byte.
        assert_eq!(rows(b"\x9b2J\n", None), ["host| \u{FFFD}2J"]);
        assert_eq!(rows(b"", None), [""; 0]);
    }

    #[test]
    fn a_row_is_narrower_than_the_screen() {
        // Spaces up to the edge would put the rest at the beginning of a row.
        let line = format!("{}verdict      affirmed\n", " ".repeat(34));
        assert_eq!(
            rows(line.as_bytes(), Some(40)),
            ["host|", "host|  verdict      affirmed"]
        );
        let wide = "漢".repeat(10) + "\n";
        assert_eq!(
            rows(wide.as_bytes(), Some(20)),
            ["host| 漢漢漢漢漢漢", "host| 漢漢漢漢"]
        );
        for row in rows(&[b'x'; 5_000], Some(80))
            .iter()
            .filter(|row| row.starts_with(PREFIX))
        {
            assert!(row.len() < 80, "{row}");
        }
        assert_eq!(rows(b"abcdefghijkl\n", Some(0)), ["host| abcdefghij", "host| kl"]);
    }

    #[test]
    fn long_lines_are_cut_and_what_is_beyond_is_counted() {
        let rows = rows(&[&[b'x'; 1_500][..], b"\nnext\n"].concat(), None);
        assert_eq!(rows[0].len(), PREFIX.len() + MAX_LINE_BYTES);
        assert_eq!(
            rows[1..],
            ["left out of what the host says: 0 lines, 500 bytes", "host| next"]
        );
    }

    #[test]
    fn so_many_are_shown_a_moment_and_in_all_and_the_rest_is_counted() {
        let (mut lines, now) = (HostLines::default(), Instant::now());
        let flood = b"y\n".repeat(100_000);
        let rows = lines.take(&flood, now, None);
        assert_eq!(rows.len() as u64, MOST_A_MOMENT.rows);
        assert!(lines.is_flooded());
        // In the next moment there is room again.
        let rows = lines.take(b"later\n", now + MOMENT, None);
        assert_eq!(
            rows,
            [
                "left out of what the host says: 99950 lines, 99950 bytes",
                "host| later"
            ]
        );
        assert!(!lines.is_flooded());
        let shown: usize = (2..100).map(|i| lines.take(&flood, now + i * MOMENT, None).len()).sum();
        // The Verifier's own rows are one more per moment.
        assert!((900..1_100).contains(&shown), "{shown}");
        assert_eq!(lines.take(b"never\n", now + 200 * MOMENT, None), [""; 0]);
        assert_eq!(lines.end(now + 200 * MOMENT, None).len(), 1);
    }

    #[test]
    fn a_line_that_never_ends_takes_no_memory() {
        let (mut lines, now) = (HostLines::default(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(lines.take(&[b'x'; 1_000], now, None), [""; 0]);
        }
        assert!(lines.begun.capacity() < 4_096 && lines.is_flooded());
        let rows = lines.end(now, None);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1], "left out of what the host says: 0 lines, 999000 bytes");
    }
}
