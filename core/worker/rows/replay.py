"""The base model's own answers to general prompts: trained on beside the rows, they keep what it could do before."""

from collections import Counter
from collections.abc import Iterator
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
    """So many rows of the base model's answers to the prompts, or fewer where these run out; from the run folder if
    they were written before. Raises UserError where the model can't answer, as one that was never trained to.

    model: with a fresh adapter, which changes no answer. base: the folder of the base model, for its stop tokens.
    """
    path = run.path / FILE
    if splits(recipe):
        text = "data.replay: a model that is split over cards can't answer before the training."
        raise UserError(text, "Name general rows in data.replay_source.")
    if not path.exists():
        log.write(Phase(name="replay", rows=0))
        rows, left_out = list[dict[str, Any]](), Counter[str]()
        options = PromptOptions(recipe.data.thinking, recipe.data.template_options)
        stops = stop_ids(tokenizer, base, options)
        to_ask = prompts()
        with answering(model, recipe.train.backend == "unsloth"):
            while to_ask and len(rows) < count:
                if run.stop.exists():
                    return rows  # the training ends before its first step, too
                at_once = min(AT_ONCE, count - len(rows))
                asked, to_ask = to_ask[:at_once], to_ask[at_once:]
                for prompt, answer in _answers(model, tokenizer, stops, asked, options):
                    if answer:
                        rows.append({"messages": [*prompt, {"role": "assistant", "content": answer}]})
                    else:
                        left_out["too long" if answer is None else "empty"] += 1
                if not rows and left_out.total() >= AT_ONCE:
                    raise _no_answers(left_out)
                log.write(Phase(name="replay", rows=len(rows)))
        if not rows:
            raise _no_answers(left_out)
        _tell_left_out(left_out, log)
        write_atomically(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _no_answers(left_out: Counter[str]) -> UserError:
    reasons = " or ".join(left_out)
    text = f"data.replay: the base model's first {left_out.total()} answers to general prompts were all {reasons}."
    return UserError(text, "Name general rows in data.replay_source, or leave data.replay out.")


def _tell_left_out(left_out: Counter[str], log: EventLog) -> None:
    """Warn of answers that are no rows. left_out: how many, by the reason."""
    if left_out:
        reasons = " and ".join(f"{count} that were {reason}" for reason, count in left_out.items())
        text = f"Of the base model's answers to general prompts {reasons} are left out; it was asked others instead."
        log.write(Warned(kind="replay", message=text, count=left_out.total()))


def _answers(
    model: Any, tokenizer: Any, stops: list[int], asked: list[str], options: PromptOptions
) -> Iterator[tuple[list[dict[str, str]], str | None]]:
    """Each prompt as turns, and its answer, None where it did not come to its end; written at once with the prompts
    filled up at their left."""
    from fitune.core.worker.scoring.generate import padded_left  # torch

    turns = [[{"role": "user", "content": each}] for each in asked]
    ids = [_ids(each, tokenizer, options) for each in turns]
    fill = stops[0] if stops else 0
    tokens, mask = padded_left(ids, fill, model.device)
    out = model.generate(
        input_ids=tokens,
        attention_mask=mask,
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=fill,
        use_cache=True,
    )
    for prompt, written in zip(turns, out[:, tokens.shape[1] :].tolist(), strict=True):
        end = next((place for place, token in enumerate(written) if token in stops), None)
        yield prompt, None if end is None else tokenizer.decode(written[:end], skip_special_tokens=True).strip()


def _ids(turns: list[dict[str, str]], tokenizer: Any, options: PromptOptions) -> list[int]:
    """The prompt that switches thinking off, behind which answers without thoughts are trained, too."""
    try:
        return prompt_ids(turns, None, tokenizer, replace(options, thinking="off"))
    except UserError as error:
        raise UserError(f"data.replay: {error.message}", "Name general rows in data.replay_source.") from None
