//! Text laid out as the reference's libraries lay it out: padded columns, elastic tabs, indented JSON.
//!
//! Always true: widths are counted in characters, the last cell of a line is never padded.
//! Not here: what goes into the cells.

use std::fmt::Write as _;

/// Rows of cells in columns two spaces apart, without a line break at the end.
pub fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.trim().chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widths[column] + 2 };
            let _ = write!(line, "{:width$}", cell.trim());
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How far elastic tabs reach.
#[derive(Clone, Copy, Debug)]
pub struct Tabs {
    pub width_min: usize,
    pub padding: usize,
}

impl Tabs {
    /// What most commands use.
    pub const USUAL: Tabs = Tabs { width_min: 0, padding: 6 };

    /// Expands the tabs of `text` as Go's `text/tabwriter` does with spaces: a column is a run of consecutive lines
    /// that have a tab-terminated cell at the same place.
    pub fn expand(self, text: &str) -> String {
        let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
        // Compat: Go does not count an empty cell that nothing ends.
        if let Some(last) = lines.last_mut().filter(|last| last.last().is_some_and(|cell| cell.is_empty())) {
            last.pop();
        }
        let mut out = String::with_capacity(text.len() * 2);
        self.block(&lines, 0, lines.len(), &mut Vec::new(), &mut out);
        out
    }

    fn block(self, lines: &[Vec<&str>], start: usize, end: usize, widths: &mut Vec<usize>, out: &mut String) {
        let column = widths.len();
        let has_cell = |line: usize| column + 1 < lines[line].len();
        let mut unprinted = start;
        let mut line = start;
        while line < end {
            if !has_cell(line) {
                line += 1;
                continue;
            }
            print(lines, unprinted, line, widths, out);
            unprinted = line;
            let mut width = self.width_min;
            while line < end && has_cell(line) {
                width = width.max(lines[line][column].chars().count() + self.padding);
                line += 1;
            }
            widths.push(width);
            self.block(lines, unprinted, line, widths, out);
            widths.pop();
            unprinted = line;
        }
        print(lines, unprinted, end, widths, out);
    }
}

fn print(lines: &[Vec<&str>], start: usize, end: usize, widths: &[usize], out: &mut String) {
    for (number, line) in lines.iter().enumerate().take(end).skip(start) {
        for (column, cell) in line.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or(0);
            let _ = write!(out, "{cell:width$}");
        }
        if number + 1 < lines.len() {
            out.push('\n');
        }
    }
}

/// Compact JSON, spread over lines as Go's `json.Indent` does.
pub fn indented(compact: &str, indent: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut depth = 0usize;
    let (mut in_text, mut escaped) = (false, false);
    let mut letters = compact.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    };
    while let Some(letter) = letters.next() {
        if in_text {
            out.push(letter);
            in_text = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' => {
                in_text = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                if matches!(letters.peek(), Some('}' | ']')) {
                    out.extend(letters.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter if letter.is_ascii_whitespace() => {}
            letter => out.push(letter),
        }
    }
    out
}

/// Why a regular expression was refused, in Go's words as far as the causes correspond.
pub fn regex_refusal(error: &regex::Error, expression: &str) -> String {
    let text = error.to_string();
    let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let cause = match cause.as_str() {
        "unclosed group" => "missing closing )".to_owned(),
        "unopened group" => "unexpected )".to_owned(),
        "unclosed character class" => "missing closing ]".to_owned(),
        "repetition operator missing expression" => "missing argument to repetition operator".to_owned(),
        _ => cause,
    };
    format!("error parsing regexp: {cause}: `{expression}`")
}

#[cfg(test)]
mod tests {
    use super::{Tabs, columns, indented};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["Node", "ID", "DC"], vec!["vm", "530c0da7", "dc1"], vec!["größer", "", "x"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(columns(&rows), "Node    ID        DC\nvm      530c0da7  dc1\ngrößer            x");
    }

    /// The reference's own output of `operator usage instances`.
    #[test]
    fn tabs_reach_over_consecutive_lines_only() {
        assert_eq!(
            Tabs::USUAL.expand("Datacenter\tCount\t\t\ndc1\t1\n\t\nTotal\t1"),
            "Datacenter      Count            \ndc1             1\n                \nTotal           1"
        );
        assert_eq!(
            Tabs { width_min: 8, padding: 6 }.expand(" ID\t2-209\n Size\t7584\n\n Type\tCount\tSize\n KVS\t2\t142B"),
            " ID        2-209\n Size      7584\n\n Type      Count      Size\n KVS       2          142B"
        );
    }

    #[test]
    fn json_is_spread_and_texts_are_left_alone() {
        assert_eq!(
            indented(r#"{"a":[1,{}],"b":"x:{\"y\\","c":[]}"#, "   "),
            "{\n   \"a\": [\n      1,\n      {}\n   ],\n   \"b\": \"x:{\\\"y\\\\\",\n   \"c\": []\n}"
        );
    }
}
