"""The one exception for a user's mistake: the command line prints its line and exits with code 2, without a traceback."""


class UserError(Exception):
    """Bad input: the message is one line that says what was expected, what came, where, and what to do."""
