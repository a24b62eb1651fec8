//! Small languages: filter expressions, Go's durations and times, base64.

use filter::{Filter, Record, Shape};
use state::catalog::{node_service_shape, node_shape};
use state::health::check_shape;
use state::snapshot::Record as Stored;
use wire::base64;
use wire::duration::GoDuration;
use wire::time::GoTime;

use crate::world;

/// A filter over nodes, services and checks.
pub fn filters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse = |shape: fn() -> &'static Shape| Filter::parse(text, shape());
    let (nodes, services, checks) = (parse(node_shape), parse(node_service_shape), parse(check_shape));
    if nodes.is_ok() || services.is_ok() || checks.is_ok() {
        assert!(filter::check_syntax(text).is_ok(), "what has a meaning is well-formed: {text:?}");
    }
    for record in world::state().records() {
        let Stored::Register(request) = record else { continue };
        let asked: [(_, Option<&dyn Record>); 2] = [
            (&services, request.service.as_deref().map(|service| service as &dyn Record)),
            (&checks, request.check.as_ref().map(|check| check as &dyn Record)),
        ];
        for (filter, row) in asked {
            if let (Ok(filter), Some(row)) = (filter, row) {
                assert_eq!(filter.matches(row), filter.matches(row));
            }
        }
    }
}

/// Durations and times as Go writes them; base64 as JSON carries it.
pub fn go_texts(data: &[u8]) {
    if let Ok(time) = GoTime::from_binary(data) {
        let bytes = time.to_binary();
        assert_eq!(GoTime::from_binary(&bytes).map(|again| again.to_binary()).ok(), Some(bytes));
    }
    if let Ok(bytes) = base64::decode(data) {
        assert_eq!(base64::decode(base64::encode(&bytes).as_bytes()).ok(), Some(bytes));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(span) = GoDuration::parse(text) {
        assert_eq!(GoDuration::parse(&span.to_string()).ok(), Some(span), "{text:?}");
        let _ = span.to_std();
    }
    if let Ok(time) = GoTime::parse(text) {
        let shown = time.to_string();
        assert_eq!(GoTime::parse(&shown).map(|again| again.to_string()).ok(), Some(shown), "{text:?}");
        let _ = time.unix_nanos();
    }
}
