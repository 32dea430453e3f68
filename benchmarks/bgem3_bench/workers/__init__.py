"""Programs that run one system under test each; most of them in environments of their own.

A peer's worker is run as a script by its own environment's Python, which knows nothing of this
package: it may import the standard library, NumPy, its peer, and what lies beside it. Python looks
for imports in a script's folder first, so no file here may have the name of a library: they end in
``_worker``, or say what they write.
"""
