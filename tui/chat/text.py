"""What is said while a trained model is talked with: the same on the screen and in plain lines."""

from collections.abc import Mapping

from fitune.core.errors import ExitCode, UserError
from fitune.core.jobs.chat import Conversation, Settings
from fitune.core.jobs.chat_messages import Answered, Refused, Side
from fitune.core.runs import Failed, Phase
from fitune.tui.text import clean, count, rate, size

NAMES: Mapping[Side, str] = {"base": "base", "tuned": "fine-tuned"}
ANSWER_CHARS = 100_000
PHASES = {"data": "reading your data", "download": "fetching the model", "load": "loading the model"}


def phase(message: Phase) -> str:
    """What the model's process is doing, and how much it has to download first."""
    doing = PHASES.get(message.name, clean(message.name, 40))
    return f"{doing}: {size(message.bytes)} ..." if message.bytes else f"{doing} ..."


def ended(answer: Answered) -> tuple[bool, str]:
    """Whether an answer came to its end by itself, and how it did, in a sentence."""
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


def manner(settings: Settings) -> str:
    """How answers are written, in a few words."""
    how = f"temperature {settings.temperature:g}" if settings.temperature else "always the likeliest token"
    return f"{how}, at most {count(settings.max_tokens)} tokens"


def kept(conversation: Conversation) -> str:
    """What comes before the first question, or that nothing does; may be empty."""
    if not conversation.is_chat:
        return "Trained without turns: it goes on with what you type as it stands, each time anew."
    return f"system prompt of your data: {clean(conversation.system, 300)}" if conversation.system else ""


def checked(max_tokens: int, temperature: float) -> Settings:
    """Settings as typed. Raises UserError for what can't be."""
    if max_tokens < 1:
        raise UserError("--max-tokens must be at least 1.", "For example: --max-tokens 512")
    if not 0 <= temperature <= 10:
        raise UserError("--temperature must lie between 0 and 10.", "0 always takes the likeliest token; 0.7 is usual.")
    return Settings(max_tokens, temperature)


def failure(message: Failed | Refused) -> UserError:
    """The error that a message tells of."""
    return UserError(message.message, message.hint, ExitCode.FAILED)
