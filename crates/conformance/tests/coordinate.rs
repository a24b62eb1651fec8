//! `/v1/coordinate`: what nodes report, and what is refused.

use conformance::{agent, cleanup, json, unique};

#[test]
fn an_update_is_kept() {
    let node = unique("coordinate");
    let body = json!({"Node": node, "Address": "10.1.1.1"});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    agent().get(format!("/v1/coordinate/node/{node}")).expect(404, "");
    agent().place(&node, 0.25);
    let answer = agent().get(format!("/v1/coordinate/node/{node}")).status(200);
    let row = json!({"Node": node, "Segment": "", "Coord":
        {"Vec": [0.25, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 1e-5}});
    assert!(answer.index() > 0);
    // Numbers are written as Go writes them: no fraction where there is none, an exponent for the small.
    let text = answer.text();
    for part in ["0.25,", "\"Error\": 1.5", "\"Adjustment\": 0,", "\"Height\": 0.00001"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let same = |found: &conformance::Value| {
        found["Node"] == row["Node"] && found["Coord"]["Vec"][0] == json!(0.25) && found["Segment"] == json!("")
    };
    assert!(same(&answer.json()[0]));
    let all = agent().get("/v1/coordinate/nodes").json();
    assert_eq!(all.as_array().expect("a list").iter().filter(|row| same(row)).count(), 1);
}

#[test]
fn datacenters_list_the_servers() {
    let answer = agent().get("/v1/coordinate/datacenters").status(200);
    let body = answer.json();
    assert_eq!((&body[0]["Datacenter"], &body[0]["AreaID"]), (&json!("dc1"), &json!("wan")));
    assert_eq!(body[0]["Coordinates"][0]["Node"], json!(agent().node()));
    assert_eq!(body[0]["Coordinates"][0]["Coord"]["Vec"].as_array().map(Vec::len), Some(8));
    assert_eq!(answer.find("X-Consul-Index"), None);
}

#[test]
fn refusals() {
    let unknown = agent().get("/v1/coordinate/node/no-such").expect(404, "");
    assert_eq!(unknown.find("X-Consul-Index"), None);
    agent().get("/v1/coordinate/node/").expect(404, "");
    let update = "/v1/coordinate/update";
    agent().put(update, "").expect(400, "Request decode failed: EOF");
    agent().put(update, r#"{"Node":"x","Zork":1}"#).expect(400, "Request decode failed: json: unknown field \"Zork\"");
    agent().put(update, r#"{"Node":"x","Coord":{"Vec":[1]}}"#).expect(500, "incompatible coordinate");
    let nowhere = json!({"Node": "no-such", "Coord":
        {"Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 0.00001}});
    agent().put_json(update, &nowhere).expect(200, "");
}
