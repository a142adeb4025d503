"""`python -m lightning_embed average`: several checkpoints of a run as one, with the mean of their weights."""

from __future__ import annotations

from pathlib import Path

from lightning_embed.errors import UserError
from lightning_embed.tools import ToolParser, run_tool

STATES = ("optimizer_states", "lr_schedulers", "callbacks")
"""What a training goes on with, and an average has not."""


def parser() -> ToolParser:
    """The command's arguments, which are those of `average_checkpoints`."""
    made = ToolParser(
        prog="python -m lightning_embed average",
        description="Averages the weights of checkpoints of one student, such as the last and an earlier one.",
    )
    made.add_argument("--config", action="config", help="settings as YAML")
    made.add_argument("checkpoints", nargs="+", type=str, help="two or more .ckpt files, or folders of sharded ones")
    made.add_function_arguments(average_checkpoints, skip={"checkpoints"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_tool(parser(), average_checkpoints, arguments, "nothing was left behind")


def average_checkpoints(checkpoints: list[str], out: str, overwrite: bool = False) -> None:
    """Writes the average as a checkpoint that export, evaluate, test and predict read; what is not weights is of the last given.

    Args:
        checkpoints: Two or more .ckpt files, or folders of sharded ones.
        out: The checkpoint to write.
        overwrite: Whether one that is there already is replaced.

    Raises:
        UserError: One cannot be read, or they are not of one student; nothing is written.
    """
    from lightning_embed.checkpoints.averaging import average
    from lightning_embed.checkpoints.student import config_of, read_checkpoint
    from lightning_embed.utils.atomic import save_whole

    file, paths = Path(out).expanduser(), [Path(one).expanduser() for one in checkpoints]
    twice = [str(one) for one in paths if paths.count(one) > 1]
    if twice:
        raise UserError(f"average: {twice[0]} is given twice; give each checkpoint once")
    if file.is_dir() or (file.exists() and not overwrite):
        raise UserError(f"--out {file}: is there already; give another file, or --overwrite true")
    _require_one_student(paths)
    read = {str(path): read_checkpoint(path) for path in paths}
    weights = average({name: content["state_dict"] for name, content in read.items()})
    last = read[str(paths[-1])]
    content = {key: value for key, value in last.items() if key not in STATES} | {"state_dict": weights}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_whole(content, file)
    except OSError as error:
        raise UserError(f"--out {file}: it cannot be written ({error.strerror})") from None
    steps = ", ".join(f"{content.get('global_step', 0):,}" for content in read.values())
    print(f"wrote {file}: the average of steps {steps}")
    try:
        config_of(file)
    except UserError:
        print(f"the run's configuration is not beside it: use it with --config_of_checkpoint {config_of(paths[-1])}")


def _require_one_student(paths: list[Path]) -> None:
    """Raises `UserError` where the runs' configurations, so far as they are there, name different students."""
    from lightning_embed.checkpoints.student import config_of, student_settings

    first: tuple[Path, dict[str, object]] | None = None
    for path in paths:
        try:
            settings = student_settings(config_of(path)).get("init_args") or {}
        except UserError:
            continue
        said = {key: settings.get(key) for key in ("model", "layers", "pooling", "dim", "rope_theta")}
        if first is None:
            first = path, said
        for key, value in said.items():
            if value != first[1][key]:
                raise UserError(
                    f"average: student.{key} is {first[1][key]} for {first[0]} and {value} for {path}; "
                    "give checkpoints of one student"
                )
