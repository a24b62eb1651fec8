//! `/v1/event`: firing, the list of the last events, and waiting for the next one.

use conformance::{Value, agent, base64, eventually, json, unique};
use std::time::Duration;

fn fire(name: &str, query: &str, payload: &str) -> Value {
    agent().put(format!("/v1/event/fire/{name}{query}"), payload).json()
}

/// The events of a name, once there are as many as expected.
fn list(name: &str, count: usize) -> Vec<Value> {
    eventually("events arrive", || {
        let events = agent().get(format!("/v1/event/list?name={name}")).json();
        let events = events.as_array().expect("a list").clone();
        (events.len() == count).then_some(events)
    })
}

#[test]
fn the_answer_is_the_event_before_its_time() {
    let name = unique("event");
    let fired = fire(&name, "", "hello");
    let id = fired["ID"].clone();
    let mut event = json!({"ID": id, "Name": name, "Payload": base64("hello"), "NodeFilter": "",
        "ServiceFilter": "", "TagFilter": "", "Version": 1, "LTime": 0});
    assert_eq!(fired, event);
    let listed = list(&name, 1).remove(0);
    assert!(listed["LTime"].as_u64() > Some(0));
    event["LTime"] = listed["LTime"].clone();
    assert_eq!(listed, event);
    assert_eq!(fire(&name, "", "")["Payload"], json!(null));
    let times: Vec<Option<u64>> = list(&name, 2).iter().map(|event| event["LTime"].as_u64()).collect();
    assert!(times[0] < times[1], "{times:?}");
}

#[test]
fn filters_travel_and_choose() {
    let name = unique("event-filter");
    let node = agent().node();
    let fired = fire(&name, &format!("?node=^{node}$&service=consul&tag=zork"), "no");
    assert_eq!(fired["NodeFilter"], json!(format!("^{node}$")));
    assert_eq!((&fired["ServiceFilter"], &fired["TagFilter"]), (&json!("consul"), &json!("zork")));
    fire(&name, "?node=no-such-node", "no");
    fire(&name, "?service=no-such-service", "no");
    fire(&name, &format!("?node={node}"), "yes");
    assert_eq!(list(&name, 1)[0]["Payload"], json!(base64("yes")));
}

#[test]
fn the_index_is_made_of_the_last_id() {
    let name = unique("event-index");
    let empty = agent().get(format!("/v1/event/list?name={name}")).expect(200, "[]");
    assert_eq!(empty.find("X-Consul-Knownleader"), None);
    assert_eq!(empty.find("X-Consul-Lastcontact"), None);
    let id = fire(&name, "", "")["ID"].as_str().expect("an id").replace('-', "");
    list(&name, 1);
    let halves = [&id[..16], &id[16..]].map(|half| u64::from_str_radix(half, 16).expect("hex"));
    assert_eq!(agent().get(format!("/v1/event/list?name={name}")).send().index(), halves[0] ^ halves[1]);
}

#[test]
fn waiting_ends_with_the_next_event() {
    let name = unique("event-wait");
    fire(&name, "", "1");
    list(&name, 1);
    let path = format!("/v1/event/list?name={name}");
    let index = agent().get(&path).send().index();
    let wait = agent().get(format!("{path}&index={index}&wait=10s"));
    let waiter = std::thread::spawn(move || wait.send());
    // Fire only once the waiter can be waiting; what it sees is the same if it comes late.
    std::thread::sleep(Duration::from_millis(200));
    fire(&name, "", "2");
    let answer = waiter.join().expect("the waiter ends").status(200);
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    assert_ne!(answer.index(), index);
    assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
}

#[test]
fn refusals() {
    let name = unique("event-refused");
    let fire = format!("/v1/event/fire/{name}");
    agent().put("/v1/event/fire/", "").expect(400, "Missing name");
    agent().put(format!("{fire}?tag=a"), "").expect(500, "Cannot provide tag filter without service filter");
    agent()
        .put(format!("{fire}?node=("), "")
        .expect(500, "Invalid node filter: error parsing regexp: missing closing ): `(`");
    agent()
        .put(format!("{fire}?service=("), "")
        .expect(500, "Invalid service filter: error parsing regexp: missing closing ): `(`");
    agent().put(format!("{fire}?dc=nope"), "").expect(500, "No path to datacenter");
    agent()
        .put(&fire, "x".repeat(600))
        .status(500)
        .contains("user event exceeds configured limit of 512 bytes before encoding");
    assert_eq!(agent().get(format!("/v1/event/list?name={name}")).json(), json!([]));
}
