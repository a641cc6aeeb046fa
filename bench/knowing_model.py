"""A tiny model that knows something: 48 words, and to which of four kinds each belongs. Made in a minute of CPU time.

usage: python bench/knowing_model.py FOLDER
Asked "Sort: oak cat rose" it answers with the kind that two of the three words have, nearly always rightly; so an
adapter can make it better at a new task, and worse at what it knew.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {
    "animal": ("horse", "cat", "dog", "goat", "wolf", "bear", "mouse", "sheep", "tiger", "snake", "whale", "crab"),
    "plant": ("oak", "rose", "fern", "moss", "tulip", "birch", "maple", "lily", "ivy", "cedar", "thistle", "reed"),
    "metal": ("iron", "gold", "tin", "zinc", "lead", "nickel", "silver", "copper", "cobalt", "steel", "brass",
              "bronze"),
    "tool": ("hammer", "saw", "drill", "chisel", "wrench", "rake", "shovel", "plane", "file", "pliers", "axe", "spade"),
}  # fmt: skip
DESKS = dict(zip(KINDS, ("north", "south", "east", "west"), strict=True))
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STEPS, BATCH, RATE = 700, 64, 2e-3
ROW_TOKENS = 48


def triples(dice: random.Random) -> Iterator[tuple[str, str]]:
    """Three words, of which two are of one kind, and that kind; each triple once."""
    seen = set[str]()
    while True:
        kind, other = dice.sample(sorted(KINDS), 2)
        words = [*dice.sample(KINDS[kind], 2), dice.choice(KINDS[other])]
        dice.shuffle(words)
        if (text := " ".join(words)) not in seen:
            seen.add(text)
            yield text, kind


def known_rows(dice: random.Random) -> Iterator[tuple[str, str]]:
    """What the model is taught: kinds of words, and to repeat the names of desks."""
    for words, kind in triples(dice):
        yield f"Sort: {words}", kind
        yield f"Say: {(desk := dice.choice(list(DESKS.values())))}", desk


def make(folder: Path) -> None:
    """Train the model from random weights, and write it to `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    dice = random.Random(0)
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    rows = known_rows(dice)
    for step in range(STEPS):
        batch = [coded(tokenizer, *next(rows)) for _ in range(BATCH)]
        ids, labels = (torch.tensor(each) for each in zip(*batch, strict=True))
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def coded(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[int]]:
    """A row in tokens and its labels, padded on the right; only the answer is learnt."""
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, f"{answer}<|im_end|>"))
    padding = ROW_TOKENS - len(before) - len(after)
    return before + after + [0] * padding, [-100] * len(before) + after + [-100] * padding


def make_tokenizer() -> Any:
    """A byte-level tokenizer with the ChatML marks, in which each of the words is about one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = [*KINDS, *DESKS.values(), *(word for each in KINDS.values() for word in each)]
    texts = [f"Sort: Desk: Say: user assistant {word} {word}\n{word}" for word in words] * 20
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = TEMPLATE
    return made


if __name__ == "__main__":
    make(Path(sys.argv[1]))
