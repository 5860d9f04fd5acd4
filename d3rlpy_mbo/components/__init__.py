"""One file a kind of component: its interface, then core's own implementations."""
