//! A place in a SQL text, and how it is shown to a person: line, column and a caret.

/// A place in a SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The whole text that was given.
    pub text: String,
    /// Where in it, in bytes from the start; at most the length of the text.
    pub offset: usize,
    /// How many bytes it covers; 0 is shown as one caret.
    pub length: usize,
}

impl Span {
    /// The place of `length` bytes at `offset` in `text`. An offset behind the end means the end.
    pub fn new(text: impl Into<String>, offset: usize, length: usize) -> Self {
        let text = text.into();
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        Self { text, offset, length }
    }

    /// The line, from 1, and the column in characters, from 1.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.text[..self.offset];
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        (line, before[line_start..].chars().count() + 1)
    }

    /// The line itself and a caret line under the place, for a terminal.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let (line, column) = self.line_and_column();
        let whole = self.text.lines().nth(line - 1).unwrap_or("");
        let (text, column) = window(whole, column);
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let carets = "^".repeat(self.length.clamp(1, room));
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs so that the caret stands under its character whatever the width of a tab.
        let indent: String =
            text.chars().take(column - 1).map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        format!("{number} | {text}\n{margin} | {indent}{carets}")
    }
}

/// The part of a long line around a column, and the column in that part.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDEST: usize = 160;
    const BEFORE: usize = 80;
    let length = line.chars().count();
    if length <= WIDEST {
        return (line.to_owned(), column);
    }
    let start = (column - 1).saturating_sub(BEFORE);
    let part: String = line.chars().skip(start).take(WIDEST).collect();
    let (head, shift) = if start > 0 { ("... ", 4) } else { ("", 0) };
    let tail = if start + WIDEST < length { " ..." } else { "" };
    (format!("{head}{part}{tail}"), column - start + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let span = Span::new("SELECT a,\n  bad\nFROM t", 12, 3);
        assert_eq!(span.line_and_column(), (2, 3));
        assert_eq!(span.excerpt(), "2 |   bad\n  |   ^^^");
    }

    #[test]
    fn of_a_long_line_only_the_part_around_the_place_is_shown() {
        let span = Span::new(format!("{}here{}", "a".repeat(500), "b".repeat(500)), 500, 4);
        let excerpt = span.excerpt();
        let (text, carets) = excerpt.split_once('\n').unwrap_or_default();
        assert_eq!(text.find("here"), carets.find("^^^^"));
        assert!(text.len() < 180 && text.starts_with("1 | ... a") && text.ends_with("b ..."), "{text}");
    }

    #[test]
    fn a_place_behind_the_end_is_the_end() {
        let span = Span::new("SELECT", 99, 0);
        assert_eq!(span.excerpt(), "1 | SELECT\n  |       ^");
    }
}
