//! Where line ends, blanks and indentation go.
//!
//! Compat: everything here follows what `hclfmt` does, not what it means to do: comments are placed by comparing with
//! the place of what was printed last, values that share a line with their key are aligned in runs, and a run may begin
//! or end where one would not expect it.

use super::syntax::{Comment, Document, Group, GroupId, Item, Literal, LiteralKind, Node, Place};

const INDENT: &str = "  ";
/// Stands before each line that must not be indented, until all is printed. In the private use area, as in the
/// reference; lengths count it.
const UNINDENTED: char = '\u{e123}';
const END: Place = Place { offset: usize::MAX, line: usize::MAX };

pub(super) struct Printer<'a> {
    document: &'a Document,
    /// Comments that belong to no item, in their order.
    alone: Vec<&'a Group>,
    /// Where that which was printed last stands.
    last: Place,
}

impl<'a> Printer<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        let mut owned = vec![false; document.groups.len()];
        mark_items(&document.items, &mut owned);
        let alone = document.groups.iter().zip(owned).filter(|(_, owned)| !owned).map(|(group, _)| group).collect();
        Printer { document, alone, last: Place::default() }
    }

    pub(super) fn print(mut self) -> String {
        let document = self.document;
        let printed = self.top(&document.items);
        without_marks(&printed)
    }

    fn comments(&self, group: Option<GroupId>) -> &'a [Comment] {
        group.map_or(&[], |group| &self.document.groups[group])
    }

    /// The comments of each lone group that stand between what was printed last and `next`.
    fn alone_before(&self, next: Place) -> Vec<Vec<&'a Comment>> {
        let due = |comment: &&Comment| self.last.is_before(comment.place) && comment.place.is_before(next);
        let groups = self.alone.iter().map(|group| group.iter().filter(due).collect::<Vec<_>>());
        groups.filter(|comments| !comments.is_empty()).collect()
    }

    fn top(&mut self, items: &[Item]) -> String {
        let mut out = String::new();
        for at in 0..=items.len() {
            let item = items.get(at);
            for comments in self.alone_before(item.map_or(END, Item::place)) {
                if item.is_none() && self.last.line > 0 {
                    out.push_str("\n\n");
                }
                for comment in comments {
                    out.push_str(&comment.text);
                    out.push('\n');
                }
                if item.is_some() {
                    out.push('\n');
                }
            }
            let Some(item) = item else { break };
            self.last = item.place();
            out.push_str(&self.item(item));
            if let Some(next) = items.get(at + 1) {
                out.push('\n');
                if next.place().line != item.place().line + 1 || !is_empty_block(next) || !is_empty_block(item) {
                    out.push('\n');
                }
            }
        }
        out
    }

    fn node(&mut self, node: &Node) -> String {
        match node {
            Node::Literal(literal) => literal_text(literal),
            Node::List { open, members } => self.list(*open, members),
            Node::Object { items, close, .. } => self.object(items, *close),
        }
    }

    fn item(&mut self, item: &Item) -> String {
        let mut out = String::new();
        let own_line = item.value.place().line == item.place().line;
        for comment in self.comments(item.lead) {
            out.push_str(&comment.text);
            out.push('\n');
        }
        if !own_line {
            for comment in self.comments(item.line) {
                out.push_str(&comment.text);
                out.push('\n');
            }
        }
        for key in &item.keys {
            out.push_str(&key.text);
            out.push(' ');
        }
        if item.assigned && item.keys.len() == 1 {
            out.push_str("= ");
        }
        out.push_str(&self.node(&item.value));
        if own_line && item.line.is_some() {
            out.push(' ');
            self.comments(item.line).iter().for_each(|comment| out.push_str(&comment.text));
        }
        out
    }

    fn object(&mut self, items: &[Item], close: Place) -> String {
        let mut out = String::from("{");
        let mut at = 0;
        let (mut opened, mut commented) = (false, false);
        loop {
            let next = items.get(at).map_or(close, Item::place);
            for comments in self.alone_before(next) {
                for comment in &comments {
                    if !opened {
                        opened = true;
                        out.push('\n');
                    }
                    if at > 0 {
                        commented = true;
                        out.push('\n');
                    }
                    out.push_str(&indented(&marked(&comment.text)));
                }
                out.push('\n');
                let hugged = comments.last().is_some_and(|comment| next.line == comment.place.line + 1);
                if next != close && !hugged {
                    out.push('\n');
                }
            }
            if at == items.len() {
                self.last = close;
                break;
            }
            if !opened {
                opened = true;
                out.push('\n');
            }
            let run = self.run(items, at);
            at += run.len();
            if !commented && at != run.len() {
                out.push('\n');
            }
            if let Some(last) = run.last() {
                self.last = last.place();
                let aligned = self.aligned(run);
                out.push_str(&indented(&aligned));
            } else {
                self.last = items[at].place();
                let item = self.item(&items[at]);
                out.push_str(&indented(&item));
                at += 1;
            }
            out.push('\n');
        }
        out.push('}');
        out
    }

    /// The items from `first` on that are aligned with each other: short ones on neighbouring lines.
    fn run<'i>(&mut self, items: &'i [Item], first: usize) -> &'i [Item] {
        let mut at = first;
        if items.len() == 1 {
            return &[];
        }
        for item in &items[first..] {
            // One line, or two when one of them is a comment.
            if self.item(item).matches('\n').count() > 1 {
                break;
            }
            let line = item.place().line;
            let next = items.get(at + 1).map_or(0, |next| next.place().line);
            let before = at.checked_sub(1).map_or(0, |before| items[before].place().line);
            if line + 1 == next {
                at += 1;
            } else {
                if line == before + 1 {
                    at += 1;
                }
                break;
            }
        }
        &items[first..at]
    }

    fn aligned(&mut self, items: &[Item]) -> String {
        let values: Vec<String> = items.iter().map(|item| self.node(&item.value)).collect();
        let key_len = |item: &Item| item.keys.first().map_or(0, |key| key.text.len());
        let longest_key = items.iter().map(key_len).max().unwrap_or(0);
        let longest_value = values.iter().map(String::len).max().unwrap_or(0);
        let mut out = String::new();
        for (at, item) in items.iter().enumerate() {
            for comment in self.comments(item.lead) {
                out.push_str(&comment.text);
                out.push('\n');
            }
            for key in &item.keys {
                out.push_str(&key.text);
                out.push_str(&" ".repeat((longest_key + 1).saturating_sub(key.text.len())));
            }
            if item.keys.len() == 1 {
                out.push_str("= ");
            }
            // Printed once more: what was printed last has moved since.
            let value = self.node(&item.value);
            out.push_str(&value);
            if item.line.is_some() && item.value.place().line == item.place().line {
                out.push_str(&" ".repeat((longest_value + 1).saturating_sub(value.len())));
                self.comments(item.line).iter().for_each(|comment| out.push_str(&comment.text));
            }
            if at + 1 != items.len() {
                out.push('\n');
            }
        }
        out
    }

    fn list(&mut self, open: Place, members: &[Node]) -> String {
        if is_one_line(open, members) {
            return self.one_line(members);
        }
        let literal_len = |member: &Node| match member {
            Node::Literal(literal) => literal.text.len(),
            _ => 0,
        };
        let longest = members.iter().map(literal_len).max().unwrap_or(0);
        let mut out = String::from("[\n");
        let mut parted = false;
        for (at, member) in members.iter().enumerate() {
            let literal = match member {
                Node::Literal(literal) => Some(literal),
                _ => None,
            };
            let lead = literal.and_then(|literal| literal.lead);
            if lead.is_some() {
                if !parted && at != 0 {
                    out.push('\n');
                }
                for comment in self.comments(lead) {
                    out.push_str(&indented(&comment.text));
                    out.push('\n');
                }
            }
            let value = self.node(member);
            out.push_str(&indented(&value));
            if literal.is_some_and(|literal| literal.kind == LiteralKind::Heredoc) {
                out.push('\n');
                out.push_str(INDENT);
            }
            out.push(',');
            if let Some(line) = literal.and_then(|literal| literal.line) {
                out.push_str(&" ".repeat(1 + longest.saturating_sub(value.len())));
                self.comments(Some(line)).iter().for_each(|comment| out.push_str(&comment.text));
            }
            out.push('\n');
            parted = lead.is_some() && at + 1 != members.len();
            if parted {
                out.push('\n');
            }
        }
        out.push(']');
        out
    }

    fn one_line(&mut self, members: &[Node]) -> String {
        let mut out = String::from("[");
        for (at, member) in members.iter().enumerate() {
            if at != 0 {
                out.push_str(", ");
            }
            out.push_str(&self.node(member));
            if matches!(member, Node::Literal(literal) if literal.kind == LiteralKind::Heredoc) {
                out.push('\n');
            }
        }
        out.push(']');
        out
    }
}

fn mark_items(items: &[Item], owned: &mut [bool]) {
    for item in items {
        item.lead.into_iter().chain(item.line).for_each(|group| owned[group] = true);
        mark_node(&item.value, owned);
    }
}

fn mark_node(node: &Node, owned: &mut [bool]) {
    match node {
        Node::Literal(literal) => literal.lead.into_iter().chain(literal.line).for_each(|group| owned[group] = true),
        Node::List { members, .. } => members.iter().for_each(|member| mark_node(member, owned)),
        Node::Object { items, .. } => mark_items(items, owned),
    }
}

/// `{}` after its keys, which may stand on the line after another one.
fn is_empty_block(item: &Item) -> bool {
    item.lead.is_none() && !item.assigned && matches!(&item.value, Node::Object { items, .. } if items.is_empty())
}

fn is_one_line(open: Place, members: &[Node]) -> bool {
    members.iter().all(|member| match member {
        Node::Literal(literal) => {
            literal.place.line == open.line
                && literal.line.is_none()
                && (literal.kind != LiteralKind::Heredoc || members.len() == 1)
        }
        _ => false,
    })
}

fn literal_text(literal: &Literal) -> String {
    match literal.kind {
        LiteralKind::Heredoc => marked(literal.text.strip_suffix('\n').unwrap_or(&literal.text)),
        LiteralKind::Quoted => marked(&literal.text),
        LiteralKind::Plain => literal.text.clone(),
    }
}

/// Indents each line that has something on it.
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.push_str(INDENT);
        }
        out.push_str(line);
    }
    out
}

/// Marks every line after the first, unless empty, as one that stays where it is.
fn marked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at > 0 && line != "\n" {
            out.push(UNINDENTED);
        }
        out.push_str(line);
    }
    out
}

/// Takes the marks out, with all that stands before them on their lines.
fn without_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == UNINDENTED {
            out.truncate(out.rfind('\n').map_or(0, |at| at + 1));
        } else {
            out.push(letter);
        }
    }
    out
}
