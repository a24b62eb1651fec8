//! Intervals, names and the Prometheus text, with a passed-in clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};

use super::prometheus::go_float;
use super::{Config, Filter, MAX_SERIES, Telemetry};

/// 2026-11-23 05:42:00 UTC.
const START: u64 = 1_795_412_520;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}

fn telemetry(config: Config) -> Arc<Telemetry> {
    Telemetry::new(config, at(3))
}

fn with_prometheus() -> Arc<Telemetry> {
    telemetry(Config { prometheus_retention: Duration::from_secs(60), ..Config::default() })
}

fn json(telemetry: &Telemetry, seconds: u64) -> String {
    String::from_utf8(wire::json::to_vec(&*telemetry.snapshot_at(at(seconds))).unwrap()).unwrap()
}

#[test]
fn an_interval_is_answered_when_it_is_complete() {
    let telemetry = telemetry(Config { hostname: "vm".into(), ..Config::default() });
    with_local_recorder(&*telemetry, || {
        counter!("consul.raft.apply").increment(2);
        counter!("consul.raft.apply").increment(3);
        gauge!("consul.server.isLeader").set(1.0);
        histogram!("consul.api.http", "path" => "v1_kv_", "method" => "GET").record(0.1);
    });
    let expected = concat!(
        r#"{"Timestamp":"2026-11-23 05:42:00 +0000 UTC","#,
        r#""Gauges":[{"Name":"consul.vm.server.isLeader","Value":1,"Labels":{}}],"Points":[],"#,
        r#""Counters":[{"Name":"consul.raft.apply","Count":2,"Rate":0.5,"Sum":5,"Min":2,"Max":3,"Mean":2.5,"#,
        r#""Stddev":0.7071067811865476,"Labels":{}}],"#,
        // A sample of 0.1 is carried in single precision, which shows.
        r#""Samples":[{"Name":"consul.api.http","Count":1,"Rate":0.010000000149011612,"Sum":0.10000000149011612,"#,
        r#""Min":0.10000000149011612,"Max":0.10000000149011612,"Mean":0.10000000149011612,"Stddev":0,"#,
        r#""Labels":{"method":"GET","path":"v1_kv_"}}]}"#,
    );
    assert_eq!(json(&telemetry, 4), expected, "the running interval while none is complete");
    assert_eq!(json(&telemetry, 10), expected);

    with_local_recorder(&*telemetry, || counter!("consul.raft.apply").increment(1));
    assert_eq!(json(&telemetry, 19), expected, "what is recorded now belongs to the running interval");
    assert_eq!(
        json(&telemetry, 20),
        concat!(
            r#"{"Timestamp":"2026-11-23 05:42:10 +0000 UTC","Gauges":[],"Points":[],"#,
            r#""Counters":[{"Name":"consul.raft.apply","Count":1,"Rate":0.1,"Sum":1,"Min":1,"Max":1,"Mean":1,"#,
            r#""Stddev":0,"Labels":{}}],"Samples":[]}"#,
        )
    );
    assert!(json(&telemetry, 95).contains(r#""Counters":[]"#));
}

#[test]
fn lists_are_sorted_by_name_and_labels() {
    let telemetry = telemetry(Config::default());
    with_local_recorder(&*telemetry, || {
        for (name, label) in [("consul.b", "2"), ("consul.b", "1"), ("consul.a c", "9")] {
            gauge!(name, "kind" => label).set(0.5);
        }
    });
    let summary = telemetry.snapshot_at(at(5));
    let names: Vec<_> = summary.gauges.iter().map(|gauge| (gauge.name.as_str(), &gauge.labels["kind"])).collect();
    assert_eq!(names, [("consul.a_c", &"9".to_owned()), ("consul.b", &"1".to_owned()), ("consul.b", &"2".to_owned())]);
}

#[test]
fn gauges_count_up_and_down() {
    let telemetry = telemetry(Config::default());
    with_local_recorder(&*telemetry, || {
        gauge!("consul.watchers").increment(3.0);
        telemetry.advance(at(300));
        gauge!("consul.watchers").decrement(1.0);
    });
    assert_eq!(telemetry.snapshot_at(at(310)).gauges[0].value, 2.0);
}

#[test]
fn absolute_counters_count_what_they_grow_by() {
    let telemetry = telemetry(Config::default());
    with_local_recorder(&*telemetry, || {
        for value in [5, 5, 8, 7] {
            counter!("consul.seen").absolute(value);
        }
    });
    let counter = &telemetry.snapshot_at(at(4)).counters[0];
    assert_eq!((counter.count, counter.sum), (2, 8.0));
}

#[test]
fn filters_apply_to_new_and_existing_series() {
    let blocked = |prefix: &str| Filter { blocked_prefixes: vec![prefix.into()], ..Filter::default() };
    let telemetry = telemetry(Config { filter: blocked("consul.rpc.server"), ..Config::default() });
    let record = || {
        with_local_recorder(&*telemetry, || {
            counter!("consul.rpc.server.call").increment(1);
            counter!("consul.raft.apply").increment(1);
        });
    };
    let names = |seconds| -> Vec<String> {
        telemetry.snapshot_at(at(seconds)).counters.iter().map(|counter| counter.name.clone()).collect()
    };
    record();
    assert_eq!(names(10), ["consul.raft.apply"]);
    telemetry.set_filter(blocked("consul.raft"));
    record();
    assert_eq!(names(20), ["consul.rpc.server.call"]);
}

#[test]
fn series_are_bounded() {
    let telemetry = telemetry(Config::default());
    with_local_recorder(&*telemetry, || {
        for number in 0..MAX_SERIES + 5 {
            counter!("consul.free", "label" => number.to_string()).increment(1);
        }
    });
    assert_eq!(telemetry.refused(), 5);
    assert_eq!(telemetry.snapshot_at(at(10)).counters.len(), MAX_SERIES);
    // Unused ones make room.
    telemetry.advance(at(200));
    with_local_recorder(&*telemetry, || counter!("consul.free", "label" => "new").increment(1));
    assert_eq!(telemetry.refused(), 5);
    assert_eq!(telemetry.snapshot_at(at(210)).counters.len(), 1);
}

#[test]
fn threads_lose_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let telemetry = telemetry(Config::default());
    let mut stream = telemetry.interval_stream();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                with_local_recorder(&*telemetry, || (0..EACH).for_each(|_| counter!("consul.hits").increment(1)));
            });
        }
        scope.spawn(|| (1..=4).for_each(|turn| telemetry.advance(at(turn * 10))));
    });
    telemetry.advance(at(50));
    drop(telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut sum = 0.0;
    runtime.block_on(async {
        while let Some(summary) = stream.next().await {
            sum += summary.counters.iter().map(|counter| counter.sum).sum::<f64>();
        }
    });
    assert_eq!(sum, (THREADS * EACH) as f64);
}

#[tokio::test]
async fn the_stream_tells_each_interval_once() {
    let telemetry = telemetry(Config::default());
    let mut stream = telemetry.interval_stream();
    for seconds in [4, 10, 11, 20] {
        telemetry.advance(at(seconds));
    }
    assert_eq!(stream.next().await.unwrap().timestamp, "2026-11-23 05:42:00 +0000 UTC");
    assert_eq!(stream.next().await.unwrap().timestamp, "2026-11-23 05:42:10 +0000 UTC");
    drop(telemetry);
    assert!(stream.next().await.is_none());
}

/// The text without what is about the process.
fn text(telemetry: &Telemetry, seconds: u64) -> String {
    let all = telemetry.prometheus_at(at(seconds)).unwrap();
    assert!(all.contains("\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "));
    all.lines().filter(|line| !line.contains("process_")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn prometheus_text() {
    let telemetry = with_prometheus();
    with_local_recorder(&*telemetry, || {
        describe_counter!("consul.raft.apply", "Counts \\ writes.");
        describe_histogram!("consul.kvs.apply", "Times writes.");
        histogram!("consul.api.http", "path" => "a\"b", "method" => "GET").record(0.5);
        histogram!("consul.api.http", "path" => "a\"b", "method" => "GET").record(0.5);
        counter!("consul.catalog.service.not-found", "service" => "web").increment(2_000_000);
        gauge!("consul.state.nodes").set(3.0);
    });
    let expected = r#"# HELP consul_api_http consul_api_http
# TYPE consul_api_http summary
consul_api_http{method="GET",path="a\"b",quantile="0.5"} 0.5
consul_api_http{method="GET",path="a\"b",quantile="0.9"} 0.5
consul_api_http{method="GET",path="a\"b",quantile="0.99"} 0.5
consul_api_http_sum{method="GET",path="a\"b"} 1
consul_api_http_count{method="GET",path="a\"b"} 2
# HELP consul_catalog_service_not_found consul_catalog_service_not_found
# TYPE consul_catalog_service_not_found counter
consul_catalog_service_not_found{service="web"} 2e+06
# HELP consul_kvs_apply Times writes.
# TYPE consul_kvs_apply summary
consul_kvs_apply{quantile="0.5"} NaN
consul_kvs_apply{quantile="0.9"} NaN
consul_kvs_apply{quantile="0.99"} NaN
consul_kvs_apply_sum 0
consul_kvs_apply_count 0
# HELP consul_raft_apply Counts \\ writes.
# TYPE consul_raft_apply counter
consul_raft_apply 0
# HELP consul_state_nodes consul_state_nodes
# TYPE consul_state_nodes gauge
consul_state_nodes 3
"#;
    assert_eq!(text(&telemetry, 4), expected);
    telemetry.advance(at(5));
    assert_eq!(text(&telemetry, 6), expected, "quantiles look back over the last half window");
    telemetry.advance(at(10));
    let later = text(&telemetry, 11);
    assert!(later.contains(r#"quantile="0.5"} NaN"#), "{later}");
    assert!(later.contains(r#"consul_api_http_count{method="GET",path="a\"b"} 2"#), "totals outlive the interval");

    with_local_recorder(&*telemetry, || counter!("consul.raft.apply").increment(4));
    assert!(text(&telemetry, 71).contains("consul_raft_apply 4\n"));
    let shown = text(&telemetry, 71);
    assert!(!shown.contains("consul_api_http"), "unused for longer than the retention: {shown}");
    assert!(!shown.contains("consul_state_nodes"));
    assert!(shown.contains("consul_kvs_apply_count 0\n"), "described metrics stay");
}

#[test]
fn prometheus_is_off_without_retention() {
    assert_eq!(telemetry(Config::default()).prometheus_at(at(3)), None);
}

#[test]
fn floats_as_go_writes_them() {
    let cases = [
        (0.0, "0"),
        (14.0, "14"),
        (20000.0, "20000"),
        (999_999.0, "999999"),
        (1e6, "1e+06"),
        (115_871_744.0, "1.15871744e+08"),
        (0.000_1, "0.0001"),
        (0.000_01, "1e-05"),
        (-0.25, "-0.25"),
        (u64::MAX as f64, "1.8446744073709552e+19"),
        (1.176_957_011_222_839_4, "1.1769570112228394"),
        (f64::INFINITY, "+Inf"),
    ];
    for (value, expected) in cases {
        assert_eq!(go_float(value), expected);
    }
}

#[test]
fn usage_becomes_gauges() {
    let telemetry = telemetry(Config::default());
    let mut usage = super::StateUsage { kv_entries: 7, ..super::StateUsage::default() };
    usage.services.connect_service_instances = BTreeMap::from([("connect-proxy".to_owned(), 2)]);
    with_local_recorder(&*telemetry, || {
        super::record_usage("dc1", &usage);
        super::record_runtime();
    });
    let summary = telemetry.snapshot_at(at(4));
    let value = |name: &str| summary.gauges.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value);
    assert_eq!(value("consul.state.kv_entries"), Some(7.0));
    assert_eq!(value("consul.state.connect_instances"), Some(2.0));
    assert!(value("consul.runtime.alloc_bytes") > Some(0.0));
    assert_eq!(value("consul.runtime.heap_objects"), None);
}

#[tokio::test]
async fn the_task_ends_intervals_and_sets_gauges() {
    // An interval of long ago, so that the first look ends it.
    let telemetry = telemetry(Config::default());
    telemetry.advance(UNIX_EPOCH);
    let mut stream = telemetry.interval_stream();
    let task = tokio::spawn(Arc::clone(&telemetry).run());
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
    assert_eq!(ended.timestamp, "1970-01-01 00:00:00 +0000 UTC");
    let is_set = || {
        let shown = telemetry.intervals.lock().start;
        let running = telemetry.summarize(shown, |gauge| gauge.is_set().then(|| gauge.value()), |s| s.peek());
        running.gauges.iter().any(|gauge| gauge.name == "consul.runtime.num_goroutines")
    };
    assert!(is_set());
    task.abort();
}
