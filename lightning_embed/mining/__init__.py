"""Hard negatives: texts that a model finds like an anchor although they do not belong to it.

    source -> pairs (unique texts, who belongs to whom) -> vectors -> candidates -> rules -> a source with negatives

Each step is a function of numbers; what takes long (vectors, candidates) is kept on disk block by block, so that a killed run resumes
and any number of processes share the work.
"""

from lightning_embed.mining.rules import Rules
from lightning_embed.mining.run import mine
from lightning_embed.mining.settings import BadRowSettings, ModelSettings, OutputSettings, SearchSettings, WorkSettings

__all__ = ["BadRowSettings", "ModelSettings", "OutputSettings", "Rules", "SearchSettings", "WorkSettings", "mine"]
