//! Stories of tokens, policies, roles, auth methods and binding rules; hashes and texts as a running 1.22 gives them.

mod law;
mod resolution;
mod scenario;

use ::acl::Secret;
use wire::time::GoTime;

use super::{
    AclCommand, AuthMethod, AuthMethodBatchDelete, AuthMethodBatchSet, BindingRule, BindingRuleBatchSet, Link, Policy,
    PolicyBatchDelete, PolicyBatchSet, Role, RoleBatchDelete, RoleBatchSet, Token, TokenBatchDelete, TokenBatchSet,
    builtin,
};
use crate::{Applied, Command, Index, Outcome, State};

const P1: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const P2: &str = "aaaaaaaa-0000-0000-0000-000000000002";
const R1: &str = "bbbbbbbb-0000-0000-0000-000000000001";
const T1: &str = "cccccccc-0000-0000-0000-000000000001";
const T2: &str = "cccccccc-0000-0000-0000-000000000002";
const S1: &str = "dddddddd-0000-0000-0000-000000000001";
const S2: &str = "dddddddd-0000-0000-0000-000000000002";

/// A state that commands are applied to one after the other.
struct World {
    state: State,
    index: u64,
}

impl World {
    /// With the built-in policies.
    fn new() -> World {
        let mut world = World { state: State::default(), index: 0 };
        world.done(AclCommand::PolicySet(PolicyBatchSet { policies: builtin().into() }));
        world
    }

    fn apply(&mut self, command: AclCommand) -> Applied {
        self.index += 1;
        self.state.apply(Index(self.index), Command::Acl(command))
    }

    #[track_caller]
    fn done(&mut self, command: AclCommand) -> Applied {
        let applied = self.apply(command);
        assert_eq!(applied.outcome, Outcome::Done);
        applied
    }

    #[track_caller]
    fn refused(&mut self, command: AclCommand, text: &str) {
        let before: Vec<_> = self.state.records().collect();
        match self.apply(command).outcome {
            Outcome::Failed(error) => assert_eq!(error.to_string(), text),
            other => panic!("not refused: {other:?}"),
        }
        assert!(self.state.records().eq(before), "a refusal changes nothing");
    }
}

fn at(seconds: i64) -> GoTime {
    GoTime::from_unix(seconds, 0)
}

fn links(ids: &[&str]) -> Vec<Link> {
    ids.iter().map(|id| Link { id: (*id).to_owned(), name: String::new() }).collect()
}

fn policy(id: &str, name: &str, rules: &str) -> Policy {
    let mut policy = Policy { id: id.to_owned(), name: name.to_owned(), rules: rules.to_owned(), ..Policy::default() };
    policy.set_hash();
    policy
}

fn role(id: &str, name: &str, policies: &[&str]) -> Role {
    Role { id: id.to_owned(), name: name.to_owned(), policies: links(policies), ..Role::default() }
}

fn token(accessor: &str, secret: &str, policies: &[&str]) -> Token {
    Token {
        accessor_id: accessor.to_owned(),
        secret_id: Secret::new(secret),
        policies: links(policies),
        ..Token::default()
    }
}

fn set_policy(policy: Policy) -> AclCommand {
    AclCommand::PolicySet(PolicyBatchSet { policies: vec![policy] })
}

fn delete_policy(id: &str) -> AclCommand {
    AclCommand::PolicyDelete(PolicyBatchDelete { policy_ids: vec![id.to_owned()] })
}

fn set_role(role: Role) -> AclCommand {
    AclCommand::RoleSet(RoleBatchSet { roles: vec![role], allow_missing_links: false })
}

fn delete_role(id: &str) -> AclCommand {
    AclCommand::RoleDelete(RoleBatchDelete { role_ids: vec![id.to_owned()] })
}

fn set_token(token: Token) -> AclCommand {
    AclCommand::TokenSet(TokenBatchSet { tokens: vec![token], ..TokenBatchSet::default() })
}

fn delete_token(accessor: &str) -> AclCommand {
    AclCommand::TokenDelete(TokenBatchDelete { token_ids: vec![accessor.to_owned()] })
}

fn set_method(name: &str) -> AclCommand {
    let method = AuthMethod { name: name.to_owned(), r#type: "jwt".to_owned(), ..AuthMethod::default() };
    AclCommand::AuthMethodSet(AuthMethodBatchSet { auth_methods: vec![method] })
}

fn delete_method(name: &str) -> AclCommand {
    AclCommand::AuthMethodDelete(AuthMethodBatchDelete { auth_method_names: vec![name.to_owned()] })
}

fn set_binding(id: &str, method: &str) -> AclCommand {
    let rule = BindingRule { id: id.to_owned(), auth_method: method.to_owned(), ..BindingRule::default() };
    AclCommand::BindingRuleSet(BindingRuleBatchSet { binding_rules: vec![rule] })
}
