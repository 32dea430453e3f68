"""How well passages answer a query, without holding all their representations."""
