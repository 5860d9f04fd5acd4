"""Components put together: configured, fitted, rolled out, saved."""
