"""Chats as people keep them: what messages their turns become, and which are refused."""

from typing import Any

import pytest

from fitune.core.data.canonical import converter
from fitune.core.data.values import Row, Skip, decoded

USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CHAT = [USER, ASSISTANT]
CALL = {"type": "function", "function": {"name": "find", "arguments": {"n": 1}}}


def messages(turns: Any, **row: Any) -> list[Row]:
    (made,) = converter("messages", {"messages": "m", **({"system": "system"} if "system" in row else {})})(
        {"m": turns, **row}
    )
    return list(made["messages"])


KEPT: tuple[tuple[str, Any], ...] = (
    ("texts in turn", ["Hi", "Hello"]),
    ("texts with speakers", ["Human: Hi", "Assistant: Hello"]),
    ("pairs", [["Hi", "Hello"]]),
    ("roles in pairs", [["user", "Hi"], ["assistant", "Hello"]]),
    ("question and answer", [{"question": "Hi", "answer": "Hello"}]),
    ("keys with other names", [{"who": "customer", "says": "Hi"}, {"who": "agent", "says": "Hello"}]),
    ("keys that only their values tell",
     [{"actor": "Human", "quote": "Hi"}, {"actor": "AI", "quote": "Hello"}]),
    ("a direction", [{"direction": "inbound", "body": "Hi"}, {"direction": "outbound", "body": "Hello"}]),
    ("a flag", [{"from_customer": True, "message": "Hi"}, {"from_customer": False, "message": "Hello"}]),
    ("authors with a type",
     [{"author": {"type": "user"}, "body": "Hi"}, {"author": {"type": "admin"}, "body": "Hello"}]),
    ("a key a speaker", [{"user": "Hi"}, {"assistant": "Hello"}]),
    ("numbered", {"turn_1": {"human": "Hi", "bot": "Hello"}}),
    ("lists by key", {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}),
    ("a text", "\n\nHuman: Hi\n\nAssistant: Hello"),
    ("a text with marks", "### Human: Hi### Assistant: Hello"),
    ("Python", str(CHAT)),
    ("numpy", "[{'role': 'user', 'content': 'Hi'}\n {'role': 'assistant', 'content': 'Hello'}]"),
    ("roles with spaces", [{"role": "User", "content": "Hi"}, {"role": " Assistant ", "content": "Hello"}]),
    ("roles with colons", [{"role": "User:", "content": "Hi"}, {"role": "Assistant:", "content": "Hello"}]),
    ("Polish", [{"role": "użytkownik", "content": "Hi"}, {"role": "asystent", "content": "Hello"}]),
    ("Vietnamese", [{"role": "Người dùng", "content": "Hi"}, {"role": "Trợ lý", "content": "Hello"}]),
    ("Arabic", [{"role": "المستخدم", "content": "Hi"}, {"role": "المساعد", "content": "Hello"}]),
    ("Cohere", [{"role": "User", "content": "Hi"}, {"role": "Chatbot", "content": "Hello"}]),
    ("speaker and utterance", [{"speaker": "user", "utterance": "Hi"}, {"speaker": "assistant", "utterance": "Hello"}]),
    ("parts of text", [{"role": "user", "content": [{"type": "text", "value": "Hi"}]},
                       {"role": "assistant", "content": [{"type": "text", "text": "Hello", "image": None}]}]),
    ("Bedrock", [{"role": "user", "content": [{"text": "Hi"}]}, {"role": "assistant", "content": [{"text": "Hello"}]}]),
    ("Gemini", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": ["Hello"]}]}),
    ("an export of ChatGPT", {"mapping": {
        "a": {"message": None, "parent": None, "children": ["b"]},
        "b": {"message": {"author": {"role": "user"}, "content": {"parts": ["Hi"]}}, "parent": "a", "children": ["c"]},
        "c": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["Hello"]}}, "parent": "b",
              "children": []}}}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "turns"), KEPT, ids=[name for name, _ in KEPT])
def test_each_way_to_keep_a_chat_gives_its_messages(name: str, turns: Any) -> None:
    assert messages(turns) == CHAT


CALLED: tuple[tuple[str, Any], ...] = (
    ("OpenAI", {"role": "assistant", "content": None,
                "tool_calls": [{"type": "function", "function": {"name": "find", "arguments": '{"n": 1}'}}]}),
    ("OpenAI's older form", {"role": "assistant", "function_call": {"name": "find", "arguments": '{"n": 1}'}}),
    ("ShareGPT", {"from": "function_call", "value": '{"name": "find", "arguments": {"n": 1}}'}),
    ("Anthropic", {"role": "assistant", "content": [{"type": "tool_use", "name": "find", "input": {"n": 1}}]}),
    ("Bedrock", {"role": "assistant", "content": [{"toolUse": {"name": "find", "input": {"n": 1}}}]}),
    ("Gemini", {"role": "model", "parts": [{"functionCall": {"name": "find", "args": {"n": 1}}}]}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "turn"), CALLED, ids=[name for name, _ in CALLED])
def test_a_call_of_a_function_is_a_call_in_every_form(name: str, turn: Any) -> None:
    assert messages([USER, turn])[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}


def test_results_of_tools_in_a_users_turn_are_messages_of_their_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "noon"}]}
    turn = {"role": "user", "content": [result, {"type": "text", "text": "So?"}]}
    assert messages([turn, ASSISTANT])[:2] == [
        {"role": "tool", "content": "noon", "tool_call_id": "t"}, {"role": "user", "content": "So?"},
    ]  # fmt: skip


def test_what_a_tool_gives_back_may_be_an_object() -> None:
    assert messages([USER, {"role": "tool", "content": {"town": "Rome"}}, ASSISTANT])[1]["content"] == '{"town":"Rome"}'


def test_thinking_in_a_part_is_kept_apart_from_the_answer() -> None:
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello"}]
    made = messages([USER, {"role": "assistant", "content": parts}])[1]
    assert made == {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."}


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"train": False}, {"loss": "false"}, {"loss_weight": 0.0}, {"mask": True}]
)
def test_an_answer_that_is_marked_is_not_learned(mark: dict[str, Any]) -> None:
    made = messages([USER, {**ASSISTANT, **mark}, USER, {**ASSISTANT, "weight": 1}])
    assert [message.get("train", True) for message in made] == [True, False, True, True]


def test_an_empty_answer_among_others_is_not_learned() -> None:
    assert messages([USER, {"role": "assistant", "content": " "}, *CHAT])[1]["train"] is False


def test_two_system_prompts_become_one() -> None:
    own = {"role": "system", "content": "Be a cook."}
    system = {"role": "system", "content": "Be brief.\n\nBe a cook."}
    assert messages([own, *CHAT], system="Be brief.") == [system, *CHAT]
    assert messages([own, *CHAT], system="Be a cook.") == [own, *CHAT]
    assert messages(CHAT, system=[{"text": "Be brief."}])[0]["content"] == "Be brief."


REFUSED: tuple[tuple[str, Any, str], ...] = (
    ("all marked", [USER, {**ASSISTANT, "weight": 0}], "all_marked"),
    ("an unknown part", [{"role": "user", "content": [{"type": "map", "at": 1}]}, ASSISTANT], "type"),
    ("a sound", [{"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}, ASSISTANT], "media"),
    ("a film of Gemini",
     [{"role": "user", "content": [{"inlineData": {"mimeType": "video/mp4", "data": "x"}}]}, ASSISTANT], "media"),
    ("an image in an answer", [USER, {"role": "assistant", "content": [{"type": "image", "image": "x.png"}]}],
     "image_answer"),
    ("an image that is nowhere", [{"role": "user", "content": [{"type": "image"}]}, ASSISTANT], "image_count"),
    ("words of nobody", [{"user": "Hi", "remark": "said in a hurry"}, ASSISTANT], "role"),
    ("an empty user", [{"role": "user", "content": None}, ASSISTANT], "type"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "turns", "kind"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_what_no_template_knows_is_left_out_and_says_why(name: str, turns: Any, kind: str) -> None:
    with pytest.raises(Skip) as skip:
        messages(turns)
    assert skip.value.kind == kind


@pytest.mark.parametrize("text", ["[INST] Hi [/INST]", "['a", "{'a': open('x')}", "[Scene 1]", "[[[", "{draft}"])
def test_text_that_only_looks_like_a_list_stays_text(text: str) -> None:
    assert decoded(text) == text
