"""The line of keys at the bottom, rebuilt only when its keys change."""

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

FIRST, LAST = ("enter",), ("escape", "f1", "ctrl+c")
"""Keys at the same end of the line on each screen: what goes on, and the ways out."""
ROOMY_COLUMNS = 100
"""From this width on the keys stand apart, and the one of all commands is among them."""


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
        roomy = self.app.size.width >= ROOMY_COLUMNS
        self.compact, self.show_command_palette = not roomy, roomy
        shown = tuple(
            (active.binding.key, active.binding.description, active.enabled)
            for active in screen.active_bindings.values()
            if active.binding.show
        )
        if shown != self._shown:
            self._shown = shown
            super().bindings_changed(screen)


def place(shown: Widget) -> int:
    """The place of a key in the line: 0 for the first ones, 1 for those of the screen, then each of the last."""
    key = shown.key if isinstance(shown, FooterKey) else ""
    return 0 if key in FIRST else 2 + LAST.index(key) if key in LAST else 1
