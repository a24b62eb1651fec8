//! The policy language: one text of rules, read and checked.
//!
//! Always true: [`Rules`] hold only levels that their resource knows; what is refused is refused with the
//! reference's text; keys that mean nothing are passed over, as the reference passes over them (`namespace` and
//! `partition` blocks among them, since the community edition has neither).
//!
//! Not here: what several policies mean together (see [`crate::Grants`]).

mod decode;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::quote::quote;

/// How far a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Deny,
    Read,
    /// Keys only: read, and list what is below.
    List,
    Write,
}

impl Level {
    /// The word of the policy language.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Level::Deny => "deny",
            Level::Read => "read",
            Level::List => "list",
            Level::Write => "write",
        }
    }
}

/// A level as a policy wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub level: Level,
    /// Written in lower case.
    plain: bool,
}

impl Written {
    pub(crate) const fn new(level: Level) -> Self {
        Written { level, plain: true }
    }

    /// The level of this word, whatever its case.
    fn parse(word: &str) -> Option<Written> {
        let level = match word.to_lowercase().as_str() {
            "deny" => Level::Deny,
            "read" => Level::Read,
            "list" => Level::List,
            "write" => Level::Write,
            _ => return None,
        };
        Some(Written { level, plain: word == level.word() })
    }

    /// Who wins where two policies speak of the same thing: deny, then write, then list, then read.
    ///
    /// Compat: a level that is not written in lower case grants where it stands alone, and loses to every other one.
    /// `DENY` loses too in the reference, so that adding it could allow more; here a deny wins, however written.
    pub(crate) const fn rank(self) -> u8 {
        match self.level {
            Level::Deny => 4,
            _ if !self.plain => 0,
            Level::Write => 3,
            Level::List => 2,
            Level::Read => 1,
        }
    }

    /// What a service rule says about intentions when it does not say so itself.
    pub(crate) const fn intentions(self) -> Written {
        match self.level {
            // Compat: only lower-case levels count here.
            Level::Read | Level::Write if self.plain => Written::new(Level::Read),
            _ => Written::new(Level::Deny),
        }
    }
}

/// Resources whose rules have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Agent,
    Event,
    Key,
    Node,
    PreparedQuery,
    Service,
    Session,
}

impl Kind {
    /// All of them, in the order in which the reference checks them.
    pub(crate) const ALL: [Kind; 7] =
        [Kind::Agent, Kind::Key, Kind::Node, Kind::Service, Kind::Session, Kind::Event, Kind::PreparedQuery];

    /// The word of an exact rule.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::Event => "event",
            Kind::Key => "key",
            Kind::Node => "node",
            Kind::PreparedQuery => "query",
            Kind::Service => "service",
            Kind::Session => "session",
        }
    }

    /// The word of a prefix rule.
    #[must_use]
    pub const fn prefix_word(self) -> &'static str {
        match self {
            Kind::Agent => "agent_prefix",
            Kind::Event => "event_prefix",
            Kind::Key => "key_prefix",
            Kind::Node => "node_prefix",
            Kind::PreparedQuery => "query_prefix",
            Kind::Service => "service_prefix",
            Kind::Session => "session_prefix",
        }
    }

    /// What the reference's error texts call the type of the rule and its name, and whether it ends in the empty
    /// enterprise part.
    const fn go_names(self) -> (&'static str, &'static str, bool) {
        match self {
            Kind::Agent => ("AgentRule", "Node", false),
            Kind::Event => ("EventRule", "Event", false),
            Kind::Key => ("KeyRule", "Prefix", true),
            Kind::Node => ("NodeRule", "Name", true),
            Kind::PreparedQuery => ("PreparedQueryRule", "Prefix", false),
            Kind::Service => ("ServiceRule", "Name", true),
            Kind::Session => ("SessionRule", "Node", false),
        }
    }
}

/// Resources that there is only one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Single {
    Acl,
    Keyring,
    Operator,
    Mesh,
    Peering,
}

impl Single {
    /// All of them, in the order in which the reference checks them.
    pub(crate) const ALL: [Single; 5] = [Single::Acl, Single::Keyring, Single::Operator, Single::Mesh, Single::Peering];

    /// The word of its rule.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Single::Acl => "acl",
            Single::Keyring => "keyring",
            Single::Operator => "operator",
            Single::Mesh => "mesh",
            Single::Peering => "peering",
        }
    }
}

/// One rule about named resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub kind: Kind,
    pub name: Box<str>,
    /// Speaks of exactly this name, not of every name that starts with it.
    pub exact: bool,
    pub level: Written,
    /// Services only.
    pub intentions: Option<Written>,
}

/// One text of rules, read and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub(crate) single: [Option<Written>; Single::ALL.len()],
    pub(crate) named: Vec<Rule>,
}

/// In which dialect a text of rules is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Of policies.
    Current,
    /// Of the tokens of Consul 1.3 and before: `key "a" {…}` speaks of every key that starts with `a`.
    Legacy,
}

impl Rules {
    /// Reads a text that somebody wants to store.
    pub fn parse(text: &str) -> Result<Rules, BadRules> {
        if text.is_empty() {
            return Ok(Rules::default());
        }
        decode::rules(text, Syntax::Current, &hcl::parse_unique(text).map_err(unreadable)?)
    }

    /// Reads a text that is stored already. Repeated arguments, which older versions accepted, do not make it
    /// unreadable: the last one counts.
    pub fn parse_stored(text: &str, syntax: Syntax) -> Result<Rules, BadRules> {
        if text.is_empty() {
            return Ok(Rules::default());
        }
        decode::rules(text, syntax, &hcl::parse(text).map_err(unreadable)?)
    }

    /// Whether there is no rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.single.iter().all(Option::is_none)
    }

    pub(crate) fn single(&self, single: Single) -> Option<Written> {
        self.single[single as usize]
    }
}

/// Rules of the legacy dialect in the current one: what spoke of prefixes without saying so says so. Layout and comments
/// are the reference's (1.4 to 1.10; later versions have no such thing).
pub fn translate(text: &str) -> Result<String, BadRules> {
    let renamed = hcl::print::renamed(text, |key| match key {
        "policy" => Some("policy"),
        "agent" => Some("agent_prefix"),
        "key" => Some("key_prefix"),
        "node" => Some("node_prefix"),
        "query" => Some("query_prefix"),
        "service" => Some("service_prefix"),
        "session" => Some("session_prefix"),
        "event" => Some("event_prefix"),
        _ => None,
    });
    renamed.map_err(|error| BadRules(format!("Failed to parse rules: {error}")))
}

fn unreadable(error: hcl::Error) -> BadRules {
    BadRules(format!("Failed to parse ACL rules: {error}"))
}

/// Why a text of rules was refused, in the reference's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRules(pub(crate) String);

impl BadRules {
    /// A rule whose level its resource does not know, printed as the reference prints its own structure.
    fn level(kind: Kind, exact: bool, part: &str, name: &str, level: &str, intentions: &str) -> BadRules {
        let (go_type, go_name, enterprise) = kind.go_names();
        let word = if exact { kind.word() } else { kind.prefix_word() };
        let mut text =
            format!("Invalid {word} {part}policy: &acl.{go_type}{{{go_name}:{}, Policy:{}", quote(name), quote(level));
        if kind == Kind::Service {
            text.push_str(&format!(", Intentions:{}", quote(intentions)));
        }
        text.push_str(if enterprise { ", EnterpriseRule:acl.EnterpriseRule{}}" } else { "}" });
        BadRules(text)
    }
}

impl fmt::Display for BadRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRules {}
