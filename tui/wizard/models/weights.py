"""Where the weights of the base model come from, in words: this disk, the Hub, or the copy that a package ships."""

from dataclasses import dataclass

from fitune.core.deliver import Download, bundled, download, on_disk
from fitune.core.recipe import Model
from fitune.tui.text import size


@dataclass(frozen=True, slots=True)
class Weights:
    """What was found out about the weights of a model."""

    download: Download
    is_offline: bool = False
    """HF_HUB_OFFLINE forbids asking the Hub."""

    @property
    def is_missing(self) -> bool:
        """They are not on this disk, and the Hub does not give them."""
        return self.download.bytes is None and bool(self.is_offline or self.download.why_unknown)

    @property
    def text(self) -> str:
        """What the training does for them: `Downloads 15.3 GiB of Qwen/Qwen3-8B from the Hub.`"""
        model = self.download.model_id
        if self.download.bytes == 0:
            return "Nothing to download: the model is on this machine."
        if self.download.bytes:
            return f"Downloads {size(self.download.bytes)} of {model} from the Hub."
        if not self.is_missing:
            return f"Downloads {model} from the Hub; asking for its size ..."
        if bundled.stands_in(model):
            return f"WARN {self._why_missing} So {bundled.COPY}, is trained instead."
        return f"WARN {self._why_missing} {self._cure}"

    @property
    def obstacle(self) -> str:
        """Why the training would surely end before its first step, and the cure; empty if it would not."""
        sure = self.is_offline and self.is_missing and not bundled.stands_in(self.download.model_id)
        return f"{self._why_missing} {self._cure}" if sure else ""

    @property
    def _why_missing(self) -> str:
        model = self.download.model_id
        if self.is_offline:
            return f"{model} is not on this disk, and HF_HUB_OFFLINE forbids fetching it."
        return f"{model} is not on this disk. {self.download.why_unknown}"

    @property
    def _cure(self) -> str:
        folder = "give the folder of a copy as Base model (model.id)"
        if self.is_offline:
            return f"Start fitune without HF_HUB_OFFLINE, or {folder}."
        return f"Check its name, the network and your login (hf auth login), or {folder}."


def look(model: Model) -> Weights:
    """Look on the disk only. For a thread: the first call imports the Hub's library."""
    from huggingface_hub import constants

    return Weights(on_disk(model.id, model.revision), bool(constants.HF_HUB_OFFLINE))


def ask(known: Weights, model: Model) -> Weights:
    """Ask the Hub where that is needed and allowed. Takes up to ten seconds: for a thread."""
    if known.download.bytes == 0 or known.is_offline:
        return known
    return Weights(download(model.id, model.revision))
