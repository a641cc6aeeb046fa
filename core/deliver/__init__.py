"""Deliver a trained model: downloads, uploads, proofs, llama.cpp's tools, an archive, hand-offs."""

from fitune.core.deliver import bundled, fetching
from fitune.core.deliver.downloads import INDEX, MODEL_FILES, SKIPPED_FILES, Download, download, indexed_files, on_disk
from fitune.core.deliver.proof import Proof, ProofCheck, ProofLimits, Similarity, add_answer_checks, staging_folder
from fitune.core.deliver.requests import ExportRequest, MergeRequest, PushRequest, RaceRequest, ScoreRequest
from fitune.core.deliver.uploads import MAIN, UPLOAD_KINDS, Upload, UploadKind, branch_of, uploads

__all__ = [
    "INDEX",
    "MAIN",
    "MODEL_FILES",
    "SKIPPED_FILES",
    "UPLOAD_KINDS",
    "Download",
    "ExportRequest",
    "MergeRequest",
    "Proof",
    "ProofCheck",
    "ProofLimits",
    "PushRequest",
    "RaceRequest",
    "ScoreRequest",
    "Similarity",
    "Upload",
    "UploadKind",
    "add_answer_checks",
    "branch_of",
    "bundled",
    "download",
    "fetching",
    "indexed_files",
    "on_disk",
    "staging_folder",
    "uploads",
]
