"""The ``bgem3`` command: the subcommands of every installed package, imported when they are run."""
