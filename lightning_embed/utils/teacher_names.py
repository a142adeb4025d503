"""The names of teachers: a lone teacher has none, several are told apart by theirs."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

ONE = ""
"""The name under which a lone teacher is kept."""
KEY = "teacher"


def by_name(given: T | Mapping[str, T] | None) -> dict[str, T]:
    """Name -> what belongs to that teacher, such as its projection; of a lone teacher under `ONE`.

    Args:
        given: What belongs to a lone teacher, or a mapping of names; None: nothing.
    """
    if given is None:
        return {}
    return dict(given) if isinstance(given, Mapping) else {ONE: given}


def teacher_key(name: str) -> str:
    """What a teacher is called beside the student: `teacher`, or `teacher.NAME`.

    Args:
        name: Its name.
    """
    return f"{KEY}.{name}" if name else KEY


def teachers_among(keyed: Mapping[str, T]) -> dict[str, T]:
    """Name -> value, of a mapping's keys that `teacher_key` has made.

    Args:
        keyed: Such as the tokenizers of a student and its teachers.
    """
    return {key[len(KEY) + 1 :]: value for key, value in keyed.items() if is_teacher_key(key)}


def is_teacher_key(key: str) -> bool:
    """Whether `teacher_key` has made a key.

    Args:
        key: A key of such a mapping.
    """
    return key.partition(".")[0] == KEY
