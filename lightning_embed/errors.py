"""The one exception for a user's mistake: the command line prints its line and exits with code 2, without a traceback."""


class UserError(Exception):
    """Bad input: the message is one line that says what was expected, what came, where, and what to do."""

    exit_code = 2
    """Of the command line."""

    def __init__(self, message: str) -> None:
        if message.startswith(
            "Caught UserError in "
        ):  # torch raises a worker's error again with its traceback as the message
            message = message.rpartition("UserError: ")[2].strip()
        super().__init__(message)


class NotFinite(UserError):
    """A loss that is not finite: the weights of the last step may be worth nothing any more."""


class GateError(UserError):
    """A run or an evaluation that ended, and is not as good as `require` asks for."""

    exit_code = 3


def user_error(error: BaseException | None) -> UserError | None:
    """The user's mistake that an exception stems from, if it stems from one.

    Args:
        error: What was raised.
    """
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def exit_code(error: BaseException) -> int:
    """The command line's exit code for an error that it reports in one line.

    Args:
        error: What was raised.
    """
    return getattr(user_error(error), "exit_code", UserError.exit_code)


def first_line(error: object, length: int = 160) -> str:
    """What another library says of an error, in one line; its class where it says nothing.

    Args:
        error: An exception, or its text.
        length: Characters after which it is cut.
    """
    lines = str(error).strip().splitlines()
    return lines[0][:length] if lines else type(error).__name__


def in_one_line(error: object, length: int = 200) -> str:
    """All that another library says of an error, for a message whose first line says little; its class where it says nothing.

    Args:
        error: An exception, or its text.
        length: Characters after which it is cut.
    """
    return " ".join(str(error).split())[:length] or type(error).__name__
