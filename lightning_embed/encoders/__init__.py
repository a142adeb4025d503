"""Encoders: a transformers backbone that turns ragged tokens into vectors, its adapter, packing, copies, and the frozen teacher."""
