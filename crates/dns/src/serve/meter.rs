//! Measures of requests under the reference's names, in milliseconds.
//!
//! Always true: counting a request of a usual type allocates nothing.

use std::time::Instant;

use domain::base::iana::Rtype;
use metrics::Histogram;

use crate::answer::Subject;

pub(super) struct Meter {
    node_name: String,
    domain_query: Histogram,
    ptr_query: Histogram,
    query_ptr: Histogram,
    /// By the types that are usually asked for.
    query: Vec<(Rtype, Histogram)>,
}

const USUAL: [Rtype; 8] = [Rtype::A, Rtype::AAAA, Rtype::SRV, Rtype::ANY, Rtype::TXT, Rtype::SOA, Rtype::NS, Rtype::MX];

impl Meter {
    pub(super) fn new(node_name: &str) -> Self {
        let node = || node_name.to_owned();
        Meter {
            domain_query: metrics::histogram!("consul.dns.domain_query", "node" => node()),
            ptr_query: metrics::histogram!("consul.dns.ptr_query", "node" => node()),
            query_ptr: of_type(node_name, Rtype::PTR),
            query: USUAL.into_iter().map(|rtype| (rtype, of_type(node_name, rtype))).collect(),
            node_name: node(),
        }
    }

    pub(super) fn count(&self, subject: Subject, since: Instant) {
        let ms = since.elapsed().as_secs_f64() * 1000.0;
        match subject {
            Subject::Elsewhere => {}
            Subject::Reverse => {
                self.ptr_query.record(ms);
                self.query_ptr.record(ms);
            }
            Subject::Domain(rtype) => {
                self.domain_query.record(ms);
                match self.query.iter().find(|(usual, _)| *usual == rtype) {
                    Some((_, histogram)) => histogram.record(ms),
                    // Askers choose among 65536 types; they do not get to make as many series.
                    None if rtype.to_int() <= 255 => of_type(&self.node_name, rtype).record(ms),
                    None => {}
                }
            }
        }
    }
}

fn of_type(node_name: &str, rtype: Rtype) -> Histogram {
    metrics::histogram!("consul.dns.query", "node" => node_name.to_owned(), "type" => rtype.to_string())
}
