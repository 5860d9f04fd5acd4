"""What proposes actions: the interface, then core's own."""
