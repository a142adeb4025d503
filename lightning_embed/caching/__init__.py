"""Caching: what writes the teacher store."""
