//! Experiments that measure a pool.
