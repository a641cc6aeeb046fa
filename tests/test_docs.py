"""The front matter: pages made from the code are fresh, links and paths lead somewhere, README stays short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from docs import generate

ROOT = Path(__file__).parents[1]
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*FRONT, *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```|^    .*?$", re.DOTALL | re.MULTILINE)
TREES = ("core/", "tui/", "tests/", "docs/", "bench/", "presets/", "src/", ".ci/")


@pytest.mark.parametrize("name", generate.pages())
def test_a_page_made_from_the_code_is_fresh(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == generate.pages()[name], f"{name} is stale: uv run python -m docs.generate"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page.read_text(encoding="utf-8"), page)) == []


@pytest.mark.parametrize("link", ["nowhere.md", "docs/tour.md#nowhere", "#nowhere", "docs/nowhere.svg"])
def test_a_broken_link_would_be_noticed(link: str) -> None:
    good = "[tour](docs/tour.md#use-it) and [here](#three-commands) and [there](https://example.org/nowhere)"
    assert list(broken_links(f"{good}\n![x]({link})\n\n## Three commands\n", ROOT / "README.md")) == [link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if path.startswith(TREES) and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_front_matter_is_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 100


def test_the_workflow_runs_what_the_clean_clone_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps == [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("uv ")]


def test_contributing_has_every_room_on_its_map() -> None:
    words = set(re.findall(r"\w+", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    rooms = {file.parent.name for top in ("core", "tui") for file in (ROOT / top).glob("*/__init__.py")}
    assert rooms <= words


def test_contributing_names_only_what_the_code_defines() -> None:
    named = re.findall(r"`([A-Z]\w+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    code = "\n".join(file.read_text(encoding="utf-8") for top in ("core", "tui") for file in (ROOT / top).rglob("*.py"))
    assert named
    assert [name for name in named if not re.search(rf"^(class {name}\b|{name}\b.* = )", code, re.MULTILINE)] == []


def broken_links(text: str, page: Path) -> Iterator[str]:
    """The links of a page that lead to no file of the tree, or to no heading of it."""
    for link in LINK.findall(FENCED.sub("", text)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text() if path else text)):
            yield link


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tour_is_small_and_every_frame_of_it_shows_a_screen() -> None:
    svg = (ROOT / "docs" / "tour.svg").read_text(encoding="utf-8")
    assert len(svg.encode()) < 300_000
    frames = re.findall(r'<g class="f f\d+">(.*?)</g>', svg)
    assert len(frames) > 10
    assert min(frame.count("<use ") for frame in frames) >= 5
    assert "/tmp/" not in svg
