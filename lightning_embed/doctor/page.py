"""The doctor's page: what was found, as tables of text for 80 columns."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_embed.doctor.facts import BatchFacts, Diagnosis, RoleFacts, SourceFacts, StoreFacts
from lightning_embed.doctor.memory_model import Memory
from lightning_embed.utils.formatting import about, bars, one_line, plural, print_words, share, size

WIDTH = 80


def print_diagnosis(found: Diagnosis, console: Console | None = None) -> None:
    """Prints what was found, but for the warnings.

    Args:
        found: All facts.
        console: Where to; the terminal if not given.
    """
    page = _Page(console or Console())
    for source in found.sources:
        page.source(source)
    page.batches(found)
    page.memory(found)
    if found.store is not None:
        page.store("teacher store", found.store)
    for name, store in found.stores.items():
        page.store(f"teacher store of {name}", store)


class _Page:
    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str = "", style: str = "") -> None:
        print_words(self.console, text, style)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
        """A table whose first columns are of words."""
        drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(header):
            words = number < left
            drawn.add_column(Text(name), justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in rows:
            drawn.add_row(*map(Text, row))
        self.console.print(drawn)

    def words(self, text: str) -> None:
        self.console.print(Text(text, style="dim"))

    def source(self, source: SourceFacts) -> None:
        self.line(f"{source.split} source '{source.title}': {plural(source.rows, 'row')}, {source.task}", "bold")
        files = ", ".join(source.files[:3]) + (f" and {len(source.files) - 3} more" if source.files[3:] else "")
        self.line(f"read from {files}")
        if source.left_out:
            self.line(f"left out: {plural(source.left_out, 'row')} that cannot be used")
        for why, count in source.not_taken.items():
            self.line(f"left out: {plural(count, 'row')} that {why}")
        if source.without_negatives:
            self.line(f"without a negative: {plural(source.without_negatives, 'row')}")
        looked_at = f"; a sample of {source.sampled:,} rows, spread over all" if source.sampled < source.rows else ""
        self.line(f"tokens of the texts, which are cut at {source.roles[0].max_length:,}{looked_at}")
        header = ["role", "column", "1 … max", "min", "median", "95 %", "max", "cut", "lost"]
        self.table(header, [_role(role) for role in source.roles], left=3)
        if source.columns:
            self.line("also: " + ", ".join(f"{role} ({column})" for role, column in source.columns.items()))
        if source.unused:
            self.line("columns without a role: " + ", ".join(map(repr, source.unused)))
        self.line("prompts: " + ", ".join(_prompt(role) for role in source.roles))
        for role in source.roles:
            head = f"{role.role}, {plural(role.example_tokens, 'token')}: "
            self.line(f"{head}'{one_line(role.example, max(WIDTH, self.console.width) - len(head) - 2)}'")
        self.line(_repeats(source))
        if source.classes:
            self.line(f"labels: {source.classes:,}, {source.tiny_classes:,} of them with fewer than 5 rows")
        self.line()

    def batches(self, found: Diagnosis) -> None:
        run = (
            f"{plural(found.steps, 'step')}, {about(found.steps / found.steps_per_epoch)} epochs"
            if found.steps
            else "no end is set"
        )
        ranks = f", on {found.ranks} ranks" if found.ranks > 1 else ""
        self.line(f"steps per epoch: {found.steps_per_epoch:,}; the run: {run}{ranks}", "bold")
        if found.first_validation is not None:
            at_end = " (the end of the run)" if found.first_validation == found.steps else ""
            self.line(f"first validation: after {plural(found.first_validation, 'step')}{at_end}")
        trained = list(zip(found.sources, found.batches, strict=False))
        header = ["source", "batch", "steps/epoch", "in the run", "reads", "padding", "in chunks"]
        self.table(header, [_steps(source, batch) for source, batch in trained], left=1)
        self.words(
            "reads: how often the run reads each row. padding: its share in a batch as wide as its longest text; "
            "in chunks: as the encoder sorts and cuts it."
        )
        self.line()
        contrasted = [_negatives(source.title, batch) for source, batch in trained if batch.documents]
        if not contrasted:  # texts alone
            return
        self.line(
            "negatives that an anchor really sees" + ("" if found.contrastive else ", if a loss contrasted"), "bold"
        )
        header = ["source", "documents", "fewest", "mean", "repeated", "looked at"]
        self.table(header, contrasted, left=1)
        self.words(
            "documents: a step's that are not the anchor's own; those of its text, label or document do not count. "
            "repeated: rows whose anchor or positive another row of the batch has. looked at: batches."
        )
        self.line()

    def memory(self, found: Diagnosis) -> None:
        memory = found.memory
        there = f" of {size(found.memory_there)}" if found.memory_there is not None else ""
        longest = next(b for s, b in zip(found.sources, found.batches, strict=False) if s.title == found.memory_of)
        kind = "the longest batch of an epoch" if longest.longest_known else "the longest batch looked at"
        self.line(
            f"memory, an estimate for {found.layout}: {size(memory.total)}{there} a rank for {kind}, of '{found.memory_of}'",
            "bold",
        )
        self.line(_memory(memory))
        self.line()

    def store(self, what: str, store: StoreFacts) -> None:
        if store.path is None:
            said = "it is off" if store.off else "it has nothing of this teacher; `cache` fills it"
            self.line(f"{what}: {said}")
        else:
            self.line(f"{what}, {store.path}", "bold")
            rows = [
                [one.title, one.split, *(f"{n:,}" for n in (one.texts, one.stored, one.texts - one.stored))]
                for one in store.sources
            ]
            self.table(["source", "split", "texts", "stored", "lacking"], rows, left=2)
            if any(one.sampled for one in store.sources):
                self.words("texts: different ones, of the rows looked at.")
        self.line()


def _role(role: RoleFacts) -> list[str]:
    column = ", ".join(role.columns) or "by label"
    numbers = (role.least, role.median, role.most_of_them, role.most)
    return [role.role, column, bars(role.histogram), *(f"{n:,}" for n in numbers), share(role.cut), share(role.lost)]


def _prompt(role: RoleFacts) -> str:
    return f"{role.role} {role.prompt} ({one_line(repr(role.prompt_text), 40) if role.prompt_text else 'none'})"


def _steps(source: SourceFacts, batch: BatchFacts) -> list[str]:
    numbers = [f"{n:,}" for n in (batch.batch_size, batch.steps, batch.turns)]
    reads = batch.turns * min(batch.batch_size, source.rows) / source.rows
    return [source.title, *numbers, about(reads), share(batch.padding_before), share(batch.padding_after)]


def _repeats(source: SourceFacts) -> str:
    repeats = source.repeats
    named = [
        (repeats.row, "row", ""),
        (repeats.anchor, "anchor", ""),
        (repeats.positive, "positive", ""),
        (repeats.own, "row", " with the anchor as the positive"),
        (repeats.false_negative, "row", " with a negative that is the row's own text"),
    ]
    said = ", ".join(plural(count, what) + more for count, what, more in named if count) or "none"
    return f"duplicates: {said}" + (f" (among {repeats.rows:,} rows)" if repeats.rows < source.rows else "")


def _negatives(title: str, batch: BatchFacts) -> list[str]:
    numbers = [f"{batch.documents:,.0f}", f"{batch.negatives_least:,}", f"{batch.negatives:,.1f}"]
    return [title, *numbers, share(batch.repeated), f"{batch.looked_at:,}"]


def _memory(memory: Memory) -> str:
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "AdamW": memory.optimizer,
        "activations": memory.activations,
        "teacher": memory.teacher,
        "losses": memory.losses,
    }
    return ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
