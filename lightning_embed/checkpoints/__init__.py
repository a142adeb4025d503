"""Checkpoints: how they are written and checked, the student in them, adapters, and averages."""
