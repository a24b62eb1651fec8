//! What a leader owes the tables: the built-in policies, the first tokens, the end of tokens whose life is over.
//!
//! Always true: asked again after the answer was applied, each function comes to an end; where nothing is owed nothing
//! is proposed.

use acl::Secret;
use wire::time::GoTime;

use super::AclCommand;
use super::policy::{Policy, PolicyBatchSet, builtin};
use super::token::{ANONYMOUS_SECRET, Token, TokenBatchDelete, TokenBatchSet, TokenBootstrap, anonymous};
use crate::{Index, State};

/// Tokens that one command deletes at most: a batch is one log entry.
const EXPIRED_BATCH_MAX: usize = 4096;

/// The next command that the leader of the primary datacenter owes. `initial_management` is the configured token, if
/// any; `fresh_accessor` names it if it has to be made.
#[must_use]
pub fn owed(state: &State, initial_management: &Secret, fresh_accessor: &str, now: GoTime) -> Option<AclCommand> {
    let policies: Vec<Policy> = builtin().into_iter().filter_map(|policy| outdated(state, policy)).collect();
    if !policies.is_empty() {
        return Some(AclCommand::PolicySet(PolicyBatchSet { policies }));
    }
    let secret = initial_management;
    if !secret.is_empty() && state.acl.stored_token_by_secret(secret.expose()).is_none() {
        let token = Token::management(fresh_accessor, secret.clone(), "Initial Management Token", now);
        return Some(match state.acl_bootstrapped() {
            None => AclCommand::Bootstrap(TokenBootstrap { token, reset_index: Index(0) }),
            Some(_) => set(token),
        });
    }
    let known = state.acl.stored_token_by_secret(ANONYMOUS_SECRET).is_some();
    (!known).then(|| set(anonymous(now)))
}

fn set(token: Token) -> AclCommand {
    AclCommand::TokenSet(TokenBatchSet { tokens: vec![token], ..TokenBatchSet::default() })
}

/// The built-in policy if it is not stored with these rules. Names and descriptions are the users' to change.
fn outdated(state: &State, policy: Policy) -> Option<Policy> {
    let Some(stored) = state.acl.policy(&policy.id) else { return Some(policy) };
    if stored.rules == policy.rules {
        return None;
    }
    let mut policy = Policy { name: stored.name.clone(), description: stored.description.clone(), ..policy };
    policy.set_hash();
    Some(policy)
}

/// Deletes tokens whose life is over. Global tokens are the primary datacenter's to delete, local ones everybody's own.
#[must_use]
pub fn expired(state: &State, local: bool, now: GoTime) -> Option<AclCommand> {
    let due = state.acl_tokens_due(local, now, EXPIRED_BATCH_MAX);
    let token_ids: Vec<String> = due.iter().map(|accessor| accessor.to_string()).collect();
    (!token_ids.is_empty()).then_some(AclCommand::TokenDelete(TokenBatchDelete { token_ids }))
}

#[cfg(test)]
mod tests {
    use acl::Secret;
    use wire::time::GoTime;

    use super::{expired, owed};
    use crate::acl::{AclCommand, MANAGEMENT_ID, Policy, PolicyBatchSet, Token, TokenBatchSet};
    use crate::{Command, Index, Outcome, State};

    fn settle(state: &mut State, from: u64, secret: &str) -> u64 {
        let mut index = from;
        let accessor = format!("11111111-0000-0000-0000-{from:012}");
        while let Some(command) = owed(state, &Secret::new(secret), &accessor, now()) {
            index += 1;
            assert_eq!(state.apply(Index(index), Command::Acl(command)).outcome, Outcome::Done);
            assert!(index < from + 10, "comes to an end");
        }
        index - from
    }

    fn now() -> GoTime {
        GoTime::from_unix(100, 0)
    }

    #[test]
    fn a_new_cluster_is_set_up_once() {
        let mut state = State::default();
        assert_eq!(settle(&mut state, 0, "root"), 3);
        assert_eq!(settle(&mut state, 3, "root"), 0);
        assert_eq!(state.acl_bootstrapped(), Some(Index(2)));
        assert_eq!(state.acl_token_by_secret("root").unwrap().policies[0].id, MANAGEMENT_ID);
        assert!(state.acl_token_by_secret("anonymous").is_some());
        assert_eq!(settle(&mut state, 3, "another"), 1, "bootstrapping was done, the token is made all the same");
    }

    #[test]
    fn old_rules_of_built_in_policies_are_replaced() {
        let mut state = State::default();
        let old = Policy { id: MANAGEMENT_ID.to_owned(), name: "renamed".to_owned(), ..Policy::default() };
        let batch = PolicyBatchSet { policies: vec![old] };
        state.apply(Index(1), Command::Acl(AclCommand::PolicySet(batch)));
        settle(&mut state, 1, "");
        let policy = state.acl.policy(MANAGEMENT_ID).unwrap();
        assert_eq!(policy.name, "renamed");
        assert!(policy.rules.contains("acl = \"write\""));
    }

    #[test]
    fn tokens_end() {
        let mut state = State::default();
        let token = |id: &str, end, local| Token {
            accessor_id: id.to_owned(),
            secret_id: Secret::new(id),
            expiration_time: Some(GoTime::from_unix(end, 0)),
            local,
            ..Token::default()
        };
        let tokens = vec![token("a", 99, false), token("b", 100, false), token("c", 50, true)];
        let batch = TokenBatchSet { tokens, ..TokenBatchSet::default() };
        state.apply(Index(1), Command::Acl(AclCommand::TokenSet(batch)));
        let command = expired(&state, false, now()).unwrap();
        state.apply(Index(2), Command::Acl(command));
        assert!(state.acl_token("a").is_none() && state.acl_token("b").is_some() && state.acl_token("c").is_some());
        assert_eq!(expired(&state, false, now()), None);
        assert!(expired(&state, true, now()).is_some());
    }
}
