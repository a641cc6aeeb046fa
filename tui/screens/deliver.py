"""What can be done with a trained adapter, and what each way needs. A row of WAYS is a way.

A way whose `job` is set is done by the worker and watched like a training; the others are lines to run by hand.
"""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static

from core import launch
from core.errors import UserError
from core.events import Tail
from core.runs import Run
from tui.format import duration, size
from tui.text import clean, safe
from tui.widgets.meters import Line


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ways depend on."""

    run: Run
    base_model: str
    adapter_bytes: int
    disk_free_bytes: int
    merged_bytes: int | None
    """Of the whole model at 16 bits a weight; None if its shape is not known."""
    load_s: float | None
    """How long this run took to load the model."""
    host: str


@dataclass(frozen=True, slots=True)
class Way:
    """One thing to do with an adapter."""

    title: str
    what: str
    needs: Callable[[Facts], str]
    lines: Callable[[Facts], str]
    """The lines to run by hand."""
    job: str | None = None
    """The worker's job that does it; None where it is done by hand."""


def load_lines(facts: Facts) -> str:
    """Python that loads the model with its adapter."""
    return (
        "from peft import AutoPeftModelForCausalLM\n"
        "from transformers import AutoTokenizer\n"
        f"adapter = {str(facts.run.adapter)!r}\n"
        "tokenizer = AutoTokenizer.from_pretrained(adapter)\n"
        "model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype='auto', device_map='auto')\n"
    )


def try_lines(facts: Facts) -> str:
    """Python that asks the model one question."""
    return load_lines(facts) + (
        "asked = [{'role': 'user', 'content': 'Your question'}]\n"
        "ids = tokenizer.apply_chat_template(\n"
        "    asked, add_generation_prompt=True, return_tensors='pt', return_dict=True).to(model.device)\n"
        "out = model.generate(**ids, max_new_tokens=200)[0][ids['input_ids'].shape[1]:]\n"
        "print(tokenizer.decode(out, skip_special_tokens=True))"
    )


def merge_lines(facts: Facts) -> str:
    """Python that writes a model of its own."""
    merged = str(facts.run.path / "merged")
    return load_lines(facts) + (
        f"merged = {merged!r}\nmodel.merge_and_unload().save_pretrained(merged)\ntokenizer.save_pretrained(merged)"
    )


WAYS = (
    Way(
        "Try it",
        "Ask it something, from Python.",
        lambda facts: f"the base model in memory{_as_in_training(facts)}; no token unless the model is gated",
        try_lines,
    ),
    Way(
        "Merge",
        "Write adapter and model into one ordinary model folder.",
        lambda facts: f"{_disk(facts)}; the base model in memory{_as_in_training(facts)}; no token",
        merge_lines,
    ),
    Way(
        "GGUF",
        "Make one file for llama.cpp and Ollama; merge first.",
        lambda facts: f"{_disk(facts)} at 16 bits, about half of that as q8_0; the converter of llama.cpp; no token",
        lambda facts: (
            f"python convert_hf_to_gguf.py {_q(facts.run.path / 'merged')} --outtype q8_0 "
            f"--outfile {_q(facts.run.path / (facts.run.name + '.gguf'))}"
        ),
    ),
    Way(
        "Push",
        "Put the adapter on the Hugging Face Hub, in a private repository.",
        lambda facts: f"{size(facts.adapter_bytes)} to upload; a token that may write (hf auth login)",
        lambda facts: f"hf upload YOUR_NAME/{facts.run.name} {_q(facts.run.adapter)} --private",
    ),
    Way(
        "Serve",
        "Answer requests of other programs, with vLLM.",
        lambda facts: "vLLM; the base model on a card; no token unless the model is gated",
        lambda facts: f"vllm serve {_q(facts.base_model)} --enable-lora --lora-modules tuned={_q(facts.run.adapter)}",
    ),
    Way(
        "Copy",
        "Fetch the adapter to your own computer; type this there.",
        lambda facts: f"{size(facts.adapter_bytes)} of disk there",
        lambda facts: f"scp -r {facts.host}:{_q(facts.run.adapter)} {facts.run.name}",
    ),
)


class DeliverScreen(Screen[None]):
    """The ways on top, the one in hand explained below."""

    CSS_PATH = "../watch.tcss"
    AUTO_FOCUS = "#ways"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("space", "scroll_lines", "Scroll"),
    ]

    @dataclass
    class Found(Message):
        """The folder was looked at."""

        facts: Facts

    @dataclass
    class Refused(Message):
        """The job did not start, and why."""

        problem: str

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.trained = run
        self.facts: Facts | None = None

    def compose(self) -> ComposeResult:
        yield Line("title")
        yield OptionList(id="ways", compact=True, markup=False)
        with VerticalScroll(id="way", can_focus=False):
            yield Line("what")
            yield Line("lines")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        name = safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Line).say(
            Content.styled("fitune", "bold $primary") + name + Content("   the adapter is ready")
        )
        ways = self.query_one(OptionList)
        ways.set_options(Content(f"{way.title:<8}{way.what}") for way in WAYS)
        ways.highlighted = 0
        self.find()

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def find(self) -> None:
        self.post_message(self.Found(facts(self.trained)))

    def on_deliver_screen_found(self, event: Found) -> None:
        self.facts = event.facts
        self.show_way(self.query_one(OptionList).highlighted or 0)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.show_way(event.option_index)

    def show_way(self, index: int) -> None:
        """Explain one of WAYS."""
        way = WAYS[index]
        if self.facts is None:
            self.query_one("#what", Line).say(Content("looking at the run's folder ..."))
            return
        how = "Enter does it." if way.job else "fitune does not do this by itself yet. These lines do:"
        needs = Content.styled("needs   ", "dim") + safe(way.needs(self.facts))
        self.query_one("#what", Line).say(needs + Content(f"\n\n{how}"))
        self.query_one("#lines", Line).say(safe("" if way.job else way.lines(self.facts), keep_newlines=True))
        self.query_one("#way", VerticalScroll).scroll_home(animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if job := WAYS[event.option_index].job:
            self.start(job)

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def start(self, job: str) -> None:
        try:
            launch.start(self.trained, job)
        except UserError as error:
            self.post_message(self.Refused(str(error)))
        else:
            self.app.call_from_thread(self.dismiss)

    def on_deliver_screen_refused(self, event: Refused) -> None:
        self.app.notify(clean(event.problem), severity="error", markup=False)

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll_lines(self) -> None:
        way = self.query_one("#way", VerticalScroll)
        if way.scroll_offset.y >= way.max_scroll_y:
            way.scroll_home(animate=False)
        else:
            way.scroll_page_down(animate=False)


def facts(run: Run) -> Facts:
    """Look at a run's folder; what can't be known is None."""
    try:
        info = run.info()
    except UserError:
        info = {}
    model = (info.get("recipe") or {}).get("model") or {}
    return Facts(
        run,
        str(model.get("id", "")),
        sum(file.stat().st_size for file in run.adapter.rglob("*") if file.is_file()),
        shutil.disk_usage(run.path).free,
        _merged_bytes(str(model.get("id", "")), model.get("revision")),
        _load_s(run),
        str(info.get("host") or os.uname().nodename),
    )


def _merged_bytes(model_id: str, revision: str | None) -> int | None:
    from core import shapes

    try:
        return 2 * shapes.load(model_id, revision).params
    except UserError:
        return None


def _load_s(run: Run) -> float | None:
    """Seconds that the newest load of the model took, from its phase to the next."""
    began = took = None
    for event in Tail(run.events).catch_up():
        if event.type == "phase":
            if began is not None:
                took, began = event.t - began, None
            if event.data.get("name") == "load":
                began = event.t
    return took


def _as_in_training(facts: Facts) -> str:
    return f" (loading took {duration(facts.load_s)} in this run)" if facts.load_s is not None else ""


def _disk(facts: Facts) -> str:
    wanted = size(facts.merged_bytes) if facts.merged_bytes else "2 bytes a weight"
    return f"{wanted} of disk, {size(facts.disk_free_bytes)} are free"


def _q(text: str | Path) -> str:
    return shlex.quote(str(text))
