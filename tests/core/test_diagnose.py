"""From an exception to its kind and a sentence; no secret gets through."""

import errno
import os

import pytest

from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import BadInput, Problem, UserError


class HfHubHTTPError(Exception):
    """As huggingface_hub has it; its GatedRepoError is one of these."""


def named(name: str, message: str, *bases: type[Exception]) -> Exception:
    """An exception of a class of that name: the libraries' own are not imported here."""
    made: Exception = type(name, bases or (Exception,), {})(message)
    return made


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (named("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", RuntimeError), "oom"),
        (named("DeviceMapInfeasible", "Even with 15 of 16 decoder layers in host RAM the model does not fit"), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "oom"),
        (named("NonFiniteError", "the loss at step 3 is nan"), "nan"),
        (named("GatedRepoError", "Access to model is restricted", HfHubHTTPError), "auth"),
        (named("RepositoryNotFoundError", "404 Client Error"), "auth"),
        (named("HFValidationError", "Repo id must use alphanumeric chars: '~nobody/x'."), "download"),
        (RuntimeError("401 Client Error: Unauthorized"), "auth"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "disk"),
        (named("SafetensorError", "I/O error: No space left on device (os error 28)"), "disk"),
        (named("SafetensorError", "Error while deserializing header: header too small"), "data"),
        (RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"), "data"),
        (HfHubHTTPError("503 Server Error"), "download"),
        (ConnectionError("Name or service not known"), "download"),
        (named("LocalEntryNotFoundError", "not in the cache"), "download"),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "driver"),
        (RuntimeError("The NVIDIA driver on your system is too old"), "driver"),
        (UserError("The rows have no answers.", "Look at them."), "data"),
        (BadInput([Problem("r.toml:3: lora.r", "is wrong.")]), "data"),
        (KeyError("prompt"), "bug"),
        (SystemExit(3), "bug"),
    ],
)
def test_each_kind_of_failure_is_recognised(error: BaseException, kind: str) -> None:
    failure = diagnose(error)
    assert failure.kind == kind
    assert failure.message
    assert failure.hint or isinstance(error, BadInput)


@pytest.mark.parametrize("job", ["prepare", "merge", "export", "push", "chat"])
@pytest.mark.parametrize(
    "error",
    [
        named("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", RuntimeError),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        named("SafetensorError", "Error while deserializing header: header too small"),
    ],
)
def test_only_a_training_gets_hints_on_how_to_train(error: Exception, job: str) -> None:
    assert "fitune resume" in diagnose(error, "train").hint
    hint = diagnose(error, job).hint
    assert hint.endswith("then try again.")
    assert not [word for word in ("resume", "train.", "model.") if word in hint]


def test_another_model_is_proposed_only_where_one_may_be_named() -> None:
    assert "model.id" in diagnose(ConnectionError(), "prepare").hint
    assert "model.id" not in diagnose(ConnectionError(), "merge").hint


def test_the_cause_behind_an_exception_counts() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise RuntimeError("saving failed") from cause
    except RuntimeError as error:
        failure = diagnose(error)
    assert failure.kind == "disk"
    assert failure.message == "OSError: [Errno 28] No space left on device"


def test_a_sentence_for_the_user_behind_an_exception_is_kept() -> None:
    try:
        try:
            raise UserError("The rows have no answers.", "Look at them.")
        except UserError:
            raise KeyError("x")  # noqa: B904 - raised while the other is handled
    except KeyError as error:
        failure = diagnose(error)
    assert (failure.kind, failure.message, failure.hint) == ("data", "The rows have no answers.", "Look at them.")


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert diagnose(first).kind == "bug"


def test_the_message_is_one_line_of_bounded_length() -> None:
    failure = diagnose(ValueError("many\nlines\n" * 1000))
    assert "\n" not in failure.message
    assert len(failure.message) <= 500
    assert diagnose(ValueError()).message == "ValueError"


@pytest.mark.parametrize(
    "text",
    [
        "hf_{}", "token=hf_{}", "https://user:hf_{}@huggingface.co", "hf_oauth_eyJh.{}.x-y_z", "{{'token': 'hf_{}'}}",
        "Authorization: Bearer {}", "authorization: bearer {}", "api_org_{}", "ghp_{}", "sk-{}", "sk-proj-{}",
    ],
)  # fmt: skip
def test_no_secret_gets_through(text: str) -> None:
    secret = "AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    said = redact(text.format(secret))
    assert secret not in said
    assert "[secret]" in said
    assert secret not in str(diagnose(RuntimeError(text.format(secret))))
    assert secret not in str(diagnose(UserError(text.format(secret), text.format(secret))))


@pytest.mark.parametrize(
    "text", ["hf_hub_download", "hf_raise_for_status", "the token hf_ is missing", "sk-learn", "ghp_", "bearer"]
)
def test_ordinary_words_are_not_taken_for_secrets(text: str) -> None:
    assert redact(text) == text


def test_a_token_that_cannot_be_sent_is_told_as_one() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "Bearer “hf_secret”".encode("ascii")
    found = diagnose(caught.value)
    assert (found.kind, found.message) == ("auth", "The Hub token holds characters that no token has.")
    with pytest.raises(UnicodeEncodeError) as caught:
        "naïve".encode("ascii")
    assert diagnose(caught.value).kind == "bug"
