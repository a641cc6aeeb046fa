"""Rows as a person reads them."""

from fitune.tui.data.report_text import row_lines


def test_a_row_names_its_images_and_never_shows_their_bytes() -> None:
    messages = [{"role": "user", "content": "<image><image>Which is older?"}, {"role": "assistant", "content": "Left."}]
    row = {"messages": messages, "images": ["data:image/png;base64," + 4000 * "A", "img/b\x1b[31m.png"]}
    assert row_lines(row) == [
        "image: in the row itself",
        "image: img/b␛[31m.png",
        "user: <image><image>Which is older?",
        "assistant: Left.",
    ]
