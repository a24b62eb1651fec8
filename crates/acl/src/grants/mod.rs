//! What the policies of one token allow together, compiled for fast lookups.
//!
//! Always true:
//! - Of several rules about one name the one of highest rank counts: deny, write, list, read.
//! - An exact rule wins over prefix rules, a longer prefix over a shorter one.
//! - Mesh and peering without a rule follow the operator's rule; intentions without one follow the service's.
//! - Where no rule speaks the default policy does, but never for ACLs themselves.
//! - Deciding allocates nothing and costs a binary search: a table is sorted by name, and each name knows the longest
//!   other one that it starts with.
//!
//! Each rule remembers the policy that it came from, so that a decision can be explained.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::quote::quote;
use crate::rules::{Kind, Level, Rules, Single, Written};
use crate::{Access, Authorizer, Need, Resource};

/// What holds where no rule speaks (`acl.default_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultPolicy {
    Allow,
    #[default]
    Deny,
}

/// The rules of one policy, with the name that explanations give it.
#[derive(Debug, Clone)]
pub struct Named {
    pub name: Arc<str>,
    pub rules: Arc<Rules>,
}

/// What several policies allow together.
#[derive(Debug, Clone)]
pub struct Grants {
    policies: Box<[Arc<str>]>,
    default: DefaultPolicy,
    single: [Option<Grant>; Single::ALL.len()],
    agents: Table,
    events: Table,
    keys: Table,
    nodes: Table,
    queries: Table,
    services: Table,
    sessions: Table,
    intentions: Table,
    everything: bool,
}

/// One rule in force, and the policy that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    level: Level,
    policy: u32,
}

/// A rule under construction: what is known of it so far is what ranks highest.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    written: Written,
    policy: u32,
}

impl Ranked {
    fn merge(slot: &mut Option<Ranked>, other: Ranked) {
        if slot.is_none_or(|present| other.written.rank() > present.written.rank()) {
            *slot = Some(other);
        }
    }

    fn grant(self) -> Grant {
        Grant { level: self.written.level, policy: self.policy }
    }
}

type Merged<'a> = BTreeMap<(&'a str, bool), (Option<Ranked>, Option<Ranked>)>;

impl Grants {
    /// Compiles the rules of several policies.
    #[must_use]
    pub fn compile(policies: &[Named], default: DefaultPolicy) -> Grants {
        let mut single = [None; Single::ALL.len()];
        let mut named: [Merged<'_>; Kind::ALL.len()] = Default::default();
        for (policy, Named { rules, .. }) in (0u32..).zip(policies) {
            for of in Single::ALL {
                // Compat: of these a level that is not written in lower case counts for nothing.
                if let Some(written) = rules.single(of).filter(|written| written.rank() > 0) {
                    Ranked::merge(&mut single[of as usize], Ranked { written, policy });
                }
            }
            for rule in &rules.named {
                let (level, intentions) = named[rule.kind as usize].entry((&rule.name, rule.exact)).or_default();
                Ranked::merge(level, Ranked { written: rule.level, policy });
                if let Some(written) = rule.intentions {
                    Ranked::merge(intentions, Ranked { written, policy });
                }
            }
        }
        let intentions = Table::new(named[Kind::Service as usize].iter().filter_map(|(&at, &(level, own))| {
            let derived = level.map(|level| Ranked { written: level.written.intentions(), policy: level.policy });
            Some((at, own.or(derived)?.grant()))
        }));
        let [agents, events, keys, nodes, queries, services, sessions] =
            named.map(|merged| Table::new(merged.iter().filter_map(|(&at, &(level, _))| Some((at, level?.grant())))));
        let mut grants = Grants {
            policies: policies.iter().map(|policy| Arc::clone(&policy.name)).collect(),
            default,
            single: single.map(|ranked| ranked.map(Ranked::grant)),
            agents,
            events,
            keys,
            nodes,
            queries,
            services,
            sessions,
            intentions,
            everything: false,
        };
        grants.everything = grants.grants_everything();
        grants
    }

    fn grants_everything(&self) -> bool {
        let tables = [
            &self.agents,
            &self.events,
            &self.keys,
            &self.nodes,
            &self.queries,
            &self.services,
            &self.sessions,
            &self.intentions,
        ];
        tables.into_iter().all(Table::is_write_throughout)
            && [Single::Acl, Single::Keyring, Single::Operator].into_iter().all(|of| self.is_write(of))
            && [Single::Mesh, Single::Peering].into_iter().all(|of| self.single(of).is_none() || self.is_write(of))
    }

    fn single(&self, of: Single) -> Option<Grant> {
        self.single[of as usize]
    }

    fn is_write(&self, of: Single) -> bool {
        self.single(of).is_some_and(|grant| grant.level == Level::Write)
    }

    /// Whether `need` is granted.
    #[must_use]
    pub fn allows(&self, need: Need<'_>) -> bool {
        self.everything || self.decide(need).allowed.unwrap_or_else(|| self.allows_by_default(need))
    }

    /// Whether every need is granted.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        self.everything
    }

    /// Compat: `default_policy = "allow"` never lets anybody at the ACLs.
    fn allows_by_default(&self, need: Need<'_>) -> bool {
        self.default == DefaultPolicy::Allow && need.resource != Resource::Acl
    }

    fn decide<'a>(&'a self, need: Need<'_>) -> Decision<'a> {
        let access = need.access;
        match need.resource {
            Resource::Acl => self.decide_single(&[Single::Acl], access),
            Resource::Keyring => self.decide_single(&[Single::Keyring], access),
            Resource::Operator => self.decide_single(&[Single::Operator], access),
            Resource::Mesh => self.decide_single(&[Single::Mesh, Single::Operator], access),
            Resource::Peering => self.decide_single(&[Single::Peering, Single::Operator], access),
            Resource::Agent(name) => self.agents.decide(Kind::Agent, name, access),
            Resource::Event(name) => self.events.decide(Kind::Event, name, access),
            Resource::Node(name) => self.nodes.decide(Kind::Node, name, access),
            Resource::PreparedQuery(name) => self.queries.decide(Kind::PreparedQuery, name, access),
            Resource::Service(name) => self.services.decide(Kind::Service, name, access),
            Resource::Session(name) => self.sessions.decide(Kind::Session, name, access),
            Resource::Key(name) => self.keys.decide(Kind::Key, name, access),
            Resource::KeyPrefix(prefix) if access == Access::Write => self.keys.decide_below(Kind::Key, prefix),
            // Compat: listing asks for the prefix as if it were a key; what lies below is filtered row by row.
            Resource::KeyPrefix(prefix) => self.keys.decide(Kind::Key, prefix, access),
            Resource::EveryNode => self.nodes.decide_all(Kind::Node, access),
            Resource::EveryService => self.services.decide_all(Kind::Service, access),
            Resource::AnyService => self.services.decide_any(Kind::Service, access),
            Resource::Intention("*") if access == Access::Write => self.intentions.decide_all(Kind::Service, access),
            Resource::Intention("*") => self.intentions.decide_any(Kind::Service, access),
            Resource::Intention(name) => self.intentions.decide(Kind::Service, name, access),
        }
    }

    fn decide_single<'a>(&'a self, in_turn: &[Single], access: Access) -> Decision<'a> {
        let spoken = in_turn.iter().find_map(|&of| Some((of, self.single(of)?)));
        spoken.map_or(Decision::NONE, |(of, grant)| Decision {
            allowed: Some(reaches(grant.level, access)),
            rule: Some(Deciding { word: of.word(), name: None, grant }),
        })
    }

    /// Which policy and rule decide about `need`, and which rule would grant it.
    #[must_use]
    pub fn explain(&self, need: Need<'_>) -> Explanation {
        let decision = self.decide(need);
        let intention = matches!(need.resource, Resource::Intention(_));
        let because = match decision.rule {
            Some(deciding) => Because::Rule {
                policy: Arc::clone(&self.policies[deciding.grant.policy as usize]),
                rule: deciding.rule_text(intention),
            },
            None => Because::Default(self.default),
        };
        let allowed = decision.allowed.unwrap_or_else(|| self.allows_by_default(need));
        Explanation { allowed, because, needed: needed(need) }
    }
}

/// Whether a rule of this level grants this access.
fn reaches(level: Level, access: Access) -> bool {
    match level {
        Level::Write => true,
        Level::List => access != Access::Write,
        Level::Read => access == Access::Read,
        Level::Deny => false,
    }
}

/// What the rules say, and which of them said it; `allowed` is `None` where none speaks.
#[derive(Debug, Clone, Copy)]
struct Decision<'a> {
    allowed: Option<bool>,
    rule: Option<Deciding<'a>>,
}

impl Decision<'_> {
    const NONE: Decision<'static> = Decision { allowed: None, rule: None };
}

#[derive(Debug, Clone, Copy)]
struct Deciding<'a> {
    word: &'static str,
    name: Option<&'a str>,
    grant: Grant,
}

impl Deciding<'_> {
    fn rule_text(self, intention: bool) -> String {
        let level = self.grant.level.word();
        match self.name {
            None => format!("{} = \"{level}\"", self.word),
            Some(name) if intention => format!("{} {} {{ intentions = \"{level}\" }}", self.word, quote(name)),
            Some(name) => format!("{} {} {{ policy = \"{level}\" }}", self.word, quote(name)),
        }
    }
}

/// Rules about the names of one kind of resource.
#[derive(Debug, Clone, Default)]
struct Table {
    /// Sorted by name, each once.
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: Box<str>,
    exact: Option<Grant>,
    prefix: Option<Grant>,
    /// The slot of the longest other name that this one starts with.
    within: Option<u32>,
}

impl Table {
    /// `rules` come sorted by name.
    fn new<'a>(rules: impl Iterator<Item = ((&'a str, bool), Grant)>) -> Table {
        let mut slots: Vec<Slot> = Vec::new();
        for ((name, exact), grant) in rules {
            if slots.last().is_none_or(|last| &*last.name != name) {
                let mut within = slots.len().checked_sub(1);
                while let Some(at) = within.filter(|&at| !name.starts_with(&*slots[at].name)) {
                    within = slots[at].within.map(|at| at as usize);
                }
                let within = within.map(|at| u32::try_from(at).expect("a text of rules is bounded far below"));
                slots.push(Slot { name: name.into(), exact: None, prefix: None, within });
            }
            if let Some(slot) = slots.last_mut() {
                *(if exact { &mut slot.exact } else { &mut slot.prefix }) = Some(grant);
            }
        }
        Table { slots: slots.into() }
    }

    /// The slots whose names `name` starts with, longest first.
    fn along<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Slot> {
        // Every name that `name` starts with sorts before it, and all that sort between the two start with it too:
        // so they are all in the chain of the last slot that is not greater.
        let mut at = self.slots.partition_point(|slot| &*slot.name <= name).checked_sub(1);
        while let Some(other) = at.filter(|&at| !name.starts_with(&*self.slots[at].name)) {
            at = self.slots[other].within.map(|at| at as usize);
        }
        std::iter::successors(at.map(|at| &self.slots[at]), |slot| slot.within.map(|at| &self.slots[at as usize]))
    }

    fn decide(&self, kind: Kind, name: &str, access: Access) -> Decision<'_> {
        let mut chain = self.along(name);
        let deciding = chain.find_map(|slot| match slot.exact.filter(|_| &*slot.name == name) {
            Some(grant) => Some(slot.deciding(kind, true, grant)),
            None => slot.prefix.map(|grant| slot.deciding(kind, false, grant)),
        });
        Decision { allowed: deciding.map(|by| reaches(by.grant.level, access)), rule: deciding }
    }

    /// Write on everything below a prefix: the rule that applies to the prefix must grant it, and no rule below may
    /// take it away (CVE-2019-12291).
    fn decide_below(&self, kind: Kind, prefix: &str) -> Decision<'_> {
        let base = self.along(prefix).find_map(|slot| slot.prefix.map(|grant| slot.deciding(kind, false, grant)));
        if let Some(by) = base.filter(|by| by.grant.level != Level::Write) {
            return Decision { allowed: Some(false), rule: Some(by) };
        }
        let first = self.slots.partition_point(|slot| &*slot.name < prefix);
        let below = self.slots[first..].iter().take_while(|slot| slot.name.starts_with(prefix));
        let less = below.flat_map(|slot| slot.rules(kind)).find(|by| by.grant.level != Level::Write);
        match less {
            Some(by) => Decision { allowed: Some(false), rule: Some(by) },
            None => Decision { allowed: base.map(|_| true), rule: base },
        }
    }

    fn root(&self, kind: Kind) -> Option<Deciding<'_>> {
        let slot = self.slots.first().filter(|slot| slot.name.is_empty())?;
        slot.prefix.map(|grant| slot.deciding(kind, false, grant))
    }

    /// Granted for some name.
    fn decide_any(&self, kind: Kind, access: Access) -> Decision<'_> {
        let some = self.rules(kind).find(|by| reaches(by.grant.level, access));
        if some.is_some() {
            return Decision { allowed: Some(true), rule: some };
        }
        // A rule about every name refuses; else the default policy speaks for names without a rule.
        let root = self.root(kind);
        Decision { allowed: root.map(|_| false), rule: root }
    }

    /// Granted for every name.
    fn decide_all(&self, kind: Kind, access: Access) -> Decision<'_> {
        let less = self.rules(kind).find(|by| !reaches(by.grant.level, access));
        if less.is_some() {
            return Decision { allowed: Some(false), rule: less };
        }
        let root = self.root(kind);
        Decision { allowed: root.map(|_| true), rule: root }
    }

    fn rules(&self, kind: Kind) -> impl Iterator<Item = Deciding<'_>> {
        self.slots.iter().flat_map(move |slot| slot.rules(kind))
    }

    fn is_write_throughout(&self) -> bool {
        self.root(Kind::Key).is_some() && self.rules(Kind::Key).all(|by| by.grant.level == Level::Write)
    }
}

impl Slot {
    fn deciding(&self, kind: Kind, exact: bool, grant: Grant) -> Deciding<'_> {
        Deciding { word: if exact { kind.word() } else { kind.prefix_word() }, name: Some(&self.name), grant }
    }

    fn rules(&self, kind: Kind) -> impl Iterator<Item = Deciding<'_>> {
        let prefix = self.prefix.map(|grant| self.deciding(kind, false, grant));
        prefix.into_iter().chain(self.exact.map(|grant| self.deciding(kind, true, grant)))
    }
}

/// Why a need is granted or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub allowed: bool,
    pub because: Because,
    /// A rule that would grant it, in the policy language.
    pub needed: String,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// This rule of this policy.
    Rule { policy: Arc<str>, rule: String },
    /// No rule speaks of it.
    Default(DefaultPolicy),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Rule { policy, rule } => write!(f, "policy {}: {rule}", quote(policy)),
            Because::Default(DefaultPolicy::Allow) => f.write_str("default policy: allow"),
            Because::Default(DefaultPolicy::Deny) => f.write_str("default policy: deny"),
        }
    }
}

/// The least rule that grants `need`.
fn needed(need: Need<'_>) -> String {
    let level = need.access.word();
    let rule = |word: &str, name: &str| format!("{word} {} {{ policy = \"{level}\" }}", quote(name));
    match need.resource {
        Resource::Acl | Resource::Keyring | Resource::Mesh | Resource::Operator | Resource::Peering => {
            format!("{} = \"{level}\"", need.resource.word())
        }
        Resource::Agent(name)
        | Resource::Event(name)
        | Resource::Key(name)
        | Resource::Node(name)
        | Resource::PreparedQuery(name)
        | Resource::Service(name)
        | Resource::Session(name) => rule(need.resource.word(), name),
        Resource::KeyPrefix(prefix) => rule("key_prefix", prefix),
        Resource::EveryNode => rule("node_prefix", ""),
        Resource::EveryService | Resource::AnyService => rule("service_prefix", ""),
        Resource::Intention(name) => {
            let (word, name) = if name == "*" { ("service_prefix", "") } else { ("service", name) };
            format!("{word} {} {{ policy = \"read\" intentions = \"{level}\" }}", quote(name))
        }
    }
}

/// [`Grants`] as those of one token. Tokens of the same policies share their grants.
#[derive(Debug, Clone)]
pub struct TokenAuthorizer {
    accessor: Option<Arc<str>>,
    grants: Arc<Grants>,
}

impl TokenAuthorizer {
    /// `accessor` is `None` for the anonymous token.
    #[must_use]
    pub fn new(accessor: Option<Arc<str>>, grants: Arc<Grants>) -> Self {
        TokenAuthorizer { accessor, grants }
    }

    /// What the token's policies allow.
    #[must_use]
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }
}

impl Authorizer for TokenAuthorizer {
    fn allows(&self, need: Need<'_>) -> bool {
        self.grants.allows(need)
    }

    fn accessor(&self) -> Option<&str> {
        self.accessor.as_deref()
    }

    fn allows_everything(&self) -> bool {
        self.grants.allows_everything()
    }
}
