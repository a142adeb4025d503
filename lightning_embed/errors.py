"""The one exception for a user's mistake: the command line prints its line and exits with code 2, without a traceback."""


class UserError(Exception):
    """Bad input: the message is one line that says what was expected, what came, where, and what to do."""

    def __init__(self, message: str) -> None:
        if message.startswith(
            "Caught UserError in "
        ):  # torch raises a worker's error again with its traceback as the message
            message = message.rpartition("UserError: ")[2].strip()
        super().__init__(message)
