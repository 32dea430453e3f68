"""Who may call, from where, and how the connection is encrypted."""
