"""What worker.log says of a job that failed."""

from fitune.core.errors import UserError
from fitune.core.worker.__main__ import _told


def raised(error: Exception, cause: Exception | None = None) -> str:
    try:
        raise error from cause
    except Exception as caught:
        return _told(caught)


def test_what_a_user_can_mend_is_a_sentence_without_a_traceback() -> None:
    assert raised(UserError("a.jsonl has no rows.", "Add some.")) == "a.jsonl has no rows. Add some."


def test_what_it_was_made_of_stands_below() -> None:
    told = raised(UserError("The model can't be read."), OSError("disk on fire"))
    assert told == "The model can't be read.\nOSError: disk on fire"


def test_any_other_error_has_its_traceback() -> None:
    told = raised(ZeroDivisionError("division by zero"))
    assert told.startswith("Traceback")
    assert "raise error from cause" in told
