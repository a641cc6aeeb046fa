"""Only a card that nobody has touched since fitune wrote it is replaced."""

import pytest

from fitune.core.worker.hub.card_checksum import is_replaceable, with_checksum

CARD = with_checksum("---\nlicense: mit\n---\n\n# Mine\n\nText.\n")


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (CARD, True),
        (CARD.replace("Text", "My text"), False),
        (CARD.replace("license: mit", "license: other"), False),
        (CARD + "One more line.\n", False),
        (CARD.replace("\n", "\r\n"), False),
        (CARD.partition("<!--")[0], False),
        ("---\nlicense: mit\n---\n", True),
        ("", True),
        ("# Mine", False),
        ("---\nlicense: mit\n---\n# Mine\n---\n", False),
        (with_checksum(CARD), True),
    ],
)
def test_a_card_is_free_only_as_it_was_written(card: str, expected: bool) -> None:
    assert is_replaceable(card) is expected
