"""The site's pages: README.md, docs/, the other documents, and each file that these link to, with links that lead from page to page."""

import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()([^)\s#]+)|(?<=src=\")([^\"]+)")
FENCE = re.compile(r"(^```.*?^```)", flags=re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
"""The file types that a document may link to, and what highlights them."""


def place(file: str) -> str:
    """Where a file of the repository is on the site: README.md is the home page, docs/ its root.

    Args:
        file: The path from the repository's root.
    """
    if file == "README.md":
        return "index.md"
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    return f"project/{file.lower()}" if file in DOCUMENTS else f"files/{file}.md"


def stage_pages(folder: Path) -> None:
    """Writes all pages that are not generated, with their pictures.

    Args:
        folder: The site's pages; it is made.
    """
    documents = [*DOCUMENTS, *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/*.md")))]
    linked: set[str] = set()
    for document in documents:
        write(folder / place(document), relinked(document, linked))
    for file in sorted(linked - set(documents)):
        if Path(file).suffix in LANGUAGES:
            write(folder / place(file), as_page(file))
    shutil.copytree(ROOT / "docs" / "images", folder / "images", dirs_exist_ok=True)


def relinked(document: str, linked: set[str]) -> str:
    """A document whose links lead to pages of the site.

    Args:
        document: Its path from the repository's root.
        linked: Gets the files that it links to.
    """

    def target(match: re.Match[str]) -> str:
        link = match[0]
        if "://" in link or link.startswith("mailto:"):
            return link
        file = os.path.relpath((ROOT / document).parent / link, ROOT)
        linked.add(file)
        return os.path.relpath(place(file), Path(place(document)).parent)

    text = (ROOT / document).read_text(encoding="utf-8")
    return "".join(part if FENCE.match(part) else LINK.sub(target, part) for part in FENCE.split(text))


def as_page(file: str) -> str:
    """A page that shows a file.

    Args:
        file: Its path from the repository's root.
    """
    text = (ROOT / file).read_text(encoding="utf-8").rstrip()
    return f"# {file}\n\n````{LANGUAGES[Path(file).suffix]}\n{text}\n````\n"


def write(file: Path, text: str) -> None:
    """Writes a page, with the folders that it needs.

    Args:
        file: Where.
        text: Its Markdown.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
