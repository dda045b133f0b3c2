"""The files that a report wrote, so that the next report replaces only those."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from condgen.errors import CondgenError
from condgen.files import check_writable

ENTRIES = ("figures", "tables", "index.html")
SUFFIXES = {"figures": (".svg", ".png"), "tables": (".csv", ".json")}


def check_replaceable(directory: Path) -> None:
    """Refuse a directory that is not writable, or has files of these names that no report wrote.

    Raises:
        CondgenError: With the names of these files.
    """
    taken = [entry for entry in ENTRIES if (directory / entry).exists()]
    if taken:
        foreign = (
            taken
            if (page := _Page.read(directory / "index.html")) is None
            else _foreign(directory, page)
        )
        if foreign:
            raise CondgenError(
                f"{directory} has {' and '.join(foreign)} that no report wrote;"
                " choose another --out."
            )
    check_writable(directory / "index.html")


def _foreign(directory: Path, page: "_Page") -> list[str]:
    """Up to three files in the report's folders that the report did not write."""
    found = [
        path.relative_to(directory).as_posix()
        for folder, suffixes in SUFFIXES.items()
        for path in sorted((directory / folder).rglob("*"))
        if not _is_own(path, path.relative_to(directory).as_posix(), page.files, suffixes)
    ]
    return found[:3]


def _is_own(path: Path, name: str, files: frozenset[str] | None, suffixes: tuple[str, ...]) -> bool:
    if files is None:  # older pages do not list their files
        return path.suffix in suffixes and path.is_file()
    return name in files


class _Page(HTMLParser):
    """The head of a page: whether condgen generated it, and the files that it lists."""

    def __init__(self) -> None:
        super().__init__()
        self.is_report = False
        self.files: frozenset[str] | None = None

    @classmethod
    def read(cls, path: Path) -> "_Page | None":
        """Read a page; ``None`` if no report wrote it."""
        if not path.is_file():
            return None
        page = cls()
        page.feed(path.read_text(errors="replace").partition("</head>")[0])
        return page if page.is_report else None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        meta = dict(attrs)
        if tag == "meta" and meta.get("name") == "generator" and meta.get("content") == "condgen":
            self.is_report = True
        if tag == "meta" and meta.get("name") == "condgen-files":
            self.files = frozenset(map(unquote, (meta.get("content") or "").split()))
