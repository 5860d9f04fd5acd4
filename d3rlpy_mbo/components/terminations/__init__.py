"""When imagined episodes end: the interface, then core's own."""
