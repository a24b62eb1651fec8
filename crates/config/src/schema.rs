//! Which keys a configuration may contain, and what each may hold.
//!
//! Always true: every key that the reference knows is here, also those that Curule has not built
//! (see [`crate::unbuilt`]); a key that is not here is an error.

mod agent;
mod definition;
mod sections;

pub use agent::AGENT;
pub use definition::{CHECK, SERVICE};

/// The keys of one section.
#[derive(Debug)]
pub struct Schema {
    pub keys: &'static [Key],
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// Older spellings of the same key, in lower case.
    pub aliases: &'static [&'static str],
    pub shape: Shape,
}

/// What a key holds. Merging two sources depends on it: scalars replace, lists append, maps overlay, sections merge key
/// by key, and whole sections replace.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Bool,
    Integer,
    Unsigned,
    Float,
    Text,
    Texts,
    TextMap,
    TextsMap,
    Section(&'static Schema),
    /// A section that a later source replaces as a whole.
    Whole(&'static Schema),
    Sections(&'static Schema),
    SectionMap(&'static Schema),
    /// A map that only its consumer understands.
    Free,
    Frees,
}

impl Schema {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The shape of a dotted path, if the schema has it.
    pub fn shape(&'static self, path: &str) -> Option<Shape> {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let shape = self.key(name)?.shape;
        match (rest, shape) {
            (None, shape) => Some(shape),
            (Some(rest), Shape::Section(schema) | Shape::Whole(schema)) => schema.shape(rest),
            (Some(_), _) => None,
        }
    }
}

impl Key {
    const fn of(name: &'static str, shape: Shape) -> Key {
        Key { name, aliases: &[], shape }
    }

    const fn alias(self, aliases: &'static [&'static str]) -> Key {
        Key { aliases, ..self }
    }
}

const fn boolean(name: &'static str) -> Key {
    Key::of(name, Shape::Bool)
}

const fn integer(name: &'static str) -> Key {
    Key::of(name, Shape::Integer)
}

const fn unsigned(name: &'static str) -> Key {
    Key::of(name, Shape::Unsigned)
}

const fn float(name: &'static str) -> Key {
    Key::of(name, Shape::Float)
}

const fn text(name: &'static str) -> Key {
    Key::of(name, Shape::Text)
}

const fn texts(name: &'static str) -> Key {
    Key::of(name, Shape::Texts)
}

const fn text_map(name: &'static str) -> Key {
    Key::of(name, Shape::TextMap)
}

const fn section(name: &'static str, schema: &'static Schema) -> Key {
    Key::of(name, Shape::Section(schema))
}

const fn whole(name: &'static str, schema: &'static Schema) -> Key {
    Key::of(name, Shape::Whole(schema))
}

const fn sections(name: &'static str, schema: &'static Schema) -> Key {
    Key::of(name, Shape::Sections(schema))
}

#[cfg(test)]
mod tests {
    use super::{AGENT, Schema, Shape};

    fn walk(schema: &'static Schema, depth: usize) {
        let mut names: Vec<&str> = schema.keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a name twice in {names:?}");
        for key in schema.keys {
            assert!(key.aliases.iter().all(|alias| *alias == alias.to_lowercase()), "{}", key.name);
            if let Shape::Section(inner) | Shape::Whole(inner) | Shape::Sections(inner) = key.shape
                && depth < 6
            {
                walk(inner, depth + 1);
            }
        }
    }

    #[test]
    fn names_are_unique_and_aliases_lower_case() {
        walk(&AGENT, 0);
    }

    #[test]
    fn paths_are_found() {
        assert!(matches!(AGENT.shape("ports.http"), Some(Shape::Integer)));
        assert!(matches!(AGENT.shape("acl.tokens.default"), Some(Shape::Text)));
        assert!(AGENT.shape("ports.zork").is_none());
        assert!(AGENT.shape("server.zork").is_none());
    }
}
