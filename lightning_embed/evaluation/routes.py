"""sentence-transformers' Router: a folder of two models, one for queries and one for documents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.errors import UserError, first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

ROUTES = ("query", "document")


def require_routes(model: str, folder: Path) -> None:
    """Raises `UserError` for a folder with a Router that has no routes for queries and documents.

    Args:
        model: What the user wrote.
        folder: Where it is; any model's folder.
    """
    file = folder / "modules.json"
    try:
        modules = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        for module in modules:
            if str(module["type"]).endswith(".Router"):
                home = folder / module["path"]
                file = home / "router_config.json"
                file = file if file.is_file() else home / "config.json"  # as older versions call it
                config = json.loads(file.read_text(encoding="utf-8"))
                _check(model, list(config["structure"]), config.get("parameters") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"model '{model}': {file} cannot be read ({first_line(error)})") from None


def _check(model: str, routes: list[str], parameters: dict[str, Any]) -> None:
    if not set(ROUTES) <= set(routes) and not (parameters.get("route_mappings") and len(routes) > 1):
        given = f"only the route {routes[0]}" if len(routes) == 1 else f"the routes {', '.join(routes) or 'none'}"
        raise UserError(
            f"model '{model}': its Router has {given}; queries and documents need one each, {' and '.join(ROUTES)}"
        )


def is_routed(model: SentenceTransformer) -> bool:
    """Whether a model has a Router.

    Args:
        model: The model.
    """
    from sentence_transformers.base.modules import Router

    return any(isinstance(module, Router) for module in model)


def normalizes(model: SentenceTransformer) -> bool:
    """Whether a model gives vectors of unit length; of one with a Router, whether each of its routes does.

    Args:
        model: The model.
    """
    from sentence_transformers.base.modules import Router

    routes = [route for module in model if isinstance(module, Router) for route in module.sub_modules.values()]
    return _has_normalize(model) or (bool(routes) and all(_has_normalize(route.children()) for route in routes))


def _has_normalize(modules: Iterable[nn.Module]) -> bool:
    from sentence_transformers.base.modules import Normalize

    return any(isinstance(module, Normalize) for module in modules)
