"""Real data: transitions as columns, episodes that keep their end, Minari done right."""
