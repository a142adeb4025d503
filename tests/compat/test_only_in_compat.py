"""Private names of other libraries are used in compat and nowhere else; each test names the file and line that does otherwise."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_embed"
FILES = [
    file
    for folder in (PACKAGE, ROOT / "scripts")
    for file in sorted(folder.rglob("*.py"))
    if file.parent != PACKAGE / "compat"
]
OURS = {"self", "cls"}
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}
UNDOCUMENTED = {
    *("fit_loop", "epoch_loop", "batch_progress", "epoch_progress", "total_batch_idx", "launcher", "procs"),
    *("validate_loop", "test_loop", "predict_loop", "loops"),
    *("sdpa_mask", "sdpa_attention_forward", "inv_freq"),
    *("peft_config", "storage_data", "storage_meta", "load_id", "TORCHELASTIC_USE_AGENT_STORE"),
    *("HF_DATASETS_CACHE", "state.json"),
    *("rng_state", "np_rng", "prediction_file_name", "task_corpus", "get_prompt_name", "validate_task_to_prompt_name"),
    *("v_measures", "cosine_scores", "similarity_scores", "n_splits"),
}
"""Names that look public, are documented nowhere, and are compat's affair too."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_foreign(module: str) -> bool:
    return module.partition(".")[0] not in {"lightning_embed", "tests", "__future__", *sys.stdlib_module_names}


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def defined(node: ast.AST) -> set[str]:
    """Names that a piece of code defines: functions, classes, variables, attributes of `self`, and buffers."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and _is_own(part.value):
            found.add(part.attr)
        elif (
            isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "register_buffer"
        ):
            found |= {arg.value for arg in part.args[:1] if isinstance(arg, ast.Constant)}
    return found


def _is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in OURS


def private_uses(file: Path) -> Iterator[tuple[int, str]]:
    """Line and code of each use, in a file, of a private name that the file does not define."""
    own = defined(tree(file))
    stdlib = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Import)
        for alias in node.names
        if not is_foreign(alias.name)
    }
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            inherited = _is_own(node.value) and node.attr in defined_in_the_package()
            if not inherited and not (isinstance(node.value, ast.Name) and node.value.id in stdlib):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1] if len(node.args) > 1 else None
            if isinstance(name, ast.Constant) and is_private(str(name.value)) and name.value not in own:
                yield node.lineno, ast.unparse(node)


@cache
def defined_in_the_package() -> set[str]:
    return {name for file in FILES if file.is_relative_to(PACKAGE) for name in defined(tree(file))}


def private_imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and code of each import of a private name, or from a private module, of another library."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and is_foreign(node.module or ""):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names if is_foreign(alias.name) for part in alias.name.split(".")]
        else:
            continue
        if any(map(is_private, names)):
            yield node.lineno, ast.unparse(node)


def undocumented_uses(file: Path) -> Iterator[tuple[int, str]]:
    """Line and code of each use of one of `UNDOCUMENTED`: as an attribute, an import or a text."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute):
            names = {node.attr}
        elif isinstance(node, ast.ImportFrom) and is_foreign(node.module or ""):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = {node.value}
        else:
            continue
        if names & UNDOCUMENTED:
            yield node.lineno, ast.unparse(node)


def listed(found: Iterator[tuple[Path, int, str]]) -> str:
    return "\n".join(
        f"{file.relative_to(ROOT)}:{line}: {code} belongs in lightning_embed/compat" for file, line, code in found
    )


def test_no_private_name_is_used_outside_compat() -> None:
    wrong = listed((file, *use) for file in FILES for use in private_uses(file))
    assert not wrong, "\n" + wrong


def test_no_private_name_is_imported_outside_compat() -> None:
    wrong = listed((file, *use) for file in FILES for use in private_imports(file))
    assert not wrong, "\n" + wrong


def test_no_undocumented_name_is_used_outside_compat() -> None:
    wrong = listed((file, *use) for file in FILES for use in undocumented_uses(file))
    assert not wrong, "\n" + wrong


def test_no_class_uses_a_private_name_of_a_foreign_base() -> None:
    """`self._x` looks like our own: here it is looked up in the sources of the classes that ours derive from, which a clash would break."""
    wrong = []
    for file in FILES:
        classes = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef) and node.bases]
        if not file.is_relative_to(PACKAGE) or not classes:
            continue
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for node in classes:
            used = private_names(node)
            for base in getattr(module, node.name, object).__mro__ if used else ():
                if is_foreign(base.__module__) and base.__module__ != module.__name__:
                    wrong += [
                        f"{file.relative_to(ROOT)}:{node.lineno}: {node.name} uses {name} of {base.__module__}.{base.__name__}"
                        for name in sorted(used & private_names_of(base))
                    ]
    assert not wrong, "\n" + "\n".join(wrong)


def private_names(node: ast.AST) -> set[str]:
    """Private names that a class defines, or uses of itself."""
    methods = {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
    own = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute) and _is_own(part.value)}
    return {name for name in methods | own if is_private(name)}


@cache
def private_names_of(base: type) -> set[str]:
    try:
        return private_names(ast.parse(dedent(inspect.getsource(base))))
    except (OSError, TypeError):  # a class of C code
        return {name for name in vars(base) if is_private(name)}


def test_these_tests_see_what_they_look_for(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "import os\n"
        "import torch._dynamo\n"
        "from lightning.fabric.utilities.load import _METADATA\n"
        "from transformers.masking_utils import sdpa_mask\n"
        "from lightning_embed.batch import _own\n"
        "class A(torch.nn.Module):\n"
        "    def _mine(self): return self._modules, self._mine, os._exit\n"
        "trainer._loops; getattr(trainer, '_hidden'); trainer.fit_loop\n"
    )
    assert [line for line, _ in private_imports(file)] == [2, 3]
    assert {code for _, code in private_uses(file)} == {
        "self._modules",
        "trainer._loops",
        "getattr(trainer, '_hidden')",
    }
    assert {line for line, _ in undocumented_uses(file)} == {4, 8}
