"""The base model's own answers to general prompts: trained on beside the rows, they keep what it could do before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.recipe import Recipe
from fitune.core.recipe.load import presets_dir
from fitune.core.runs import EventLog, Phase, Run, Warned
from fitune.core.worker.answers import answering, prompt_ids
from fitune.core.worker.cards.rank import splits
from fitune.core.worker.chats.stop_tokens import stop_ids
from fitune.core.worker.chats.template import PromptOptions

FILE = "replay.jsonl"
"""In the run folder, so that a run that resumes trains on the same answers."""
AT_ONCE = 16
ANSWER_TOKENS = 384
"""A longer answer is left out: cut off, it would teach to break off."""


def prompts() -> list[str]:
    """The general prompts that fitune brings along."""
    return (presets_dir() / "replay" / "prompts.txt").read_text(encoding="utf-8").splitlines()


def own_answers(
    run: Run, recipe: Recipe, model: Any, tokenizer: Any, base: Path, count: int, log: EventLog
) -> list[dict[str, Any]]:
    """Rows of the base model's answers to `count` prompts, or to all if there are fewer; from the run folder if they
    were written before. Raises UserError where the model can't answer.

    model: with a fresh adapter, which changes no answer. base: the folder of the base model, for its stop tokens.
    """
    path = run.path / FILE
    if splits(recipe):
        text = "data.replay: a model that is split over cards can't answer before the training."
        raise UserError(text, "Name general rows in data.replay_source.")
    if not path.exists():
        asked = prompts()[:count]
        log.write(Phase(name="replay", rows=0))
        rows: list[dict[str, Any]] = []
        options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
        with answering(model, recipe.train.backend == "unsloth"):
            for first in range(0, len(asked), AT_ONCE):
                if run.stop.exists():
                    return rows  # the training ends before its first step, too
                some = asked[first : first + AT_ONCE]
                rows += _answered(model, tokenizer, stop_ids(tokenizer, base), some, options)
                log.write(Phase(name="replay", rows=len(rows)))
        if len(rows) < len(asked):
            text = f"{len(asked) - len(rows)} of the base model's {len(asked)} answers were too long, and are left out."
            log.write(Warned(kind="replay", message=text, count=len(asked) - len(rows)))
        write_atomically(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _answered(
    model: Any, tokenizer: Any, stops: list[int], asked: list[str], options: PromptOptions
) -> list[dict[str, Any]]:
    """Rows of the prompts whose answers came to their end, written at once with the prompts filled up at their left."""
    import torch

    turns = [[{"role": "user", "content": each}] for each in asked]
    ids = [_ids(each, tokenizer, options) for each in turns]
    longest = max(map(len, ids))
    fill = stops[0] if stops else 0
    tokens = torch.tensor([[fill] * (longest - len(each)) + each for each in ids], device=model.device)
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in ids], device=model.device)
    out = model.generate(
        input_ids=tokens,
        attention_mask=mask,
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=fill,
        use_cache=True,
    )
    rows = []
    for turn, written in zip(turns, out[:, longest:].tolist(), strict=True):
        end = next((place for place, token in enumerate(written) if token in stops), None)
        text = tokenizer.decode(written[:end], skip_special_tokens=True).strip()
        if end is not None and text:
            rows.append({"messages": [*turn, {"role": "assistant", "content": text}]})
    return rows


def _ids(turns: list[dict[str, str]], tokenizer: Any, options: PromptOptions) -> list[int]:
    """The prompt that switches thinking off, behind which answers without thoughts are trained, too."""
    try:
        return prompt_ids(turns, None, tokenizer, replace(options, thinking="off"))
    except UserError as error:
        raise UserError(f"data.replay: {error.message}", "Name general rows in data.replay_source.") from None
