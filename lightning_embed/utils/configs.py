"""Configurations as plain data: read from a file, and the arguments in them however they are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_embed.errors import UserError, in_one_line
from lightning_embed.utils.teacher_names import ONE


def read_config(file: Path) -> dict[str, Any]:
    """A run's configuration.

    Args:
        file: YAML, such as the config.yaml that `fit` wrote.

    Raises:
        UserError: It cannot be read, or holds something else.
    """
    import yaml

    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: the configuration cannot be read ({in_one_line(error)})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{file}: expected a run's configuration, got {type(settings).__name__}")
    return settings


def arguments_of(value: Any) -> Mapping[str, Any]:
    """The arguments of an object in a configuration, with its class named (`class_path`, `init_args`) or without.

    Args:
        value: A mapping; anything else has none.
    """
    if not isinstance(value, Mapping):
        return {}
    return value.get("init_args") or {} if "class_path" in value or "init_args" in value else value


def teachers_in(model: Any) -> dict[str, Any]:
    """Name -> settings of each teacher of a run; a lone one's name is `ONE`.

    Args:
        model: The `model` of its configuration.
    """
    teacher = arguments_of(model).get("teacher")
    if isinstance(teacher, Mapping) and {"class_path", "init_args", "model"}.isdisjoint(teacher):
        return dict(teacher)
    return {} if teacher is None else {ONE: teacher}


def teacher_in(model: Any, name: str) -> Any:
    """The settings of one teacher of a run; None where the run had none.

    Args:
        model: The `model` of its configuration.
        name: The teacher's, where there were several.

    Raises:
        UserError: There is no teacher of that name, or there are several and none is named.
    """
    teachers = teachers_in(model)
    if name in teachers or not teachers:
        return teachers.get(name)
    if ONE in teachers:
        raise UserError(f"teacher:{name}: the run had one teacher, without a name; write teacher")
    asked = f"there is no teacher '{name}'" if name else "say which"
    raise UserError(
        f"the run had several teachers ({', '.join(teachers)}): {asked}, such as teacher:{next(iter(teachers))}"
    )


def sizes_in(config: Mapping[str, Any]) -> set[int]:
    """The sizes of vectors that a run trains or reports: the dims of its Matryoshka losses, and of its report.

    Args:
        config: The run's configuration; `model` alone will do.
    """
    found = {*(arguments_of(config.get("report")).get("dims") or ())}
    pending = [arguments_of(config.get("model")).get("losses")]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            if str(value.get("class_path")).rpartition(".")[2] == "Matryoshka":
                found.update(arguments_of(value).get("dims") or ())
            pending += value.values()
    return found
