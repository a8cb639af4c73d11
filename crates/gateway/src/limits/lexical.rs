//! The check that runs before parsing: the parser recurses on nested brackets, so their depth must be known first.

use super::GatewayLimits;
use crate::error::GatewayError;

/// Counts words, signs and open brackets of a document, passing over strings and comments.
///
/// # Errors
/// Too many of them.
pub(super) fn check(query: &str, limits: &GatewayLimits) -> Result<(), GatewayError> {
    let mut rest = query.as_bytes();
    let mut tokens = 0_usize;
    let mut depth = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                rest = after;
                continue;
            }
            b'#' => {
                rest = &rest[comment_length(rest)..];
                continue;
            }
            b'"' => string_length(rest),
            _ => word_length(rest),
        };
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens += 1;
        if tokens > limits.tokens_max {
            return Err(GatewayError::bad_request(format!(
                "the document has more than {} words and signs; split it into several requests",
                limits.tokens_max
            )));
        }
        if depth > limits.nesting_max {
            return Err(GatewayError::bad_request(format!(
                "the document nests more than {} brackets",
                limits.nesting_max
            )));
        }
        rest = &rest[length..];
    }
    Ok(())
}

fn comment_length(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())
}

/// Length of the string that begins here, quotes included. An unterminated one reaches to the end.
fn string_length(text: &[u8]) -> usize {
    let block = text.starts_with(b"\"\"\"");
    let quote: &[u8] = if block { b"\"\"\"" } else { b"\"" };
    let mut position = quote.len();
    while position < text.len() {
        let rest = &text[position..];
        if block && rest.starts_with(b"\\\"\"\"") {
            position += 4;
        } else if !block && rest[0] == b'\\' {
            position += 2;
        } else if rest.starts_with(quote) {
            return position + quote.len();
        } else {
            position += 1;
        }
    }
    text.len()
}

/// Length of a name or number; signs count one by one.
fn word_length(text: &[u8]) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.iter().position(|byte| !is_word(byte)).unwrap_or(text.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(tokens_max: usize, nesting_max: usize) -> GatewayLimits {
        GatewayLimits { tokens_max, nesting_max, ..GatewayLimits::default() }
    }

    #[test]
    fn tokens_and_nesting_are_counted_exactly() {
        let query = "query Q($a: Int!) { f(x: [1, 2.5e-3]) { g } }";
        // query Q ( $ a : Int ! ) { f ( x : [ 1 2.5e-3 ] ) { g } }
        assert!(check(query, &limits(23, 3)).is_ok());
        assert!(check(query, &limits(22, 3)).is_err());
        assert!(check(query, &limits(23, 2)).is_err());
    }

    #[test]
    fn strings_and_comments_do_not_nest() {
        for query in [
            r#"{ f(x: "{{{{ \" [[[[") }"#,
            "{ f(x: \"\"\"{{{{ \\\"\"\" [[[[ \"\"\") }",
            "# {{{{{{{{ \" \n{ f }",
        ] {
            assert!(check(query, &limits(100, 2)).is_ok(), "{query}");
        }
    }

    #[test]
    fn broken_strings_end_with_the_document() {
        for query in
            ["{ f(x: \"", "{ f(x: \"\\", "{ f(x: \"\"\"\\\"\"\"", "é{", "\"\"", "\"\"\"", "{\u{feff}}"]
        {
            assert!(check(query, &limits(100, 3)).is_ok(), "{query}");
        }
    }
}
