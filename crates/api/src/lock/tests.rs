//! Locks and semaphores against a small store of keys and sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex as Guard};
use std::time::Duration;

use super::semaphore::Holders;
use super::{Patience, Terms, milliseconds, mutex, semaphore};
use crate::cli::stand_in::{Asked, Outcome, Reply, StandIn};
use crate::kv::cli::Entry;

/// As much of a key-value store with sessions as locks need.
#[derive(Default)]
struct Store {
    index: u64,
    entries: BTreeMap<String, Stored>,
    sessions: BTreeMap<String, bool>,
    /// How many of the next reads fail.
    failing: u32,
    /// How often a held lock was looked at.
    looks: u32,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    value: Vec<u8>,
    flags: u64,
    session: String,
    modify_index: u64,
}

impl Stored {
    fn json(&self, key: &str) -> String {
        format!(
            r#"{{"Key":"{key}","Flags":{},"Session":"{}","ModifyIndex":{},"Value":"{}"}}"#,
            self.flags,
            self.session,
            self.modify_index,
            wire::base64::encode(&self.value)
        )
        .replace(r#","Value":"""#, r#","Value":null"#)
    }
}

impl Store {
    fn list(&self, key: &str, all: bool) -> Vec<String> {
        let found = self.entries.iter().filter(|(other, _)| if all { other.starts_with(key) } else { *other == key });
        found.map(|(key, stored)| stored.json(key)).collect()
    }

    fn end_session(&mut self, session: &str) {
        if let Some(deletes) = self.sessions.remove(session) {
            self.index += 1;
            if deletes {
                self.entries.retain(|_, stored| stored.session != session);
            }
            for stored in self.entries.values_mut().filter(|stored| stored.session == session) {
                stored.session.clear();
                stored.modify_index = self.index;
            }
        }
    }

    fn write(&mut self, key: &str, asked: &Asked) -> bool {
        let stored = self.entries.get(key).cloned();
        let holder = stored.as_ref().map(|stored| stored.session.clone()).unwrap_or_default();
        let mut session = holder.clone();
        if let Some(wanted) = asked.parameter("acquire") {
            if (!holder.is_empty() && holder != wanted) || !self.sessions.contains_key(wanted) {
                return false;
            }
            session = wanted.to_owned();
        }
        if let Some(leaving) = asked.parameter("release") {
            if holder != leaving {
                return false;
            }
            session.clear();
        }
        let modify_index = stored.map_or(0, |stored| stored.modify_index);
        if asked.parameter("cas").is_some_and(|cas| cas.parse() != Ok(modify_index)) {
            return false;
        }
        self.index += 1;
        let flags = asked.parameter("flags").map_or(0, |flags| flags.parse().unwrap());
        let stored = Stored { value: asked.body.clone(), flags, session, modify_index: self.index };
        self.entries.insert(key.to_owned(), stored);
        true
    }

    fn delete(&mut self, key: &str, asked: &Asked) -> bool {
        let modify_index = self.entries.get(key).map_or(0, |stored| stored.modify_index);
        if asked.parameter("cas").is_some_and(|cas| cas.parse() != Ok(modify_index)) {
            return false;
        }
        self.index += 1;
        self.entries.remove(key);
        true
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<(Guard<Store>, Condvar)>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let result = work(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    /// Waits until the store is as wished; five seconds are far more than it takes.
    fn wait_for(&self, wish: impl Fn(&Store) -> bool) {
        let (store, changed) = &*self.0;
        let guard = store.lock().unwrap();
        let (_guard, waited) = changed.wait_timeout_while(guard, Duration::from_secs(5), |store| !wish(store)).unwrap();
        assert!(!waited.timed_out());
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let said = |yes: bool| Reply::ok(if yes { "true" } else { "false" });
        if let Some(key) = asked.path.strip_prefix("/v1/kv/") {
            return match asked.method.as_str() {
                "PUT" => said(self.with(|store| store.write(key, asked))),
                "DELETE" => said(self.with(|store| store.delete(key, asked))),
                _ => self.read(key, asked),
            };
        }
        match asked.path.rsplit_once('/').unwrap() {
            ("/v1/session", "create") => self.with(|store| {
                store.index += 1;
                let id = format!("session-{}", store.index);
                let deletes = String::from_utf8_lossy(&asked.body).contains(r#""Behavior":"delete""#);
                store.sessions.insert(id.clone(), deletes);
                Reply::ok(format!(r#"{{"ID":"{id}"}}"#))
            }),
            ("/v1/session/destroy", id) => {
                self.with(|store| store.end_session(id));
                said(true)
            }
            _ => Reply::ok("{}"),
        }
    }

    fn read(&self, key: &str, asked: &Asked) -> Reply {
        let (store, changed) = &*self.0;
        let mut guard = store.lock().unwrap();
        if asked.query.contains("consistent") {
            guard.looks += 1;
            changed.notify_all();
            if guard.failing > 0 {
                guard.failing -= 1;
                return Reply::new(500, "not well");
            }
        }
        if let Some(seen) = asked.parameter("index").map(|index| index.parse::<u64>().unwrap()) {
            let wait =
                asked.parameter("wait").and_then(|wait| wait.trim_end_matches("ms").parse().ok()).unwrap_or(5000);
            let limit = Duration::from_millis(wait);
            guard = changed.wait_timeout_while(guard, limit, |store| store.index <= seen).unwrap().0;
        }
        let found = guard.list(key, asked.query.contains("recurse"));
        let reply = if found.is_empty() { Reply::new(404, "") } else { Reply::ok(format!("[{}]", found.join(","))) };
        reply.indexed(guard.index)
    }
}

fn agent(shared: &Shared) -> StandIn {
    let shared = shared.clone();
    StandIn::new(move |asked| shared.answer(asked))
}

fn is_done(outcome: &Outcome, code: i32, out: &str, err: &str) {
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (code, out, err));
}

#[test]
fn a_lock_is_one_key_and_is_cleaned_up() {
    let shared = Shared::default();
    let agent = agent(&shared);
    let outcome = agent.run(&["lock", "-verbose", "/app/leader", "test \"$CONSUL_LOCK_HELD\" = true"]);
    is_done(
        &outcome,
        0,
        "Setting up lock at path: app/leader/.lock\nAttempting lock acquisition\nStarting handler\nChild terminated, \
         releasing lock\nCleanup succeeded\n",
        "",
    );
    let lines = agent.lines();
    let flags = mutex::FLAGS;
    for expect in [
        format!("PUT /v1/kv/app/leader/.lock?acquire=session-1&flags={flags}"),
        format!("PUT /v1/kv/app/leader/.lock?flags={flags}&release=session-1"),
        "PUT /v1/session/destroy/session-1".to_owned(),
    ] {
        assert!(lines.contains(&expect), "{expect} in {lines:?}");
    }
    assert_eq!(flags, 3_304_740_253_564_472_344);
    let session = agent.asked().into_iter().find(|asked| asked.path == "/v1/session/create").unwrap();
    let name = "Consul lock for 'test \\\"$CONSUL_LOCK_HELD\\\" = true' at 'app/leader'";
    assert_eq!(String::from_utf8_lossy(&session.body), format!(r#"{{"Name":"{name}","TTL":"15s"}}"#));
    shared.with(|store| assert!(store.entries.is_empty() && store.sessions.is_empty()));
}

#[test]
fn a_semaphore_is_laid_out_as_gos_client_does_it() {
    let shared = Shared::default();
    let agent = agent(&shared);
    let outcome = agent.run(&["lock", "-n=2", "-name=mine", "-verbose", "app/jobs", "true"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.out.starts_with("Setting up semaphore (limit 2) at prefix: app/jobs\n"));
    let flags = semaphore::FLAGS;
    assert_eq!(flags, 16_210_313_421_097_356_768);
    let asked = agent.asked();
    let session = asked.iter().find(|asked| asked.path == "/v1/session/create").unwrap();
    assert_eq!(session.body, br#"{"Behavior":"delete","Name":"mine","TTL":"15s"}"#);
    let contender = format!("PUT /v1/kv/app/jobs/session-1?acquire=session-1&flags={flags}");
    assert!(asked.iter().any(|asked| asked.line() == contender));
    let taken = asked.iter().find(|asked| asked.line() == format!("PUT /v1/kv/app/jobs/.lock?cas=0&flags={flags}"));
    assert_eq!(taken.unwrap().body, br#"{"Limit":2,"Holders":{"session-1":true}}"#);
    shared.with(|store| assert!(store.entries.is_empty() && store.sessions.is_empty()));
}

#[test]
fn a_held_lock_is_waited_for() {
    let shared = Shared::default();
    let agent = agent(&shared);
    for limit in ["-n=1", "-n=2"] {
        shared.with(|store| {
            store.index += 1;
            store.sessions.insert("other".to_owned(), false);
            let holders = br#"{"Limit":2,"Holders":{"other":true,"dead":true,"third":true}}"#.to_vec();
            let stored = if limit == "-n=1" {
                Stored {
                    flags: mutex::FLAGS,
                    session: "other".to_owned(),
                    modify_index: store.index,
                    ..Stored::default()
                }
            } else {
                store.sessions.insert("third".to_owned(), true);
                for key in ["other", "third"] {
                    let session = key.to_owned();
                    let stored = Stored { flags: semaphore::FLAGS, session, modify_index: 1, ..Stored::default() };
                    store.entries.insert(format!("app/{key}"), stored);
                }
                Stored { value: holders, flags: semaphore::FLAGS, modify_index: store.index, ..Stored::default() }
            };
            store.entries.insert("app/.lock".to_owned(), stored);
        });
        let given_up = agent.run(&["lock", limit, "-timeout=50ms", "app", "true"]);
        is_done(&given_up, 1, "", "Shutdown triggered or timeout during lock acquisition\n");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| agent.run(&["lock", limit, "app", "true"]));
            shared.wait_for(|store| store.sessions.keys().any(|session| session.starts_with("session-")));
            shared.with(|store| store.end_session("other"));
            let outcome = waiting.join().unwrap();
            assert_eq!(outcome.code, 0, "{outcome:?}");
        });
        shared.with(|store| {
            store.end_session("third");
            store.entries.clear();
        });
    }
}

#[test]
fn a_lost_lock_ends_the_program() {
    for limit in ["-n=1", "-n=2"] {
        let shared = Shared::default();
        let agent = agent(&shared);
        let outcome = std::thread::scope(|scope| {
            let working =
                scope.spawn(|| agent.run(&["lock", limit, "-verbose", "-child-exit-code", "app", "exec sleep 60"]));
            let held = |store: &Store| {
                let lock = store.entries.get("app/.lock");
                lock.is_some_and(|lock| !lock.session.is_empty() || !lock.value.is_empty())
            };
            shared.wait_for(held);
            shared.with(|store| {
                let session = store.sessions.keys().next().unwrap().clone();
                store.end_session(&session);
            });
            working.join().unwrap()
        });
        assert_eq!(outcome.code, 0);
        assert_eq!(outcome.err, "Error running handler: signal: terminated\n");
        assert!(outcome.out.contains("\nLock lost, killing child\nTerminating child pid "), "{}", outcome.out);
        assert!(outcome.out.ends_with("\nChild terminated\nCleanup succeeded\n"), "{}", outcome.out);
    }
}

#[test]
fn brief_trouble_while_holding_is_put_up_with() {
    let shared = Shared::default();
    shared.with(|store| store.failing = 1);
    let agent = agent(&shared);
    let file = std::env::temp_dir().join(format!("curule-lock-{}", std::process::id()));
    let script = format!("until test -e {}; do sleep 0.01; done", file.display());
    let patient = std::thread::scope(|scope| {
        let working = scope.spawn(|| agent.run(&["lock", "app", &script]));
        shared.wait_for(|store| store.looks > 1);
        std::fs::write(&file, "").unwrap();
        working.join().unwrap()
    });
    std::fs::remove_file(&file).unwrap();
    is_done(&patient, 0, "", "");
    shared.with(|store| store.failing = 1);
    let strict = agent.run(&["lock", "-monitor-retry=0", "app", "exec sleep 60"]);
    is_done(&strict, 0, "", "Error running handler: signal: terminated\n");
}

#[test]
fn keys_of_another_use_are_left_alone() {
    let shared = Shared::default();
    let agent = agent(&shared);
    let put = |flags: u64, value: &str| {
        shared.with(|store| {
            let stored = Stored { value: value.as_bytes().to_vec(), flags, modify_index: 1, ..Stored::default() };
            store.entries.insert("app/.lock".to_owned(), stored);
        });
    };
    put(7, "mine");
    let text = "Lock acquisition failed: Existing key does not match";
    is_done(&agent.run(&["lock", "app", "true"]), 1, "", &format!("{text} lock use\n"));
    is_done(&agent.run(&["lock", "-n=2", "app", "true"]), 1, "", &format!("{text} semaphore use\n"));
    put(semaphore::FLAGS, r#"{"Limit":3,"Holders":{}}"#);
    let conflict = "Lock acquisition failed: semaphore limit conflict (lock: 3, local: 2)\n";
    is_done(&agent.run(&["lock", "-n=2", "app", "true"]), 1, "", conflict);
    put(semaphore::FLAGS, "{");
    let unreadable = "Lock acquisition failed: lock decoding failed: unexpected end of JSON input\n";
    is_done(&agent.run(&["lock", "-n=2", "app", "true"]), 1, "", unreadable);
    shared.with(|store| {
        assert!(store.entries.contains_key("app/.lock"));
        assert!(store.sessions.is_empty(), "sessions are ended all the same");
    });
}

#[test]
fn the_programs_end_is_told() {
    let shared = Shared::default();
    let agent = agent(&shared);
    for (line, code, err) in [
        (&["app", "exit 3"][..], 0, "Error running handler: exit status 3\n"),
        (&["-child-exit-code", "app", "exit 3"], 2, "Error running handler: exit status 3\n"),
        (&["-child-exit-code", "app", "kill -9 $$"], 2, "Error running handler: signal: killed\n"),
        (
            &["-child-exit-code", "-shell=false", "app", "/no/such"],
            2,
            "Error starting handler: fork/exec /no/such: no such file or directory\n",
        ),
        (&["-n=0", "app", "true"], 1, "Lock holder limit must be positive\n"),
        (&["app"], 1, "Key prefix and child command must be specified\n"),
        (&["-timeout=-1s", "app", "true"], 1, "Timeout must be positive\n"),
        (&["-monitor-retry=-1", "app", "true"], 1, "Number for 'monitor-retry' must be >= 0\n"),
        (&["-n=2", "", "true"], 1, "Lock setup failed: missing prefix\n"),
    ] {
        is_done(&agent.run(&[&["lock"], line].concat()), code, "", err);
    }
}

#[test]
fn holders_without_a_living_session_are_forgotten() {
    let mut holders = Holders { limit: 2, holders: [("a".to_owned(), true), ("b".to_owned(), true)].into() };
    let entry = |session: &str| Entry { session: session.to_owned(), ..Entry::default() };
    holders.forget_dead(&[entry(""), entry("b"), entry("c")]);
    assert_eq!(holders.holders.into_keys().collect::<Vec<_>>(), ["b"]);
    let none = Holders::decode(&Entry::default(), 5).unwrap();
    assert_eq!((none.limit, none.holders.len()), (5, 0));
}

#[test]
fn patience_ends_with_the_timeout_but_not_before_the_first_attempt() {
    let terms = Terms { timeout: Some(Duration::from_nanos(1)), monitor_retries: 0 };
    let mut patience = Patience::new(terms);
    assert_eq!(patience.next(), Some(Duration::from_nanos(1)));
    while patience.start.elapsed().is_zero() {}
    assert_eq!(patience.next(), None);
    assert_eq!(Patience::new(Terms { timeout: None, ..terms }).next(), Some(super::WAIT));
    assert_eq!(milliseconds(Duration::from_nanos(1)), "1ms");
    assert_eq!(milliseconds(Duration::from_secs(15)), "15000ms");
}
