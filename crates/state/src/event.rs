//! User events (`/v1/event`): the noun and an agent's ring of recent ones. Not replicated.
