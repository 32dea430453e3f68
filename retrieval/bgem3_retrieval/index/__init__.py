"""Folders of documents into a collection."""
