"""The bodies of the trunk's graph, one for each kind of engine."""
