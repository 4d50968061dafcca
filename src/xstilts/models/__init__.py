"""Encoders, heads, checkpoints."""
