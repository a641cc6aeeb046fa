"""A process that has imported the training stack, and forks a worker for each start: that spares half a minute.

    python -m tests.faults.zygote SOCKET FOLDER

It makes a tiny model in FOLDER/model, then serves requests: JSON objects with the worker's arguments, its log, its
environment, and code of tests/faults/inject.py that is carried out before the worker's own main. A worker is started
by a stand-in for systemd-run (tests/faults/house.py), so that fitune's own code runs unchanged.
"""

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def serve(path: Path, folder: Path) -> None:
    """Serve requests until the process is ended."""
    for name in ("fitune.core.worker.__main__", "fitune.core.worker.training.train"):
        importlib.import_module(name)
    make_model(folder / "model")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a dead worker is no zombie
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile() as lines:
            request = json.loads(lines.readline())
        if os.fork() == 0:
            server.close()
            be_worker(request)


def be_worker(request: dict[str, Any]) -> None:
    """Become the worker of a request, in a session of its own, and end with its exit status."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.environ.update(request["env"])
    sys.argv = ["worker", *request["argv"]]
    status = 1
    try:
        from fitune.core.worker.__main__ import main
        from tests.faults import inject

        exec(request["inject"], vars(inject))
        while True:
            try:
                status = main()
                break
            except inject.StartedAnew:
                continue
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def make_model(folder: Path) -> None:
    """A two-layer Llama of 0.1 M parameters with a byte-level tokenizer and ChatML."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
