"""A folder that a machine without network installs the server from: wheels, model, checksums."""
