"""Is this model any good? A fitted imagination, held against real data."""
