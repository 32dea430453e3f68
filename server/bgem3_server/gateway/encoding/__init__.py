"""Texts to representations: counted in tokens, admitted, cut into parts, put together."""
