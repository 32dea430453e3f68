"""Answers as bytes: JSON, base64, NPZ, MessagePack, and how large ones are sent."""
