"""One training, from names or from objects, and its record."""
