"""Every command of the pages is run, or the page's source states why it is not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.pages import PAGES, ROOT, list_blocks
from tests.walk import Walk, find_missing, is_plain, run_blocks, walk_page

WALKED = [page for page in PAGES if any(map(is_plain, list_blocks(page)))]
QUICK = {ROOT / "docs" / "operating" / f"{name}.md" for name in ("kubernetes", "upgrade")}
"""Pages of few commands, none of which trains; those of the others take minutes together."""
Record = Callable[[str, object], None]


def mark(page: Path) -> ParameterSet:
    marks = [] if page in QUICK else [pytest.mark.slow]
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", [mark(page) for page in WALKED])
def test_the_commands_of_a_page_run_in_order_and_print_what_it_shows(
    page: Path, tmp_path_factory: pytest.TempPathFactory, record_property: Record
) -> None:
    walk_page(page, tmp_path_factory).check()
    blocks = list_blocks(page)
    record_property("commands_run", sum(len(block.commands) for block in blocks if is_plain(block)))


def test_the_pages_that_are_always_walked_are_among_them() -> None:
    assert set(WALKED) > QUICK


def test_every_command_is_run_or_its_block_has_a_reason(record_property: Record) -> None:
    for page in PAGES:
        text = page.read_text()
        blocks = [block for block in list_blocks(page) if not block.file]
        assert len(blocks) == len(re.findall(r"^ *```console", text, re.MULTILINE)), page
        for block in blocks:
            assert block.commands, f"{page}:{block.line}: no line begins with `$ `"
            if block.reason:
                record_property("commands_not_run", (block.reason, len(block.commands)))
        # A mistyped comment would be none.
        known = r"not run: \S.*|slow: \S.*|before: \S.*|in containers too|in the background"
        for comment in re.findall(r"^<!-- (.*) -->\n(?:<!-- .* -->\n)*```", text, re.MULTILINE):
            assert re.fullmatch(known, comment), f"{page}: {comment}"


def test_no_block_of_another_kind_hides_commands() -> None:
    for page in PAGES:
        for language, text in re.findall(
            r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            assert language in ("console", "text", "python", "yaml", "dockerfile", "json", "toml"), page
            assert language == "console" or not re.search(r"^ *\$ ", text, re.MULTILINE), (page, text)


def write_page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def walk(folder: Path, text: str) -> Walk:
    page = write_page(folder, text)
    (folder / "clean").mkdir()
    return run_blocks(list_blocks(page), folder / "clean")


def test_a_page_whose_command_fails_or_prints_something_else_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    failed = walk(tmp_path / "1", "```console\n$ echo a\na\n$ false\n$ echo b\n```\n")
    assert [step.command for step in failed.steps] == ["echo a", "false"]
    with pytest.raises(AssertionError, match="false"):
        failed.check()
    (tmp_path / "2").mkdir()
    other = walk(tmp_path / "2", "```console\n$ echo wrote 12 files\nwrote 7 lines\n```\n")
    with pytest.raises(AssertionError, match="wrote 7 lines"):
        other.check()


def test_marked_blocks_are_run_as_their_comments_say(tmp_path: Path) -> None:
    found = walk(
        tmp_path,
        "```python\n# my.py, here\nprint(7)\n```\n"
        "<!-- before: echo 3 > count -->\n```console\n$ cat count\n3\n```\n"
        "<!-- in the background -->\n```console\n$ sleep 1000\n```\n"
        "```console\n$ for n in 1 2; do\n>   python3 my.py\n> done\n7\n7\n```\n",
    )
    found.check()
    assert [step.shown for step in found.steps] == ["", "", "3\n", "", "7\n7\n"]


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        ("round 3, loss 0.12", "x\nround  1, loss 0.5\n", ""),
        ("run 20261126-042622-bc03", "run 20271126-052622-0003", ""),
        ("a[0]: class no, sure", "a[1]: class yes, sure", ""),
        ("a[0]: class no", "b[0]: class no", "a[0]: class no"),
        ("a\n...\nc\n", "a\nb\nc\n", ""),
        ("a\nb\n", "b\na\n", "b"),
        ("sha " + "ab" * 32, "sha " + "ac" * 32, "sha " + "ab" * 32),
        ("sha " + "ab" * 32, "sha " + "ab" * 32, ""),
    ],
)
def test_numbers_may_differ_but_words_their_order_and_digests_may_not(
    shown: str, printed: str, missing: str
) -> None:
    assert find_missing(shown, printed) == missing
