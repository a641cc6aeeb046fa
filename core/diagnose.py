"""Diagnose an exception: the kind of failure, one sentence on it, and a hint on what to do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fitune.core.errors import UserError

FailureKind = Literal["oom", "data", "download", "auth", "disk", "nan", "driver", "bug", "killed"]
_TOKEN = re.compile(
    r"\bhf_[A-Za-z0-9]{12,}"  # no underscore: hf_hub_download is a function
    r"|\bhf_(?:oauth|jwt)_[\w.-]+|\b(?:api_org_|ghp_|sk-)[\w-]{12,}|(?<=[Bb]earer )\S+"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a job, as the `failed` event has it."""

    kind: FailureKind
    message: str
    hint: str


HOST_IS_FULL = "The host's RAM is full: close other programs."
"""The hint where it is not the card's memory that ran out."""


class KnownFailure(Exception):
    """A failure that was diagnosed where it happened."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


_RULES: tuple[tuple[str, FailureKind, str], ...] = (
    # (pattern over "TypeName: message", kind, hint); the first that matches counts
    (
        r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|does not fit in GPU memory"
        r"|DeviceMapInfeasible",  # of unsloth, where even with layers in host RAM too little is free
        "oom",
        "Close what else uses the card (nvidia-smi lists it), or take fewer rows at once: fitune resume RUN --set "
        "train.micro_batch=1. With unsloth, train.offload_layers=auto keeps layers in host RAM.",
    ),
    (r"MemoryError|DefaultCPUAllocator|Cannot allocate memory", "oom", HOST_IS_FULL),
    (
        r"NonFinite",
        "nan",
        "Look at the rows of the last steps, and go on with half the rate: fitune resume RUN --set train.lr=VALUE.",
    ),
    (
        r"GatedRepoError|RepositoryNotFoundError|LocalTokenNotFoundError|Invalid user token|40[13] Client Error"
        r"|Client error '40[13]|\b40[13] (?:Unauthorized|Forbidden)",
        "auth",
        "Check the model's name; if it is gated, accept its licence on its Hub page and log in: hf auth login.",
    ),
    (r"HFValidationError", "download", "Check the model's name: a path that is there, or owner/name on the Hub."),
    (
        r"No space left on device|Errno 28\b|os error 28\b|Disk quota exceeded|PytorchStreamWriter failed"
        r"|file write failed",
        "disk",
        "Free some disk space, then: fitune resume.",
    ),
    (
        r"SafetensorError|PytorchStreamReader",
        "data",
        "A file of the model is damaged. Fetch the model again; then: fitune resume.",
    ),
    (
        r"trust_remote_code",
        "data",
        "The model brings Python code of its own, which is not run unasked. If you have read it and trust it, start a "
        "new run with model.trust_remote_code = true.",
    ),
    (
        r"does not appear to have a file named|is not a valid JSON file|Can't load tokenizer|Couldn't instantiate the "
        r"backend tokenizer",
        "data",
        "A file of the model is missing or damaged. Fetch the model again, or choose another.",
    ),
    (
        r"OfflineModeIsEnabled|LocalEntryNotFoundError|ConnectError|ConnectTimeout|ReadTimeout|ConnectionError|HfHubHTTPError|NameResolutionError",
        "download",
        "Check the network, or download the model elsewhere and give its folder as model.id.",
    ),
    (
        r"no kernel image is available|CUDA driver version|NVIDIA driver|CUDA error|cuda runtime error"
        r"|cudaGetDeviceCount",
        "driver",
        "See what is wrong with: fitune doctor.",
    ),
)
_NOT_TRAINING: Mapping[FailureKind, str] = {
    "oom": "Close what else uses this memory (nvidia-smi and top list it), then try again.",
    "data": "A file of the model, or one made from it, is damaged. Download or make it again, then try again.",
    "disk": "Free some disk space, then try again.",
    "download": "Check the network, then try again.",
}
"""Hints for jobs other than a training: they have no batch to make smaller, and can't be resumed."""


def diagnose(error: BaseException, job: str = "train") -> Failure:
    """The failure behind a job's exception, from its chain of causes."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for exception in chain:
        if isinstance(exception, KnownFailure):
            known = exception.failure
            return Failure(known.kind, redact(known.message), redact(known.hint))
        if isinstance(exception, UserError):
            rule = _rule(chain)  # of the exception that it was raised from
            return Failure(rule[0] if rule else "data", redact(exception.message), redact(exception.hint))
        if isinstance(exception, UnicodeEncodeError) and exception.object.startswith("Bearer "):
            return Failure("auth", "The Hub token holds characters that no token has.", "Run `hf auth login`.")
    if rule := _rule(chain):
        kind, hint, cause = rule
        names_model = job == "prepare" and kind == "download"  # it has no trained model yet, so another may be named
        if job != "train" and not names_model:
            hint = _NOT_TRAINING.get(kind, hint)
        return Failure(kind, _one_line(cause), hint)
    return Failure("bug", _one_line(error), "This is a fault in fitune or its libraries; worker.log has the details.")


def _rule(chain: list[BaseException]) -> tuple[FailureKind, str, BaseException] | None:
    """The first rule that matches an exception of the chain, with that exception; a UserError has its own sentence."""
    for pattern, kind, hint in _RULES:
        for exception in chain:
            if not isinstance(exception, UserError) and re.search(pattern, f"{_names(exception)}: {exception}"):
                return kind, hint, exception
    return None


def redact(text: str) -> str:
    """The text with everything that looks like a secret token replaced."""
    return _TOKEN.sub("[secret]", text)


def _names(error: BaseException) -> str:
    return " ".join(kind.__name__ for kind in type(error).__mro__[:-1])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return redact(f"{type(error).__name__}: {text}" if text else type(error).__name__)[:500]
