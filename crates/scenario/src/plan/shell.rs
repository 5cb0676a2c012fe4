//! Words of a command line as a shell splits them: blanks separate, single quotes keep everything, double quotes keep all
//! but backslashes. No expansion of any kind.

use core::ops::Range;

/// A word and where it stands in the text, quotes included.
type Word = (String, Range<usize>);

/// Splits a command line.
///
/// # Errors
/// A quote that is not closed: where it opens, and what is wrong.
pub(crate) fn words(text: &str) -> Result<Vec<Word>, (Range<usize>, String)> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<(char, usize)> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        let after = at + c.len_utf8();
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let (current, span) = word.get_or_insert_with(|| (String::new(), at..at));
        span.end = after;
        match (c, quote) {
            (c, Some((open, _))) if c == open => quote = None,
            ('\\', None | Some(('"', _))) => {
                let Some((at, escaped)) = chars.next() else {
                    return Err((at..after, "nothing follows the backslash".into()));
                };
                // In double quotes a backslash stands for itself before any other character.
                if quote.is_some() && !matches!(escaped, '"' | '\\' | '$' | '`') {
                    current.push(c);
                }
                current.push(escaped);
                span.end = at + escaped.len_utf8();
            }
            ('"' | '\'', None) => quote = Some((c, at)),
            (c, _) => current.push(c),
        }
    }
    if let Some((open, at)) = quote {
        return Err((at..at + 1, format!("this {open} is not closed")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).expect("it splits").into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn quotes_keep_blanks_and_join_what_they_touch() {
        assert_eq!(
            split("curl  -H 'Accept: text/html' \"a b\"c"),
            ["curl", "-H", "Accept: text/html", "a bc"]
        );
        assert_eq!(split(r#"-d "{\"a\": 1}" '' \$x"#), ["-d", r#"{"a": 1}"#, "", "$x"]);
        assert_eq!(split(r#"-w "%{http_code}\n""#), ["-w", r"%{http_code}\n"]);
    }

    #[test]
    fn places_are_those_of_the_text() {
        let spans: Vec<_> = words("a 'b c' d").unwrap().into_iter().map(|(_, span)| span).collect();
        assert_eq!(spans, [0..1, 2..7, 8..9]);
        assert_eq!(words("a 'b").unwrap_err().0, 2..3);
        assert_eq!(words("a \\").unwrap_err().0, 2..3);
    }
}
