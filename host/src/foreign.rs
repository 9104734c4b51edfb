//! Foreign text made safe for a terminal: what class labels, file names, plugins and other programs say.
//!
//! An escape sequence in a label could move the cursor, hide a line or pretend to be one of ours. Characters that a terminal
//! obeys instead of showing, and those that change the order of others or cannot be seen, are written as escapes such as
//! `\u{1b}`. All else stays as it is, in any script.

use std::borrow::Cow;

/// Characters of a word, such as a label or a name.
const LONGEST_WORD: usize = 120;
/// Characters of a line. No path is longer.
const LONGEST_LINE: usize = 4096;
/// Lines of a text.
const MOST_LINES: usize = 200;

/// A label or a name within a sentence: one line of at most 120 characters.
pub fn word(text: &str) -> Cow<'_, str> {
    clean(text, LONGEST_WORD)
}

/// A text as one line of at most 4096 characters; a line feed in it is escaped, too.
pub fn line(text: &str) -> Cow<'_, str> {
    clean(text, LONGEST_LINE)
}

/// A name in a column of a table: a word without spaces, which are escaped, so that one column cannot pass for two.
pub fn name(text: &str) -> Cow<'_, str> {
    without_spaces(word(text), |_| true)
}

/// A phrase in a column of a table: a word in which a space stands alone, and only between others, so that what is in it cannot be
/// moved under another column or, where a terminal wraps, into a row of its own.
pub fn phrase(text: &str) -> Cow<'_, str> {
    without_spaces(word(text), |(before, after)| before.is_none_or(char::is_whitespace) || after.is_none())
}

/// The characters before and behind one.
type Around = (Option<char>, Option<char>);

/// The same with those spaces escaped that are `meant`.
fn without_spaces(text: Cow<'_, str>, meant: fn(Around) -> bool) -> Cow<'_, str> {
    let chars: Vec<char> = text.chars().collect();
    let before = |i: usize| i.checked_sub(1).map(|before| chars[before]);
    let is_meant = |i: usize| chars[i].is_whitespace() && meant((before(i), chars.get(i + 1).copied()));
    if !(0..chars.len()).any(is_meant) {
        return text;
    }
    let mut safe = String::with_capacity(2 * chars.len());
    for (i, c) in chars.iter().enumerate() {
        if is_meant(i) { safe.extend(c.escape_unicode()) } else { safe.push(*c) }
    }
    safe.into()
}

/// A message of ours, whose further lines begin with two spaces. Any other line feed in it is somebody else's, and escaped: it would
/// begin a line that looks like one of ours.
pub fn message(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return line(text);
    }
    let mut joined: Vec<String> = Vec::new();
    for part in text.split('\n') {
        match joined.last_mut() {
            Some(last) if !part.starts_with("  ") => *last += &format!("\n{part}"),
            _ => joined.push(part.to_owned()),
        }
    }
    joined.iter().map(|line_of_ours| line(line_of_ours)).collect::<Vec<_>>().join("\n").into()
}

/// A text whose line feeds are meant: each line as [`line`] has it, the first 200 of them.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.lines().count() <= MOST_LINES && text.split('\n').all(is_clean_line) {
        return Cow::Borrowed(text);
    }
    let mut kept: Vec<Cow<'_, str>> = text.split('\n').take(MOST_LINES).map(line).collect();
    let rest = text.split('\n').count().saturating_sub(MOST_LINES);
    if rest > 0 {
        kept.push(format!("... ({rest} more lines)").into());
    }
    kept.join("\n").into()
}

/// The same number of bytes, with a `?` for each byte of what would be escaped: for a text that others point into. Line feeds
/// and tabs stay.
pub fn same_length(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| is_obeyed(c) && c != '\n' && c != '\t';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { safe.extend(std::iter::repeat_n('?', c.len_utf8())) } else { safe.push(c) }
    }
    safe.into()
}

/// JSON that a terminal shows as it is, and that means the same.
pub fn json(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| is_obeyed(c) && c != '\n';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match obeyed(c) {
            // Only strings can hold such a character, and there JSON counts in units of UTF-16.
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}"))),
            false => safe.push(c),
        }
    }
    safe.into()
}

fn is_clean_line(text: &str) -> bool {
    !text.contains(is_obeyed) && (text.len() <= LONGEST_LINE || text.chars().count() <= LONGEST_LINE)
}

fn clean(text: &str, longest: usize) -> Cow<'_, str> {
    let n_chars = if text.len() <= longest { 0 } else { text.chars().count() };
    if n_chars <= longest && !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len().min(4 * longest));
    for c in text.chars().take(longest) {
        if is_obeyed(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    if n_chars > longest {
        safe.push_str(&format!("... ({} more characters)", n_chars - longest));
    }
    safe.into()
}

/// Whether a terminal obeys a character or cannot show it: control characters, line ends of every kind, marks that turn the
/// direction of text, and fillers without width. Joiners stay: scripts and emoji need them.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out_and_all_else_stays() {
        for (foreign, safe) in [
            ("cat", "cat"),
            (
                "Größe 猫 \u{5d7}\u{5ea}\u{5d5}\u{5dc} می\u{200c}خواهم 👩\u{200d}🔬 e\u{301}",
                "Größe 猫 \u{5d7}\u{5ea}\u{5d5}\u{5dc} می\u{200c}خواهم 👩\u{200d}🔬 e\u{301}",
            ),
            ("a\\b", "a\\b"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("one\ntwo\r\nthree\tfour\u{b}\u{c}", "one\\ntwo\\r\\nthree\\tfour\\u{b}\\u{c}"),
            ("nul\0 del\u{7f} csi\u{9b}2J nel\u{85}", "nul\\u{0} del\\u{7f} csi\\u{9b}2J nel\\u{85}"),
            ("exe.\u{202e}gpj\u{202c} \u{2066}x\u{2069}", "exe.\\u{202e}gpj\\u{202c} \\u{2066}x\\u{2069}"),
            ("\u{feff}cat \u{200b}dog\u{2028}", "\\u{feff}cat \\u{200b}dog\\u{2028}"),
            ("", ""),
        ] {
            assert_eq!(line(foreign), safe);
            assert_eq!(word(foreign), safe);
            assert!(!safe.chars().any(is_obeyed));
        }
    }

    #[test]
    fn no_cell_of_a_table_passes_for_another() {
        for (foreign, as_name, as_phrase) in [
            ("lab/margin", "lab/margin", "lab/margin"),
            ("two words", "two\\u{20}words", "two words"),
            ("a  b", "a\\u{20}\\u{20}b", "a \\u{20}b"),
            (" a ", "\\u{20}a\\u{20}", "\\u{20}a\\u{20}"),
            ("a\nb", "a\\nb", "a\\nb"),
            ("a\u{a0}\u{3000}b", "a\\u{a0}\\u{3000}b", "a\u{a0}\\u{3000}b"),
        ] {
            assert_eq!((name(foreign).as_ref(), phrase(foreign).as_ref()), (as_name, as_phrase));
        }
    }

    #[test]
    fn only_lines_of_ours_begin_a_line_of_a_message() {
        for (text, safe) in [
            ("one", "one"),
            ("one\n  two\n  three", "one\n  two\n  three"),
            ("one\nforged\n  two\n", "one\\nforged\n  two\\n"),
            ("\u{1b}\n forged", "\\u{1b}\\n forged"),
        ] {
            assert_eq!(message(text), safe);
        }
    }

    #[test]
    fn a_text_keeps_its_line_feeds_and_a_source_its_length() {
        assert_eq!(lines("one\n  two\u{1b}[2J\n"), "one\n  two\\u{1b}[2J\n");
        assert!(matches!(lines("one\ntwo\n"), Cow::Borrowed(_)));
        let source = "a = \"\u{1b}\u{202e}\"\tü\n";
        assert_eq!(same_length(source), "a = \"????\"\tü\n");
        assert_eq!(same_length(source).len(), source.len());
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({"label": "\u{9b}2J\u{202e}\u{e0041}\u{1b}\n\\ü"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = json(&text);
        assert!(text.contains(is_obeyed) && !safe.replace('\n', "").contains(is_obeyed), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(word(&"ä".repeat(120)), "ä".repeat(120));
        assert_eq!(word(&"ä".repeat(123)), format!("{}... (3 more characters)", "ä".repeat(120)));
        assert_eq!(line(&"a".repeat(5000)), format!("{}... (904 more characters)", "a".repeat(4096)));
        let many = lines(&"x\n".repeat(1000)).into_owned();
        assert!(many.ends_with("x\n... (801 more lines)"), "{}", &many[many.len() - 40..]);
    }
}
