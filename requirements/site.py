"""Build the documentation site in build/docs: `make docs`, in an environment of its own, .venv-docs.

Pages are also read on GitHub, so they link to files of the repository. MkDocs reads one folder: the pages of
docs/ and those of PAGES are copied into it, and a link to any other file becomes its text.
"""
# ruff: noqa: INP001 - a program of its own

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path("build", "docs-source")
SITE = Path("build", "docs")
PAGES = (
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "bench/README.md",
    "data/mnist/README.md",
    "fuzz/README.md",
)
"""Pages outside docs/, which keep their path in the site."""

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<label>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def main(root: Path = Path()) -> int:
    """Copy the pages and build the site; return the exit code."""
    problems = copy_pages(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 2
    built = subprocess.run(
        # A warning, such as a link to a heading that does not exist, is an error.
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=root,
        # Otherwise, Material prints a notice about MkDocs 2 at every build.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    if built.returncode == 0:
        print(f"open {(root / SITE / 'index.html').resolve().as_uri()} in a browser")
    return built.returncode


def copy_pages(root: Path) -> list[str]:
    """Copy all pages and images, with links that work in the copy; return the problems found."""
    to = root / SOURCE
    shutil.rmtree(to, ignore_errors=True)
    found = [path.relative_to(root) for path in sorted((root / "docs").rglob("*")) if path.is_file()]
    places = {path: path.relative_to("docs") for path in found}
    places.update({Path(name): Path(name) for name in PAGES})
    problems: list[str] = []
    for path, place in places.items():
        (to / place).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = (root / path).read_text()
            (to / place).write_text(_rewrite(root, path, text, places, problems))
        else:
            shutil.copy(root / path, to / place)
    return problems


def _rewrite(root: Path, page: Path, text: str, places: dict[Path, Path], problems: list[str]) -> str:
    """Return a page's text with links to the copies of the pages; append broken links to `problems`."""

    def replace(found: "re.Match[str]") -> str:
        target, hash_sign, anchor = found["target"].partition("#")
        if not target or ":" in target:
            return found[0]
        path = Path(os.path.normpath(page.parent / target))
        if path in places:
            link = os.path.relpath(places[path], places[page].parent)
            return f"{found['image']}[{found['label']}]({link}{hash_sign}{anchor})"
        if not (root / path).exists():
            problems.append(
                f"{page}: {found['target']}: no such file; expected a path from the page's folder"
            )
        return found["label"]

    parts: list[str] = []
    end = 0
    for fence in _FENCED.finditer(text):
        parts += [_LINK.sub(replace, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(replace, text[end:])])


if __name__ == "__main__":
    sys.exit(main())
