"""How good the answers are: collection -> vectors -> scores -> runs -> measures -> report."""
