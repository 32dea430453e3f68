"""A corpus into a folder of shards on a Ray cluster: ``bgem3 encode --ray``.

A pipeline of Ray Data in which a row is a shard. A source on the driver's machine reads the inputs
and cuts them as a run without Ray does. A task encodes a shard, with servers or with a model of its
own process, and writes it into a hidden folder below the output, which all nodes share. The driver
takes the rows in order, moves each shard to its place and writes the manifest: nobody else does, so
a task that runs twice puts nothing in it twice. The hidden folder goes at the end, with what lost
tasks left in it.

``text_encoder.py`` is for datasets of one's own.
"""
