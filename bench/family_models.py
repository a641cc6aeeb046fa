"""Random-weight models of today's families: few layers of those in families.json, or a whole one that fitune knows.

usage: python bench/family_models.py NAME FOLDER     NAME: of families.json, or a Hub id whose sizes fitune ships

Widths are those of the real model, so memory is, too. Writes 16-bit files, made on the GPU if there is one; a gpt-oss
that is to be quantized, as Unsloth's copies of it are.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.memory.config_json import shipped_configs

FAMILIES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("families.json").read_text())
"""config.json values of few-layer models, by name."""
MARKS = {
    "mistral3": {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"},
    "gemma3": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
    "qwen3_vl": {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    "qwen2_5_vl": {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
}
"""Tokens that a family's processor asks its tokenizer for by name."""
EXPERTS = re.compile(r"(.*\.mlp\.experts)\.(gate_up_proj|down_proj)(_bias)?")
SHARD = "4GB"


def values_of(name: str) -> dict[str, Any]:
    """The values of a config.json. Raises KeyError."""
    return dict(FAMILIES[name] if name in FAMILIES else shipped_configs()[name.lower()])


def make(name: str, folder: Path) -> int:
    """Write config, random weights, tokenizer and processor of a model to a folder. The number of its parameters."""
    import torch
    from transformers import AutoConfig

    from bench.make_model import make_tokenizer
    from fitune.core.worker.architecture.model_class import model_class

    values = values_of(name)
    quantized = values.pop("quantization_config", None)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    config.get_text_config().update({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3})
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = model_class(config).from_config(config, dtype=torch.bfloat16)
    if quantized:
        write_in_nf4(model, quantized, folder)
    else:
        model.save_pretrained(folder, max_shard_size=SHARD)
    marks = MARKS.get(config.model_type, {})
    tokenizer = make_tokenizer(folder, marks)
    if marks:
        processor_of(config.model_type, tokenizer).save_pretrained(folder)
    return sum(each.numel() for each in model.parameters())


def write_in_nf4(model: Any, quantized: dict[str, Any], folder: Path) -> None:
    """Write gpt-oss with its experts in 4 bits, a matrix for each, and the rest in 16, as Unsloth's copies are."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    tensors = {key: value.cpu().contiguous() for key, value in stored(model.state_dict())}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    model.config.update({"quantization_config": quantized, "architectures": [type(model).__name__]})
    model.config.save_pretrained(folder)


def stored(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The tensors of such files."""
    from bitsandbytes.functional import quantize_4bit

    for name, tensor in state.items():
        found = EXPERTS.fullmatch(name)
        if not found:
            yield name.replace(".mlp.router.", ".mlp.router.linear."), tensor
            continue
        for number, weights in enumerate(tensor):
            path = f"{found[1]}.{found[2]}s.{number}"
            if found[3]:
                yield f"{path}.bias", weights
                continue
            packed, about = quantize_4bit(weights.T.contiguous(), quant_type="nf4", compress_statistics=True)
            yield f"{path}.weight", packed
            for key, value in about.as_dict(packed=True).items():
                yield f"{path}.weight.{key}", value


def processor_of(family: str, tokenizer: Any) -> Any:
    """The processor that a repository of this family has beside its tokenizer."""
    import transformers as stack

    from bench.make_model import TEMPLATE

    match family:
        case "mistral3":
            return stack.PixtralProcessor(stack.PixtralImageProcessor(), tokenizer, patch_size=14, spatial_merge_size=2)
        case "gemma3":
            return stack.Gemma3Processor(stack.Gemma3ImageProcessor(), tokenizer, chat_template=TEMPLATE)
        case "qwen3_vl":
            videos = stack.Qwen3VLVideoProcessor()
            return stack.Qwen3VLProcessor(stack.Qwen2VLImageProcessor(), tokenizer, videos, chat_template=TEMPLATE)
    videos = stack.Qwen2VLVideoProcessor()
    return stack.Qwen2_5_VLProcessor(stack.Qwen2VLImageProcessor(), tokenizer, videos, chat_template=TEMPLATE)


class Shelf:
    """The models on the disk: each is made for its first load and removed after its last."""

    def __init__(self, models: Path, logs: Path, wanted: list[str]) -> None:
        """wanted: the model of each load."""
        self.models, self.logs, self.wanted = models, logs, wanted
        self.locks = {name: Lock() for name in wanted}

    def folder(self, name: str) -> Path:
        return self.models / name.rpartition("/")[2]

    def make(self, name: str, limit_s: float) -> str:
        """Have a model; what is wrong if there is none."""
        with self.locks[name]:
            folder = self.folder(name)
            if folder.exists():
                return ""
            aside = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(aside, ignore_errors=True)
            log = self.logs / f"make-{folder.name}.txt"
            told = ended([sys.executable, "-P", __file__, name, str(aside)], limit_s, log)
            if not told:
                aside.rename(folder)
            return told

    def done(self, name: str) -> None:
        """A load of it has ended."""
        with self.locks[name]:
            self.wanted.remove(name)
            if name not in self.wanted:
                shutil.rmtree(self.folder(name), ignore_errors=True)


def ended(
    command: list[str], limit_s: float, log: Path, env: Mapping[str, str] | None = None, out: Path | None = None
) -> str:
    """Run a command to its end, or with all its children to its limit. What it said last of trouble; "" if it went
    well. out: the file of what it prints, if not the log."""
    with log.open("w") as file, (out or Path(os.devnull)).open("w") as printed:
        process = subprocess.Popen(
            command, stdout=printed if out else file, stderr=file, start_new_session=True, env=env
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"took more than {limit_s:.0f} s"
    return log.read_text(errors="replace").strip()[-300:] or f"exit status {status}" if status else ""


if __name__ == "__main__":
    began = time.monotonic()
    count = make(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps({"made": sys.argv[1], "parameters": count, "s": round(time.monotonic() - began, 1)}), flush=True)
