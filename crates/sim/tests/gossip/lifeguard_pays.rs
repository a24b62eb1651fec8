//! With slow members about, far fewer healthy ones are taken for dead than without Lifeguard.

use std::time::Duration;

use sim::gossip::experiment::{Anomaly, stumble, with_lifeguard, without_lifeguard};

#[test]
fn where_messages_stop_and_timers_go_on() {
    let stops = [2, 8, 16].map(Duration::from_secs);
    let anomalies = stops.map(|stop| Anomaly { slow: 12, stop, run: Duration::from_millis(512) });
    let sum = |configure| stumble(1, 36, &anomalies, configure).iter().map(|count| count.healthy).sum::<usize>();
    let (with, without) = (sum(with_lifeguard), sum(without_lifeguard));
    assert!(without >= 50, "only {without} mistakes without: there is nothing to compare");
    assert!(with * 3 < without, "{with} mistakes with, {without} without");
}
