"""What a trained model needs on its way out: downloads, uploads, proofs, llama.cpp's tools, an archive, hand-offs."""

from fitune.core.deliver.downloads import UNWANTED, WANTED, Download, download
from fitune.core.deliver.proof import Check, Likeness, Limits, Proof, judge, made_aside
from fitune.core.deliver.uploads import MAIN, WHAT, Upload, What, branch_of, uploads

__all__ = [
    "MAIN",
    "UNWANTED",
    "WANTED",
    "WHAT",
    "Check",
    "Download",
    "Likeness",
    "Limits",
    "Proof",
    "Upload",
    "What",
    "branch_of",
    "download",
    "judge",
    "made_aside",
    "uploads",
]
