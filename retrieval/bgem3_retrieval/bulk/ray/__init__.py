"""A corpus into a folder of shards on a Ray cluster: ``bgem3 encode --ray``.

The driver reads the inputs, cuts them as a run without Ray does, and puts the windows of a shard
into Ray's object store. A worker (an actor) encodes a shard and writes it into a hidden folder
below the output, which all nodes share. The driver moves it to its place, in order, and writes the
manifest: nobody else does, so nothing is in it twice. The hidden folder goes at the end, with what
lost workers left in it.

Ray's core and not Ray Data: where a shard begins depends on all lines before it, so one reader cuts
them; and the manifest must hear of each shard as it becomes whole. A Ray Data pipeline would bundle
its blocks and retry them out of sight, and hand over results when a stage has gathered enough.
"""
