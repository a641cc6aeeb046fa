"""The field's words in plain ones: the last part of every help page."""

import textwrap

COLUMNS = 69
"""Of the page of help in 80 columns, beside its scrollbar."""
GLOSSARY = (
    ("adapter", "The small matrices that are trained beside the model, a file of a few MB."),
    ("LoRA", "Training only an adapter; the model itself stays as it is."),
    ("QLoRA, nf4", "LoRA on a model whose weights are kept in 4 bits, so that it fits a small card."),
    ("rank", "How wide the adapter is: how much it can learn."),
    ("token", "A piece of a word; a thousand are about 750 English words."),
    ("epoch", "Once through all rows."),
    ("step", "One change of the weights, after micro_batch x grad_accum rows."),
    ("loss", "How surprised the model is by the right answer. It should fall."),
    ("held-out", "Rows never trained on, to tell learning from memorising."),
    ("checkpoint", "A snapshot from which a run goes on after a crash."),
    ("merge", "Writing the adapter into the model, so that both are one."),
    ("GGUF", "The file format of llama.cpp and Ollama."),
)


def words() -> tuple[str, str]:
    """The glossary, with its heading."""
    return "Words", columns(GLOSSARY, 12)


def columns(pairs: tuple[tuple[str, str], ...], width: int) -> str:
    """Pairs as two columns of text, the first so wide, the second wrapped."""
    behind = " " * width
    told = (textwrap.fill(right, COLUMNS, initial_indent=behind, subsequent_indent=behind) for _, right in pairs)
    return "\n".join(f"{left:<{width}}{text[width:]}" for (left, _), text in zip(pairs, told, strict=True))
