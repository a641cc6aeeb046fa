"""Score: is the fine-tune any good? Metrics, paired statistics, the verdict, and the choice of the checkpoint."""

from fitune.core.score.losses import Look, Looks, delivered, is_over, is_worse_than_base
from fitune.core.score.metrics import Mark, Metric, label_in, labels_of, macro_f1, mark, metric_for
from fitune.core.score.preference import PairScore, Preference
from fitune.core.score.probe import Forgetting
from fitune.core.score.race import Lap, Race
from fitune.core.score.scores import Detail, RowScore, Scores, Side
from fitune.core.score.verdict import LEAST_ROWS, Verdict, Word, name_of, of_answers, of_losses, sentence

__all__ = [
    "LEAST_ROWS",
    "Detail",
    "Forgetting",
    "Lap",
    "Look",
    "Looks",
    "Mark",
    "Metric",
    "PairScore",
    "Preference",
    "Race",
    "RowScore",
    "Scores",
    "Side",
    "Verdict",
    "Word",
    "delivered",
    "is_over",
    "is_worse_than_base",
    "label_in",
    "labels_of",
    "macro_f1",
    "mark",
    "metric_for",
    "name_of",
    "of_answers",
    "of_losses",
    "sentence",
]
