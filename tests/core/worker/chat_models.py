"""Tokenizers as small as can be with the chat templates of known models, for rendering without a network.

Most templates are read from the installed trl, which ships them; those of Mistral and SmolLM2 are written down here, in
short forms that write the same text.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}{% for m in turns %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}"
    "{% if loop.last and system is defined %}{{ '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}"
    "{% else %}{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Kind:
    """What a model's tokenizer needs."""

    template: str
    """Written out, or the name of a file of trl's."""
    marks: tuple[str, ...]
    eos: str
    bos: str | None = None
    adds_bos: bool = False
    splits_as_gpt2: bool = False
    """True if several line ends before a letter are split as GPT-2 does, and unlike those at the end of a prompt."""


MERGES = (("Ċ", "Ċ"), ("i", "s"), ("Ġ", "is"), ("s", "."), (".", "Ċ"), (".", "ĊĊ"))
"""Ċ is a line end and Ġ a space: some tokens cross the end of a line or of an answer."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""The words that are tokenized one by one, as in Llama 3 and, nearly so, in most models since."""
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
KINDS = {
    "llama3": Kind("llama3", ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
                   "<|eot_id|>", "<|begin_of_text|>", True),
    "qwen2.5": Kind("qwen2_5", CHATML, "<|im_end|>"),
    "qwen3": Kind("qwen3", (*CHATML, "<think>", "</think>"), "<|im_end|>"),
    "mistral": Kind(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>", "<s>", True),
    "gemma": Kind("gemma", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>", True),
    "gemma3": Kind("gemma3", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>", True),
    "phi3": Kind("phi3", ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>"),
    "phi3.5": Kind("phi3_5", ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>"),
    "smollm2": Kind(SMOLLM2, CHATML, "<|im_end|>", "<|im_start|>"),
    "deepseek-r1": Kind("deepseek_r1_distill", ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>",
                                                "<｜Assistant｜>", "<think>", "</think>"),
                        "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", True),
}  # fmt: skip


@cache
def tokenizer(name: str) -> Any:
    """The tokenizer of one of KINDS: bytes, a few merges that cross the ends of answers, and the marks."""
    kind = KINDS[name]
    return make(trl_template(kind.template) if "{" not in kind.template else kind.template, kind)


def make(template: str | None, kind: Kind) -> Any:
    """A byte-level tokenizer with these marks; pad is EOS, as people often set it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = [*kind.marks, *alphabet, *map("".join, MERGES)]
    raw = Tokenizer(models.BPE({token: number for number, token in enumerate(vocab)}, list(MERGES)))
    raw.add_special_tokens(list(kind.marks))
    in_words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind.splits_as_gpt2)
    raw.pre_tokenizer = in_bytes if kind.splits_as_gpt2 else pre_tokenizers.Sequence([in_words, in_bytes])
    raw.decoder = decoders.ByteLevel()
    if kind.adds_bos and kind.bos:
        start = [(kind.bos, raw.token_to_id(kind.bos))]
        raw.post_processor = processors.TemplateProcessing(single=f"{kind.bos}:0 $A:0", special_tokens=start)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=kind.bos, eos_token=kind.eos, pad_token=kind.eos)
    made.chat_template = template
    return made


def trl_template(name: str) -> str:
    """A template as trl ships it; trl itself, which takes seconds to import, stays out."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
