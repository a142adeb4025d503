"""A chain of stages, each a `fit` that starts from the student of an earlier one, and the table at its end.

chain file -> chain (which stages, what each is configured as) -> data (one folder that all read) -> running (a `fit` each, once)
           -> scoring (each on its task) -> summary (table, page, picture)
"""

from lightning_embed.recipe.chain import Stage
from lightning_embed.recipe.run import run_recipe

__all__ = ["Stage", "run_recipe"]
