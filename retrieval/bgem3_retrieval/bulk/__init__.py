"""Bulk encoding: lines -> records -> batches -> server -> writer, in constant memory."""
