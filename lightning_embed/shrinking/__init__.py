"""A first student, cut from a larger model: some of its layers, fewer neurons, the tokens that a corpus uses.

    corpus -> vectors of the whole model -> layers -> neurons -> tokens -> an ordinary model folder

Each cut is chosen by how near the vectors stay to the whole model's on a sample of texts, and reported before anything is trained.
"""

from lightning_embed.shrinking.run import shrink

__all__ = ["shrink"]
