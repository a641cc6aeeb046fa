"""Texts of a chat with a trained model: the same on the screen and in plain lines."""

from collections.abc import Mapping

from fitune.core.errors import ExitCode, UserError
from fitune.core.jobs.chat import Conversation, Settings
from fitune.core.jobs.messages.chat import Answered, Question, Refused, Side
from fitune.core.runs import Failed, Phase
from fitune.tui.text import clean, count, rate, size

NAMES: Mapping[Side, str] = {"base": "base", "tuned": "fine-tuned"}
TITLES: Mapping[Side, str] = {"base": "base, the model as it was", "tuned": "fine-tuned, answers first"}
"""Over the two panes of the screen."""
ANSWER_CHARS = 100_000
PHASES = {"data": "reading your data", "download": "fetching the model", "load": "loading the model"}


def phase_text(message: Phase) -> str:
    """The phase of the model's process, with the size of a download."""
    doing = PHASES.get(message.name, clean(message.name, 40))
    return f"{doing}: {size(message.bytes)} ..." if message.bytes else f"{doing} ..."


def end_text(answer: Answered) -> tuple[bool, str]:
    """(True if an answer ended by itself or on request, a sentence on how it ended)."""
    pace = rate(answer.tokens / answer.elapsed_s) if answer.elapsed_s else ""
    tokens = f"{count(answer.tokens)} token{'' if answer.tokens == 1 else 's'}"
    match answer.ended:
        case "itself":
            return True, f"ended by itself: {tokens}, {pace}"
        case "asked":
            return True, f"stopped after {tokens}, {pace}"
    return False, (
        f"cut at {tokens}, {pace}: it did not end by itself. It may need more (fitune chat --max-tokens); "
        "if it repeats itself, it has not learnt where to stop."
    )


def settings_text(settings: Settings) -> str:
    """The sampling settings, in a few words."""
    how = f"temperature {settings.temperature:g}" if settings.temperature else "always the likeliest token"
    return f"{how}, at most {count(settings.max_tokens)} tokens"


def opening_text(conversation: Conversation) -> str:
    """The text before the first question: the system prompt, or a note on a model without turns; may be empty."""
    if not conversation.is_chat:
        return "Trained without turns: it continues the text that you type, and each text is independent."
    return f"system prompt of your data: {clean(conversation.system, 300)}" if conversation.system else ""


def as_one_line(question: Question) -> str:
    """A question without line ends, as the input shows it."""
    return " ".join(question.shown.split())


def check_settings(max_tokens: int, temperature: float) -> Settings:
    """Check the typed settings. Raises UserError for values that are not possible."""
    if max_tokens < 1:
        raise UserError("--max-tokens must be at least 1.", "For example: --max-tokens 512")
    if not 0 <= temperature <= 10:
        raise UserError("--temperature must lie between 0 and 10.", "0 always takes the likeliest token; 0.7 is usual.")
    return Settings(max_tokens, temperature)


def failure(message: Failed | Refused) -> UserError:
    """The error in a message."""
    return UserError(message.message, message.hint, ExitCode.FAILED)
