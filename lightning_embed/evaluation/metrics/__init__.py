"""Metrics of vectors: retrieval and ranking, truncation and quantisation, and the grid of sizes by precisions."""
