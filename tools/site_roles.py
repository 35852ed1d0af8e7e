"""Hook of MkDocs: what docstrings name by Sphinx's roles, ``:class:`.Network```, becomes a link."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["link_roles", "on_page_content"]

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):\s*<code>~?\.*([\w.]+)</code>")


@cache
def _places(folder: str) -> dict[str, str]:
    """Full path of every object of the API pages by its last name."""
    pages = (path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.md")))
    paths = [path for page in pages for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
    return {path.rpartition(".")[2]: path for path in paths}


def link_roles(html: str, places: dict[str, str]) -> str:
    """``html`` with each role as a link where its name stands in ``places``, else as the name alone."""

    def link(found: re.Match[str]) -> str:
        name = found[1].rpartition(".")[2]
        code = f"<code>{name}</code>"
        return f'<autoref optional identifier="{places[name]}">{code}</autoref>' if name in places else code

    return _ROLE.sub(link, html)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs with the body of each page, before the plugin autorefs resolves its links."""
    del page, files
    return link_roles(html, _places(str(Path(config["docs_dir"]) / "api")))
