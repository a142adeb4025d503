"""Packing: texts end to end in one row, the attention that keeps them apart, and the proof that it changes nothing."""
