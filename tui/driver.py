"""The keys of the terminal, as Textual's own driver reads them, but an Esc alone is told after 25 ms.

The bytes of other keys begin with an Esc, so a driver waits for more of them. Textual's waits for 100 to 200 ms; over
SSH, too, they come in one piece. The environment's ESCDELAY, in ms, is for a line that is slower.
"""

import os
import selectors
from codecs import getincrementaldecoder
from typing import Self

from textual._parser import Read1
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

ESC = "\x1b"
ESC_S = int(os.environ.get("ESCDELAY", "25")) / 1000
LOOK_S = 0.1
"""Seconds until the thread looks whether the screen has ended."""


class NextCharacter(Read1):
    """The wait for one more character: in the middle of a key at most ESC_S."""

    def __new__(cls, timeout: float | None = None) -> Self:
        return super().__new__(cls, timeout and ESC_S)


class KeyParser(XTermParser):
    """Textual's parser with another patience."""

    read1 = NextCharacter


class KeyDriver(LinuxDriver):
    """Reads the keys in a thread."""

    def run_input_thread(self) -> None:
        """Hand over key after key until the screen ends."""
        parser, decode = KeyParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        text = ""
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(ESC_S if text.endswith(ESC) else LOOK_S):
                    text = decode(os.read(self.fileno, 4096))
                    for event in parser.feed(text) if text else ():
                        self.process_message(event)
                else:
                    text = ""
                    for event in parser.tick():
                        self.process_message(event)
