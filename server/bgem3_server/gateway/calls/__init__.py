"""One HTTP request: what is known of it, what can be wrong with it, how it is refused."""
