"""Reference pages of the Python API: one for each room, of the public names that it gives to `lightning_embed`."""

import ast
from pathlib import Path

from scripts.docs.pages import ROOT, write

PACKAGE = ROOT / "lightning_embed"
BESIDE = {"testing": ["assert_world_size_invariant"]}
"""Public names that have no short name at the root."""


def public_names() -> dict[str, list[str]]:
    """Room -> public names, as the imports for type checkers in `lightning_embed/__init__.py` list them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for block in tree.body if isinstance(block, ast.If) for node in block.body]
    found = {
        node.module.removeprefix("lightning_embed."): sorted((alias.name for alias in node.names), key=str.lower)
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.module
    }
    return dict(sorted((found | BESIDE).items()))


def stage_api(folder: Path) -> None:
    """Writes `reference/api/ROOM.md` for each room, and a list of all names.

    Args:
        folder: The site's pages.
    """
    index = [
        "# Python API",
        "Every name below can be imported from `lightning_embed`, unless a room names another place.",
    ]
    for room, names in public_names().items():
        about = introduction(room)
        prefix = f"lightning_embed.{room}" if room in BESIDE else "lightning_embed"
        about += f" To import from `{prefix}`." if room in BESIDE else ""
        blocks = [f"::: {prefix}.{name}" for name in names]
        write(folder / "reference" / "api" / f"{room}.md", "\n\n".join([f"# {room}", about, *blocks]) + "\n")
        links = ", ".join(f"[{name}]({room}.md#{prefix}.{name})" for name in names)
        index.append(f"[{room}]({room}.md): {about}\n\n> {links}")
    write(folder / "reference" / "api" / "index.md", "\n\n".join(index) + "\n")


def introduction(room: str) -> str:
    """The docstring of a room, up to the first empty line.

    Args:
        room: Its name.
    """
    file = PACKAGE / f"{room}.py"
    tree = ast.parse((file if file.exists() else PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n\n")[0]
