"""The line of keys at the bottom, rebuilt only when its keys change."""

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

FIRST, LAST = ("enter",), ("escape", "f1", "ctrl+c")
"""Keys at the same end of the line on each screen: what goes on, and the ways out."""
ROOMY_COLUMNS = 100
"""From this width on the keys stand apart, and the one of all commands is among them, if there is room for it."""
AROUND_A_KEY, ALL_COMMANDS_COLUMNS = 3, 18
"""Columns of a key that stands apart beside its name and word, and those of the key of all commands."""


class Keys(Footer):
    """A footer that is rebuilt only if its keys change. Textual rebuilds it at each move of the focus, which takes
    longer than everything else that a key press causes."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
        self._shown: tuple[tuple[str, str, bool], ...] | None = None

    def compose(self) -> ComposeResult:
        """The keys in the same order everywhere."""
        yield from sorted(super().compose(), key=place)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Rebuild if the keys of the screen or of the focused widget have changed."""
        if screen is not self.screen or not self.app.app_focus:
            return
        keys = [active for active in screen.active_bindings.values() if active.binding.show]
        one_each = {each.binding.action: each.binding for each in reversed(keys)}.values()
        words = sum(len(self.app.get_key_display(each)) + len(each.description) for each in one_each)
        needed = words + AROUND_A_KEY * len(one_each) + ALL_COMMANDS_COLUMNS
        roomy = self.app.size.width >= max(ROOMY_COLUMNS, needed)
        self.compact, self.show_command_palette = not roomy, roomy
        shown = tuple((each.binding.key, each.binding.description, each.enabled) for each in keys)
        if shown != self._shown:
            self._shown = shown
            super().bindings_changed(screen)


def place(shown: Widget) -> int:
    """The place of a key in the line: 0 for the first ones, 1 for those of the screen, then each of the last."""
    key = shown.key if isinstance(shown, FooterKey) else ""
    return 0 if key in FIRST else 2 + LAST.index(key) if key in LAST else 1
