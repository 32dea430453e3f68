"""A corpus of any size into a folder of Parquet shards, gone on with after a stop.

inputs -> windows (sorted by length inside) -> requests -> endpoints -> shards and their manifest.
"""
