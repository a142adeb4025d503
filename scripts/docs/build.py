"""Builds the site: `python -m scripts.docs.build`. Writes its pages to build/docs/, the HTML to site/; anything broken is an error."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.docs.api import stage_api
from scripts.docs.commands import stage_commands
from scripts.docs.pages import ROOT, stage_pages
from scripts.docs.settings import stage_settings

PAGES, SITE = ROOT / "build" / "docs", ROOT / "site"
STYLE = Path(__file__).with_name("site.css")
ASSET = re.compile(
    r"<(?:script|img|iframe|source|link (?![^>]*rel=\"?(?:canonical|next|prev))[^>]*)\b[^>]*?(?:src|href)=\"?([^\" >]+)"
)
FROM_STYLE = re.compile(r"url\(['\"]?(?!data:)([^'\")]+)|@import")


def stage(folder: Path) -> None:
    """Writes all pages as Markdown.

    Args:
        folder: Where; what was there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    stage_pages(folder)
    stage_api(folder)
    stage_commands(folder)
    stage_settings(folder)
    shutil.copy(STYLE, folder)


def faults(site: Path) -> list[str]:
    """What a built page loads that is missing, or that is not in the site: it must work without a network.

    Args:
        site: The built site.
    """
    found = []
    for page in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        pattern = ASSET if page.suffix == ".html" else FROM_STYLE
        for match in pattern.finditer(page.read_text(encoding="utf-8")):
            link = (match[1] or match[0]).partition("#")[0].partition("?")[0]
            if link.startswith("data:"):
                continue
            start = site if link.startswith("/") else page.parent
            if "//" in link or not (start / link.lstrip("/")).exists():
                found.append(f"{page.relative_to(site)}: {link}")
    return found


def main() -> None:
    """Builds the site."""
    stage(PAGES)
    shutil.rmtree(SITE, ignore_errors=True)
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT)
    if built.returncode:
        raise SystemExit("error: the site has the faults above")
    if missing := faults(SITE):
        raise SystemExit("\n".join(["error: pages load what is not in the site:", *missing]))
    print(f"{SITE}: to read it, `python -m http.server --directory site`")


if __name__ == "__main__":
    main()
