"""Who else reads a folder: what servers that are not run here would make of it, by the rules in their source."""

from lightning_embed.export.readers.check import by_rules, check_folder, commands

__all__ = ["by_rules", "check_folder", "commands"]
