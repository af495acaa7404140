"""What the site takes from outside `docs/`: the README as first page, other pages of the root, files that are shown.

Called by mkdocs. Links stay as they are for whoever reads the files in a checkout; here they are led to the site's own
pages, files are copied beside them, and a link to a folder becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", **{name: name for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")}}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages, and every file outside `docs/` to which a page links."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    for page in [file for file in files if file.is_documentation_page()]:
        for _, _, target, _ in LINK.findall(page.content_string):
            inside = _in_root(page.src_uri, target)
            if _is_shown(inside) and files.get_file_from_path(inside) is None:
                files.append(File.generated(config, inside, content=(ROOT / inside).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has what they mean."""

    def led(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups(default="")
        inside = _in_root(page.file.src_uri, target)
        if inside in PAGES:
            place = PAGES[inside]
        elif inside.startswith("docs/"):
            place = inside.removeprefix("docs/")
        elif _is_shown(inside):
            place = inside
        else:
            return f"`{inside}`" if (ROOT / inside).is_dir() else link[0]
        return f"{picture}[{text}]({posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return LINK.sub(led, markdown)


def _in_root(page: str, target: str) -> str:
    """Return what a link of a page means, as a path in the checkout."""
    written = next((name for name, each in PAGES.items() if each == page), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(written), target))


def _is_shown(inside: str) -> bool:
    return not inside.startswith(("docs/", "..")) and inside not in PAGES and (ROOT / inside).is_file()
