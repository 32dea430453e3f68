"""``bgem3 doctor``: what is wrong with an installation and a running server, and what to do."""
