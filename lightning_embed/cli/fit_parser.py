"""The parser of `fit`'s settings: it writes short forms out, and raises what it complains of."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lightning_embed.cli.parser import one_line
from lightning_embed.cli.words import written_out_text
from lightning_embed.errors import UserError, user_error


class Refused(UserError):
    """A parser's complaint."""

    def __init__(self, message: str, final: bool) -> None:
        super().__init__(message)
        self.final = final
        """Whether the message is a constructor's own, which says all."""


class FitParser(LightningArgumentParser):
    """Lightning's parser, which raises `Refused`."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `Refused`; jsonargparse has parsers within parsers."""
        mistake = user_error(ex)
        if isinstance(mistake, Refused):
            raise mistake
        raise Refused(one_line(message, ex, self), mistake is not None)

    def parse_string(self, content: str, *more: Any, **settings: Any) -> Any:
        """Parses a configuration, whose short forms are written out before."""
        return super().parse_string(written_out_text(content), *more, **settings)
