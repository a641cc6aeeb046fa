"""The data of a recipe: its sources, how their rows are read, and what is learned of them."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from fitune.core.recipe.kinds import DataFormat, Group, Thinking


class Part(Group):
    """One of several sources of rows."""

    source: Annotated[str, Field(min_length=1)]
    """A file, a folder, or the id of a data set on the Hub."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1
    """How often each of its rows is trained on in an epoch: 2 is twice, 0.5 every second row."""
    format: DataFormat = "auto"
    """The shape of its rows."""
    split: str = "train"
    """Its split."""
    columns: dict[str, str] = {}
    """Its column for each role."""


class Data(Group):
    """The training data."""

    source: str = ""
    """A file (JSONL, JSON, CSV, Parquet, text), a folder of them, or the id of a data set on the Hub.
    A relative path counts from the current folder."""
    sources: tuple[Part, ...] = ()
    """Several of them in its place: [{source = "a.jsonl"}, {source = "b.jsonl", weight = 2}]. weight is how often each
    row is trained on in an epoch; format, split and columns may stand beside it."""
    format: DataFormat = "auto"
    """The shape of a row; auto recognises the common ones."""
    split: str = "train"
    """The split of a Hub data set."""
    columns: dict[str, str] = {}
    """Your column for each role, where auto is not sure: {prompt = "question", completion = "answer"}."""
    replay: Annotated[float, Field(ge=0, le=0.5)] = 0
    """Share of general rows that are mixed in, so that the model forgets less of what it could do; 0.1 is usual."""
    replay_source: Annotated[str, Field(min_length=1)] | None = None
    """The general rows. Nothing means the base model's own answers, written before the training, to a hundred prompts
    that fitune brings along."""
    eval_fraction: Annotated[float, Field(ge=0, le=0.5)] | Literal["auto"] = "auto"
    """Share of the rows held out from training, to see if the model learns or only memorises, and to score it
    afterwards. auto holds out a twentieth, but enough for a verdict where there are some hundred rows."""
    loss_on: Literal["answers", "all"] = "answers"
    """Learn to write the answers only, or the questions too."""
    thinking: Thinking = "auto"
    """For a model that thinks before it answers, and rows without thoughts. keep: they don't teach it to stop thinking.
    off: it answers at once, and is served so. auto is keep, after a question where one can be asked."""
    template_options: dict[str, bool | int | float | str] = {}
    """Options of the model's chat template, such as {enable_thinking = false} or {reasoning_effort = "high"}; a server
    must pass the same."""
    text_overlap: Annotated[int, Field(ge=0, le=65_536)] | None = None
    """Cut a plain text that is longer than model.max_seq_length into several rows. Each begins with so many tokens of
    the one before, which are read but not learned again. Nothing means that a long text loses its end."""
    image_folder: Annotated[str, Field(min_length=1)] | None = None
    """The folder that the paths of images count from, and that they must lie in. Nothing means the folder of the data
    file."""
    image_pixels: Annotated[int, Field(ge=1_024, le=16_777_216)] = 589_824
    """Pixels of the largest image; larger ones are made smaller. More shows finer print, and takes more tokens: with
    Qwen3-VL one for each 1,024 pixels."""
    packing: bool | Literal["auto"] = "auto"
    """Put several short rows into one of full length: faster, but a step then holds several times the rows, and an
    epoch teaches less. auto leaves them apart. Never done where a row would see the one before it, as in models with
    Mamba layers, linear attention or short convolutions (Qwen3.5, Granite 4 H, LFM2)."""

    @property
    def name(self) -> str:
        """The sources, as a person is told of them."""
        return ", ".join(part.source for part in self.sources) or self.source

    def parts(self) -> tuple[tuple["Data", float], ...]:
        """Each source as data of its own, with its weight."""
        if not self.sources:
            return ((self, 1.0),)
        return tuple(
            (self.model_copy(update={"sources": (), **part.model_dump(exclude={"weight"})}), part.weight)
            for part in self.sources
        )

    def in_place(self, source: str) -> "Data":
        """The rows of another place, read as these, without the other sources of these."""
        return self.model_copy(update={"source": source, "sources": ()})

    def read_as(self, fmt: DataFormat) -> "Data":
        """The same data, all of one format."""
        parts = tuple(part.model_copy(update={"format": fmt}) for part in self.sources)
        return self.model_copy(update={"format": fmt, "sources": parts})

    def with_sources(self, change: Callable[[str], str]) -> "Data":
        """The same data with each name of a source changed, and that of the images' folder."""
        parts = tuple(part.model_copy(update={"source": change(part.source)}) for part in self.sources)
        one = change(self.source) if self.source else ""
        general = change(self.replay_source) if self.replay_source else None
        folder = change(self.image_folder) if self.image_folder else None
        changed = {"source": one, "sources": parts, "replay_source": general, "image_folder": folder}
        return self.model_copy(update=changed)

    def all_sources(self) -> tuple["Data", ...]:
        """All that is read: each source of rows, and the general rows."""
        general = self.general()
        return (*(part for part, _ in self.parts()), *([general] if general else []))

    def general(self) -> "Data | None":
        """The data that are replayed; None if none are, or the base model's own answers."""
        if not (self.replay and self.replay_source):
            return None
        mapped = {"source": self.replay_source, "sources": (), "format": "auto", "split": "train", "columns": {}}
        return self.model_copy(update=mapped)
