"""What is shipped: the wheel holds the whole package and only it; every pin and every link is what it claims to be."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_embed"
LINKS = ("losses", "heads", "datamodules")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def runtime_requirements() -> list[Requirement]:
    return [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]


def all_requirements() -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    lines = [*PYPROJECT["build-system"]["requires"], *(line for extra in extras for line in extra)]
    return runtime_requirements() + [Requirement(line) for line in lines]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def imported_modules(source: str) -> Iterator[str]:
    """The modules that a file imports by their full name, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


@pytest.mark.parametrize("name", LINKS)
def test_a_link_at_the_top_points_at_its_package(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).readlink() == Path("lightning_embed", name)


@pytest.mark.parametrize("name", LINKS)
def test_importing_a_package_by_its_link_fails_and_names_the_right_import(name: str) -> None:
    run = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    last_line = run.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert f"lightning_embed.{name}" in last_line


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from an sdist that was built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("build")
    source, dist = folder / "source", folder / "dist"
    shutil.copytree(PACKAGE, source / "lightning_embed", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in LINKS:
        (source / name).symlink_to(Path("lightning_embed", name))
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    run = subprocess.run(build, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = dist.glob("*.whl")
    return built


def test_a_wheel_built_from_the_sdist_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.glob("presets/*.yaml"), PACKAGE / "py.typed"]
    assert shipped == {file.relative_to(ROOT).as_posix() for file in files}


@pytest.mark.slow
def test_every_module_can_be_imported_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """`make dist` asks the same of an environment that holds nothing but the wheel and what it requires."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = [sys.executable, "-I", str(ROOT / "scripts" / "import_every_module.py"), str(tmp_path)]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert str(tmp_path) in run.stdout


def test_every_third_party_import_is_a_declared_dependency() -> None:
    optional = PYPROJECT["project"]["optional-dependencies"]["onnx"]
    declared = {canonicalize_name(r.name) for r in [*runtime_requirements(), *map(Requirement, optional)]}
    providers = metadata.packages_distributions()
    undeclared = set()
    for path in PACKAGE.rglob("*.py"):
        tops = {module.split(".")[0] for module in imported_modules(path.read_text("utf-8"))}
        for top in tops - sys.stdlib_module_names - {"lightning_embed"}:
            if declared.isdisjoint(canonicalize_name(name) for name in providers.get(top, [])):
                undeclared.add(f"{path.relative_to(ROOT)} imports {top}")
    assert undeclared == set()


def test_every_dependency_is_pinned_within_its_range() -> None:
    pinned = pins()
    missing = [str(r) for r in all_requirements() if canonicalize_name(r.name) not in pinned]
    assert missing == []
    assert [str(r) for r in all_requirements() if pinned[canonicalize_name(r.name)] not in r.specifier] == []


def test_the_dependencies_of_dependencies_are_pinned() -> None:
    """All but torch's own: they differ from build to build, and torch pins the heavy ones itself."""
    pinned, seen, missing = pins(), set(), set()
    queue = all_requirements()
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name not in pinned:
            missing.add(name)
        if name not in pinned or name == "torch" or (name, extras) in seen:
            continue
        seen.add((name, extras))
        children = [Requirement(line) for line in metadata.requires(name) or []]
        queue += [r for r in children if not r.marker or any(r.marker.evaluate({"extra": e}) for e in {"", *extras})]
    assert missing == set()


def test_pre_commit_runs_the_ruff_of_the_constraints() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {hook["id"]: hook["additional_dependencies"] for hook in hooks} == {
        "ruff-check": [f"ruff=={pins()['ruff']}"],
        "ruff-format": [f"ruff=={pins()['ruff']}"],
    }
