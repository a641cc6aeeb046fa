"""The speakers of a chat, and their order."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "question": "user",
    "customer": "user", "client": "user", "patient": "user", "student": "user", "caller": "user", "visitor": "user",
    "guest": "user", "buyer": "user", "learner": "user", "pupil": "user", "asker": "user", "requester": "user",
    "end-user": "user", "end_user": "user", "enduser": "user",
    "nutzer": "user", "benutzer": "user", "kunde": "user", "usuario": "user", "cliente": "user", "utilisateur": "user",
    "utente": "user", "usuário": "user", "пользователь": "user", "用户": "user", "ユーザー": "user", "사용자": "user",
    "gebruiker": "user", "klant": "user", "użytkownik": "user", "klient": "user", "kullanıcı": "user",
    "користувач": "user", "uživatel": "user", "användare": "user", "bruger": "user", "bruker": "user",
    "käyttäjä": "user", "felhasználó": "user", "utilizator": "user", "χρήστης": "user", "клиент": "user",
    "người dùng": "user", "pengguna": "user", "ผู้ใช้": "user", "المستخدم": "user", "مستخدم": "user",
    "کاربر": "user", "משתמש": "user", "उपयोगकर्ता": "user", "ব্যবহারকারী": "user", "用戶": "user", "使用者": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "answer": "assistant", "chatbot": "assistant",
    "agent": "assistant", "support": "assistant", "operator": "assistant", "doctor": "assistant", "tutor": "assistant",
    "helpdesk": "assistant", "advisor": "assistant", "adviser": "assistant", "consultant": "assistant",
    "representative": "assistant", "rep": "assistant", "teacher": "assistant", "expert": "assistant",
    "therapist": "assistant", "counselor": "assistant",
    "assistent": "assistant", "asistente": "assistant", "assistente": "assistant", "ассистент": "assistant",
    "бот": "assistant", "помощник": "assistant", "机器人": "assistant", "助理": "assistant",
    "助手": "assistant", "客服": "assistant", "アシスタント": "assistant", "어시스턴트": "assistant",
    "asystent": "assistant", "asistan": "assistant", "помічник": "assistant", "асистент": "assistant",
    "avustaja": "assistant", "asszisztens": "assistant", "βοηθός": "assistant", "trợ lý": "assistant",
    "asisten": "assistant", "ผู้ช่วย": "assistant", "المساعد": "assistant", "مساعد": "assistant", "دستیار": "assistant",
    "עוזר": "assistant", "सहायक": "assistant", "সহকারী": "assistant", "asistent": "assistant",
    "admin": "assistant", "staff": "assistant",
    "inbound": "user", "incoming": "user", "outbound": "assistant", "outgoing": "assistant",
    "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
}  # fmt: skip
"""The names of speakers in chat data, and in chat templates."""
MODEL = re.compile(r"(?:chat)?gpt|claude|gemini|bard|llama|mistral|mixtral|qwen|deepseek|grok|copilot")
"""Beginnings of the names of models that answer."""
ROLE_OF_FLAG = {
    **dict.fromkeys(
        ("is_user", "is_human", "is_customer", "from_user", "from_customer", "inbound", "incoming"),
        ("user", "assistant"),
    ),
    **dict.fromkeys(
        ("is_bot", "is_assistant", "is_agent", "from_bot", "from_agent", "is_from_me", "outbound", "outgoing"),
        ("assistant", "user"),
    ),
}
"""Names of true and false that say who speaks: who where it is true, and who where it is false."""
OURS = frozenset(ROLES.values())


def role_of(name: object) -> str | None:
    """The role of a speaker as chat templates call it; None for a speaker that they don't know."""
    if not isinstance(name, str):
        return None
    plain = name.strip(" \t\n:").lower()
    return ROLES.get(plain) or ("assistant" if MODEL.match(plain) else None)


@lru_cache(maxsize=4096)
def turn_trouble(roles: tuple[str, ...]) -> str | None:
    """The oddity in the order of speakers, as a kind of finding; None if there is none."""
    spoken = [role for role in roles if role != "system"]
    if "system" in roles[1:]:
        return "system_late"
    if not spoken or spoken[-1] != "assistant":
        return "no_last_answer"
    return "unbalanced" if spoken[0] == "assistant" or _repeats(spoken) else None


def _repeats(spoken: Sequence[str]) -> bool:
    """True if the user, or the assistant, speaks twice in a row; tools may."""
    return any(one == other != "tool" for one, other in pairwise(spoken))
