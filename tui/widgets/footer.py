"""The line of keys at the bottom, built anew only when it would show other keys."""

from textual.screen import Screen
from textual.widgets import Footer


class Keys(Footer):
    """Textual's footer is rebuilt at each move of the focus, which costs more than all the rest of the answer."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: tuple[tuple[str, str, bool], ...] | None = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        """The keys of the screen, or of what has the focus, may be others now."""
        if screen is not self.screen or not self.app.app_focus:
            return
        shown = tuple(
            (active.binding.key, active.binding.description, active.enabled)
            for active in screen.active_bindings.values()
            if active.binding.show
        )
        if shown != self._shown:
            self._shown = shown
            super().bindings_changed(screen)
