//! Counts of what the state holds (`/v1/operator/usage`).
