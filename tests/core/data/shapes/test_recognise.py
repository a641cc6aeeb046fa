"""A table of row shapes, in the words of many data sets: what is learned, what is asked, and what stops."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.data.canonical import converter
from fitune.core.data.exchange import exchange_of
from fitune.core.data.shapes.recognise import recognise
from fitune.core.data.shapes.shape import Shape
from fitune.core.recipe import Data

ROWS = 24
Make = Callable[[int], dict[str, Any]]


def q(n: int) -> str:
    return f"How do I repair pump number {n} when it leaks?"


def a(n: int) -> str:
    return f"Close valve {n}, then replace the seal of the pump."


def text(n: int) -> str:
    return f"The harbour of Port{n} was built long ago. It has {n} piers, a lighthouse and a market that opens at dawn."


def chat(n: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": q(n)}, {"role": "assistant", "content": a(n)}]


def shape_of(make: Make) -> Shape:
    return recognise([make(n) for n in range(ROWS)], Data(source="rows.jsonl"))


LEARNED: tuple[tuple[str, Make], ...] = (
    ("question and answer", lambda n: {"question": q(n), "answer": a(n)}),
    ("names in capitals", lambda n: {"INSTRUCTION": q(n), "RESPONSE": a(n), "SOURCE": "own"}),
    ("Spanish", lambda n: {"pregunta": q(n), "respuesta": a(n)}),
    ("Chinese", lambda n: {"问题": q(n), "答案": a(n), "来源": "x"}),
    ("Romanian without marks", lambda n: {"categorie": "pompe", "intrebare": q(n), "raspuns": a(n)}),
    ("Swedish without marks", lambda n: {"fraga": q(n), "svar": a(n)}),
    ("German with an id", lambda n: {"nr": n, "frage": q(n), "antwort": a(n)}),
    ("camel case", lambda n: {"userPrompt": q(n), "modelResponse": a(n)}),
    ("questions with ids, scores and addresses",
     lambda n: {"id": f"x-{n}", "question": q(n), "answer": a(n), "score": n / 7, "url": f"https://a.org/{n}"}),
    ("the whole prompt once more",
     lambda n: {"instruction": q(n), "input": "", "output": a(n),
                "text": f"### Instruction:\n{q(n)}\n\n### Response:\n{a(n)}"}),
    ("a chat with its question once more", lambda n: {"prompt": q(n), "prompt_id": f"{n:064x}", "messages": chat(n)}),
    ("words within names", lambda n: {"Nr": n, "Question du client": q(n), "Réponse du conseiller": a(n)}),
    ("compound names", lambda n: {"Kundenfrage": q(n), "Antworttext": a(n)}),
    ("names without spaces", lambda n: {"客户问题": q(n), "客服回答": a(n)}),
    ("Hindi, with marks on its letters", lambda n: {"प्रश्न": q(n), "उत्तर": a(n)}),
    ("a task's name beside it", lambda n: {"inputs": q(n), "targets": a(n), "task": f"t{n % 3}"}),
    ("fields of an object", lambda n: {"meta": {"id": n}, "data": {"question": q(n), "answer": a(n)}}),
    ("an answer in a list", lambda n: {"id": f"row-{n}", "prompt": q(n), "completions": [a(n)]}),
    ("turns", lambda n: {"id": n, "messages": chat(n)}),
    ("a message to Cohere, and its answer",
     lambda n: {"message": q(n), "text": a(n), "generation_id": f"{n:032x}",
                "chat_history": [{"role": "USER", "message": "Hi"}, {"role": "CHATBOT", "message": "Hello"}]}),
    ("turns in Python's words", lambda n: {"messages": str(chat(n))}),
    ("turns of a question and an answer",
     lambda n: {"source": "own", "conversation": [{"input": q(n), "output": a(n)}]}),
    ("turns of human and assistant", lambda n: {"id": n, "dialog": [{"human": q(n), "assistant": a(n)}], "lang": "en"}),
    ("turns of one key", lambda n: {"messages": [{"user": q(n)}, {"assistant": a(n)}]}),
    ("turns as texts", lambda n: {"id": str(n), "conversation": [q(n), a(n)]}),
    ("turns as pairs", lambda n: {"rounds": [[q(n), a(n)]], "topic": "pumps"}),
    ("turns with other keys",
     lambda n: {"dialog": [{"speaker": "user", "utterance": q(n)}, {"speaker": "bot", "utterance": a(n)}]}),
    ("turns of LangChain", lambda n: {"messages": [{"type": "human", "data": {"content": q(n)}},
                                                   {"type": "ai", "data": {"content": a(n)}}]}),
    ("turns of a flag", lambda n: {"chat": [{"is_user": True, "mes": q(n)}, {"is_user": False, "mes": a(n)}]}),
    ("turns of a customer and an agent",
     lambda n: {"turns": [{"speaker": "Customer", "text": q(n)}, {"speaker": "Agent", "text": a(n)}]}),
    ("turns with names of their own", lambda n: {"log": [{"side": "client", "at": "9:15", "note": q(n)},
                                                         {"side": "support", "at": "9:20", "note": a(n)}]}),
    ("objects with a text", lambda n: {"q": {"text": q(n), "lang": "en"}, "a": {"text": a(n), "lang": "en"}}),
    ("a batch of Bedrock",
     lambda n: {"recordId": f"R{n}", "modelInput": {"max_tokens": 9, "messages": chat(n)[:1]},
                "modelOutput": {"role": "assistant", "content": [{"type": "text", "text": a(n)}]}}),
    ("turns in German", lambda n: {"dialog": [{"rolle": "nutzer", "inhalt": q(n)},
                                              {"rolle": "assistent", "inhalt": a(n)}]}),
    ("a chat whose answer stands beside it", lambda n: {"messages": chat(n)[:1], "response": a(n)}),
    ("a question in a list whose answer stands beside it", lambda n: {"messages": [{"user": q(n)}], "response": a(n)}),
    ("an answer in parts", lambda n: {"question": q(n), "answer": [{"type": "text", "text": a(n)}]}),
    ("turns by number", lambda n: {"id": n, "chat": {"turn_1": {"Human": q(n), "MOSS": a(n)}}, "category": "x"}),
    ("Gemini", lambda n: {"contents": [{"role": "user", "parts": [{"text": q(n)}]},
                                       {"role": "model", "parts": [{"text": a(n)}]}]}),
    ("a request to OpenAI", lambda n: {"custom_id": str(n), "body": {"model": "m", "messages": chat(n)}}),
    ("a log of a server", lambda n: {"request": {"messages": chat(n)[:1]},
                                     "response": {"body": {"choices": [{"message": chat(n)[1]}]}}}),
    ("a chat and its answer", lambda n: {"input": chat(n)[:1], "ideal": a(n)}),
    ("prompt and completion as turns", lambda n: {"prompt": chat(n)[:1], "completion": chat(n)[1:]}),
    ("turns in French", lambda n: {"échanges": [{"rôle": "utilisateur", "contenu": q(n)},
                                               {"rôle": "assistant", "contenu": a(n)}]}),
    ("turns in Japanese", lambda n: {"会話": [{"話者": "ユーザー", "発話": q(n)},
                                             {"話者": "アシスタント", "発話": a(n)}]}),
    ("a model as a speaker", lambda n: {"messages": [{"author": "human", "text": q(n)},
                                                     {"author": "Claude-3-Haiku", "text": a(n)}]}),
    ("an answer of Gemini", lambda n: {"request": {"contents": [{"role": "user", "parts": [{"text": q(n)}]}]},
                                       "response": {"candidates": [{"content": {"role": "model",
                                                                                "parts": [{"text": a(n)}]}}]}}),
    ("a log of two bodies", lambda n: {"request_body": {"messages": chat(n)[:1]},
                                       "response_body": {"choices": [{"message": chat(n)[1]}]}}),
    ("a trace", lambda n: {"id": f"cl{n:022}", "input": {"messages": chat(n)[:1]}, "output": chat(n)[1]}),
    ("messages of LangChain in an object",
     lambda n: {"inputs": {"input": [{"type": "human", "data": {"content": q(n)}}]},
                "outputs": {"output": {"type": "ai", "data": {"content": a(n)}}}}),
    ("codes that are short",
     lambda n: {"Código": f"C{n:04}", "Pergunta do cliente": q(n), "Resposta do suporte": a(n)}),
    ("all rated good", lambda n: {"question": q(n), "answer": a(n), "is_correct": True}),
    ("a label that is a topic", lambda n: {"question": q(n), "answer": a(n), "label": ["sea", "land"][n % 2]}),
    ("no pictures", lambda n: {"messages": chat(n), "images": []}),
    ("an empty history", lambda n: {"question": q(n), "answer": a(n), "history": []}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make"), LEARNED, ids=[name for name, _ in LEARNED])
def test_question_and_answer_are_found(name: str, make: Make) -> None:
    shape = shape_of(make)
    assert shape.is_usable
    assert shape.sure, shape.why
    assert exchange_of(converter(shape.format, shape.columns)(make(3))[0]) == (q(3), a(3))


WITH_MORE: tuple[tuple[str, Make, tuple[str, str]], ...] = (
    ("instruction, context, response", lambda n: {"instruction": "Who?", "context": text(n), "response": f"{n}"},
     (f"Who?\n\n{text(3)}", "3")),
    ("question, context, answer", lambda n: {"question": q(n), "passage": text(n), "answer": a(n)},
     (f"{q(3)}\n\n{text(3)}", a(3))),
    ("the same instruction throughout", lambda n: {"instruction": "Summarise.", "input": text(n), "output": a(n)},
     (f"Summarise.\n\n{text(3)}", a(3))),
    ("SQuAD", lambda n: {"question": q(n), "context": text(n), "answers": {"text": [a(n)], "answer_start": [3]}},
     (f"{q(3)}\n\n{text(3)}", a(3))),
    ("an article with its summary", lambda n: {"id": f"ab-{n}", "article": text(n), "highlights": a(n)},
     (text(3), a(3))),
    ("an object to extract", lambda n: {"instruction": "Extract.", "input": text(n), "output": {"port": n, "at": None}},
     (f"Extract.\n\n{text(3)}", '{"port":3,"at":null}')),
    ("an object with the keys of a turn", lambda n: {"prompt": text(n), "output": {"from": "Rome", "to": f"Port{n}"}},
     (text(3), '{"from":"Rome","to":"Port3"}')),
    ("objects to extract whose values are speakers elsewhere",
     lambda n: {"prompt": text(n), "response": [{"who": "A B", "job": "student"}, {"who": f"C {n}", "job": "doctor"}]},
     (text(3), '[{"who":"A B","job":"student"},{"who":"C 3","job":"doctor"}]')),
    ("objects to extract", lambda n: {"prompt": text(n), "response": [{"port": n}, {"piers": n + 1}]},
     (text(3), '[{"port":3},{"piers":4}]')),
    ("passages", lambda n: {"query": q(n), "passages": [text(n), text(n + 1)], "answer": a(n)},
     (f"{q(3)}\n\n{text(3)}\n\n{text(4)}", a(3))),
    ("documents", lambda n: {"query": q(n), "documents": [{"title": f"On port {n}", "text": text(n)}], "answer": a(n)},
     (f"{q(3)}\n\nOn port 3\n{text(3)}", a(3))),
    ("earlier turns as context", lambda n: {"context": chat(n + 1), "prompt": q(n), "response": a(n)}, (q(3), a(3))),
    ("objects with authors beside",
     lambda n: {"question": q(n), "answer": text(n), "cited": [{"author": "Ann", "text": f"Page {n}"}]},
     (q(3), text(3))),
    ("calls as an answer", lambda n: {"query": q(n), "answers": json.dumps([{"name": "find", "arguments": {"n": n}}]),
                                      "tools": "[{\"name\": \"find\", \"parameters\": {}}]"},
     (q(3), '[calls find({"n": 3})]')),
    ("passages in nested lists",
     lambda n: {"question": q(n), "context": [["On ports", [text(n), text(n + 1)]]], "answer": a(n)},
     (f"{q(3)}\n\nOn ports\n{text(3)}\n{text(4)}", a(3))),
    ("passages with addresses",
     lambda n: {"query": q(n), "passages": {"passage_text": [text(n)], "url": ["http://a.org"]}, "answers": [a(n)]},
     (f"{q(3)}\n\n{text(3)}", a(3))),
    ("text under a title", lambda n: {"id": n, "title": f"On port {n}", "text": text(n) * 3}, ("", text(3) * 3)),
    ("plain text", lambda n: {"text": text(n), "url": f"https://a.org/{n}", "timestamp": f"2024-01-{n + 1:02d}"},
     ("", text(3))),
    ("text with notes", lambda n: {"text": text(n), "meta": {"source": "own", "page": n}}, ("", text(3))),
    ("segments with marks",
     lambda n: {"segments": [{"label": False, "text": q(n)}, {"label": True, "text": a(n)}]}, (q(3), a(3))),
    ("prompts that end in a line", lambda n: {"prompt": f"{q(n)}\n", "completion": a(n)}, (f"{q(3)}\n", a(3))),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make", "taught"), WITH_MORE, ids=[name for name, *_ in WITH_MORE])
def test_what_belongs_to_question_and_answer_is_shown(name: str, make: Make, taught: tuple[str, str]) -> None:
    shape = shape_of(make)
    assert (shape.is_usable, shape.sure) == (True, True)
    assert exchange_of(converter(shape.format, shape.columns)(make(3))[0]) == taught


ASKED: tuple[tuple[str, Make, dict[str, str]], ...] = (
    ("an answer beside texts as context", lambda n: {"context": ["Hi there", "Hello", q(n)], "response": a(n)},
     {"text": "response"}),
    ("names that say nothing", lambda n: {"foo": q(n), "bar": a(n)}, {"question": "foo", "answer": "bar"}),
    ("translations", lambda n: {"id": n, "translation": {"en": q(n), "fr": a(n)}},
     {"question": "translation.en", "answer": "translation.fr"}),
    ("text and label", lambda n: {"text": text(n), "label": n % 2}, {"question": "text", "answer": "label"}),
    ("text and stars", lambda n: {"reviewText": text(n), "overall": n % 5}, {"question": "reviewText",
                                                                            "answer": "overall"}),
    ("text and labels", lambda n: {"text": text(n), "labels": ["sea", "land"][: n % 2 + 1]},
     {"question": "text", "answer": "labels"}),
    ("columns without names", lambda n: {"v1": ["ham", "spam"][n % 2], "v2": text(n)},
     {"question": "v2", "answer": "v1"}),
    ("a trajectory without its question", lambda n: {"instruction": q(n), "trajectory": chat(n)[1:]},
     {"messages": "trajectory"}),
    ("text and its places", lambda n: {"text": text(n), "entities": [{"start": 0, "label": "port"}]},
     {"question": "text", "answer": "entities"}),
    ("text and an object", lambda n: {"document": text(n), "extracted": {"port": f"Port{n}"}},
     {"question": "document", "answer": "extracted"}),
    ("two texts and a label", lambda n: {"premise": text(n), "hypothesis": a(n), "label": n % 3},
     {"instruction": "premise", "input": "hypothesis", "output": "label"}),
    ("title and body", lambda n: {"title": f"On port {n}", "body": text(n)}, {"text": "body"}),
    ("text and a tag that is always the same", lambda n: {"text": text(n), "tag": "<python>"}, {"text": "text"}),
    ("two texts and a tag that is always the same", lambda n: {"title": q(n), "body": a(n), "tag": "<python>"},
     {"question": "title", "answer": "body"}),
    ("title, body and answer", lambda n: {"Id": n, "Title": q(n), "Body": text(n), "Tags": "<python>", "Answer": a(n)},
     {"instruction": "Title", "input": "Body", "output": "Answer"}),
    ("prompts without answers", lambda n: {"id": n, "prompt": q(n)}, {"text": "prompt"}),
    ("turns without answers", lambda n: {"question_id": n, "category": ["math", "art"][n % 2], "turns": [q(n)]},
     {"text": "turns"}),
    ("glued", lambda n: {"prompt": q(n), "completion": a(n)}, {"question": "prompt", "answer": "completion"}),
    ("two answers", lambda n: {"question": q(n), "answer": a(n), "solution": text(n)[: len(a(n))]},
     {"question": "question", "answer": "answer"}),
    ("questions that are ids", lambda n: {"question": f"q-{n:04d}", "answer": a(n)},
     {"question": "question", "answer": "answer"}),
    ("answers that are paths", lambda n: {"question": q(n), "answer": f"files/{n}.txt"},
     {"question": "question", "answer": "answer"}),
    ("answers without a question", lambda n: {"response": {"body": {"choices": [{"message": chat(n)[1]}]}}},
     {"messages": "response"}),
    ("a context above a chat", lambda n: {"context": "You are a patient harbour master.", "messages": chat(n)},
     {"messages": "messages", "system": "context"}),
    ("a decision of an annotator",
     lambda n: {"text": text(n), "meta": {"source": "x"}, "answer": ["accept", "reject"][n % 2]},
     {"question": "text", "answer": "answer"}),
    ("products with a description", lambda n: {"sku": f"SKU-{n:05}", "name": f"Blue pump no {n}", "description": a(n)},
     {"question": "name", "answer": "description"}),
    ("several right answers", lambda n: {"question": q(n), "ideal": [a(n), a(n + 1)]},
     {"question": "question", "answer": "ideal.0"}),
    ("lists of what may be said", lambda n: {"tag": f"t{n}", "patterns": [q(n), text(n)], "responses": [a(n)]},
     {"question": "patterns.0", "answer": "responses"}),
    ("a text in which two speak", lambda n: {"system": "Be kind.", "log": f"Human: {q(n)}\nAssistant: {a(n)}"},
     {"messages": "log", "system": "system"}),
    ("one message a row", lambda n: {"conversation_id": n // 2, **chat(n)[n % 2]},
     {"conversation": "conversation_id", "role": "role", "content": "content"}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make", "first"), ASKED, ids=[name for name, *_ in ASKED])
def test_a_close_call_is_asked(name: str, make: Make, first: dict[str, str]) -> None:
    shape = shape_of(make)
    assert not shape.sure
    assert dict(shape.candidates[0]) == first
    chosen = recognise([make(n) for n in range(ROWS)], Data(source="x", columns=first))
    assert (chosen.is_usable, chosen.sure) == (True, True)


def test_a_label_that_is_always_the_same_is_told() -> None:
    assert (
        "tag is <python> in each of the first 24 rows" in shape_of(lambda n: {"text": text(n), "tag": "<python>"}).why
    )


STOPPED: tuple[tuple[str, Make, str, str], ...] = (
    ("most words elsewhere", lambda n: {"question": q(n), "answer": a(n), "chain_of_thought": text(n) * 2},
     "question_answer", "most of the words of these rows are in chain_of_thought"),
    ("messages of a telephone", lambda n: {"date": "2024-01-01", "is_from_me": n % 2, "text": a(n)},
     "unknown", "is_from_me says if the user speaks"),
    ("turns whose keys nobody knows", lambda n: {"lines": [{"by": "Ann", "line": q(n)}, {"by": "Bo", "line": a(n)}]},
     "unknown", "objects with the keys by, line"),
    ("choices", lambda n: {"question": q(n), "A": a(n), "B": text(n), "answer": "A"},
     "question_answer", '{question = "question", answer = "answer"}'),
    ("ids alone", lambda n: {"id": f"row-{n}", "category": ["a", "b"][n % 2]}, "unknown", "id (ids)"),
    ("chosen and rejected", lambda n: {"question": q(n), "chosen": a(n), "rejected": "No."},
     "preference", 'data.columns = {question = "question", answer = "chosen"}'),
    ("chosen and rejected turns", lambda n: {"chosen": chat(n), "rejected": [chat(n)[0], chat(n + 1)[1]]},
     "preference", 'data.columns = {messages = "chosen"}'),
    ("a chat with two ends", lambda n: {"conversations": [{"from": "human", "value": q(n)}],
                                        "chosen": {"from": "gpt", "value": a(n)},
                                        "rejected": {"from": "gpt", "value": "x y"}},
     "preference", 'data.columns = {question = "conversations", answer = "chosen"}'),
    ("two answers and a winner",
     lambda n: {"prompt": q(n), "response_a": a(n), "response_b": f"Hit it {n} times.", "winner": "a"},
     "preference", "columns response_a, response_b"),
    ("good and bad", lambda n: {"prompt": q(n), "good answer": a(n), "bad answer": "Hit it hard."},
     "preference", 'answer = "good answer"'),
    ("good and bad in Spanish",
     lambda n: {"pregunta": q(n), "respuesta_buena": a(n), "respuesta_mala": f"Hit pump {n} hard."},
     "preference", 'answer = "respuesta_buena"'),
    ("good and bad in Chinese", lambda n: {"问题": q(n), "好回答": a(n), "坏回答": f"Hit pump {n} hard."},
     "preference", 'answer = "好回答"'),
    ("chosen and rejected in Spanish",
     lambda n: {"pregunta": q(n), "respuesta_elegida": a(n), "respuesta_rechazada": f"Hit pump {n} hard."},
     "preference", 'answer = "respuesta_elegida"'),
    ("right and wrong in Chinese", lambda n: {"问题": q(n), "正确回答": a(n), "错误回答": f"Hit pump {n} hard."},
     "preference", 'answer = "正确回答"'),
    ("the same bad answer throughout",
     lambda n: {"Frage": q(n), "Gute Antwort": a(n), "Schlechte Antwort": "Hit it hard."},
     "preference", 'answer = "Gute Antwort"'),
    ("an anchor with two texts",
     lambda n: {"anchor": q(n), "positive": a(n), "negative": f"A text about ship {n}."},
     "preference", 'data.columns = {question = "anchor", answer = "positive"}'),
    ("numbered answers with scores",
     lambda n: {"question": q(n), "answer_0": a(n), "answer_1": "Hit it hard.", "score_0": 0.5, "score_1": -0.5},
     "preference", "answer_0, answer_1"),
    ("two chats and a winner",
     lambda n: {"winner": "model_a", "conversation_a": chat(n), "conversation_b": chat(n + 1)},
     "preference", "conversation_a, conversation_b"),
    ("scored answers in a list",
     lambda n: {"instruction": q(n), "completions": [{"response": a(n), "overall_score": 8.5},
                                                     {"response": "Hit it hard.", "overall_score": 2.0}]},
     "preference", "column completions"),
    ("helpful or not", lambda n: {"user": q(n), "assistant": a(n), "feedback": ["helpful", "not helpful"][n % 2]},
     "preference", "feedback"),
    ("rated in German", lambda n: {"frage": q(n), "antwort": a(n), "bewertung": ["gut", "schlecht"][n % 2]},
     "preference", "bewertung"),
    ("tokens", lambda n: {"input_ids": [1, n], "attention_mask": [1, 1]}, "unknown", "numbers of tokens"),
    ("a token a row", lambda n: {"input_ids": n, "attention_mask": 1, "labels": -100}, "unknown", "numbers of tokens"),
    ("a log of a training", lambda n: {"step": n, "lr": f"{n + 1}.5e-06", "loss": 1 / (n + 1)},
     "unknown", "can't tell"),
    ("empty objects", lambda n: {}, "unknown", "empty objects"),
    ("chats without answers", lambda n: {"messages": chat(n)[:1]}, "unknown", "no answer of an assistant: only user"),
    ("chats with calls under names of their own",
     lambda n: {"messages": [*chat(n)[:1], {"role": "search", "arguments": {"n": n}}, *chat(n)[1:]]},
     "unknown", "no chat template knows: search"),
    ("turns without speakers", lambda n: {"messages": [{"content": q(n)}, *chat(n)[1:]]}, "unknown", "do not say who"),
    ("chats of strangers", lambda n: {"dialog": [{"speaker": "A", "text": q(n)}, {"speaker": "B", "text": a(n)}]},
     "unknown", "between A, B"),
    ("thumbs", lambda n: {"prompt": q(n), "response": a(n), "thumbs_up": n % 2 == 0}, "preference", "thumbs_up"),
    ("KTO", lambda n: {"messages": chat(n), "label": str(n % 2 == 0)}, "preference", "rated good or bad"),
    ("films", lambda n: {"messages": chat(n), "videos": [f"i/{n}.mp4"]}, "vision", "sound, video"),
    ("paths of sounds", lambda n: {"question": q(n), "answer": a(n), "file": f"{n}.mp3"}, "vision", "file"),
    ("two columns of images",
     lambda n: {"question": q(n), "answer": a(n), "image": f"{n}.jpg", "figure": f"f{n}.png"}, "vision",
     'images = "image"'),
    ("images and labels", lambda n: {"image": f"{n}.jpg", "label": n % 3}, "vision", 'images = "image"'),
    ("chats that a system answers",
     lambda n: {"turns": [{"speaker": "USER", "utterance": q(n)}, {"speaker": "SYSTEM", "utterance": a(n)}]},
     "unknown", "If it is SYSTEM who answers, call it assistant."),
    ("messages of people with ids",
     lambda n: {"type": "message", "user": f"U0{n % 3}ABC", "text": q(n), "client_msg_id": f"a{n}"},
     "unknown", "user (U00ABC, U01ABC) does not say who is the assistant"),
    ("messages with a flag", lambda n: {"tweet_id": n, "inbound": n % 2 == 0, "text": q(n)},
     "unknown", "inbound says if the user speaks"),
    ("a tree of messages", lambda n: {"message_tree_id": n, "parent_id": n, "text": q(n), "role": "prompter"},
     "unknown", "single message"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make", "fmt", "said"), STOPPED, ids=[name for name, *_ in STOPPED])
def test_what_must_not_be_learned_stops_and_says_why(name: str, make: Make, fmt: str, said: str) -> None:
    shape = shape_of(make)
    assert (shape.format, shape.is_usable) == (fmt, False)
    assert said in " ".join(map(str, shape.problems))
    for columns in shape.candidates:
        assert recognise([make(n) for n in range(ROWS)], Data(source="x", columns=dict(columns))).is_usable


def test_words_that_stay_unseen_are_named_where_they_are_fewer() -> None:
    shape = shape_of(lambda n: {"question": q(n), "answer": a(n), "remark": f"Asked by a sailor on day {n}."})
    assert (shape.sure, shape.unseen) == (True, ("remark",))


def test_rows_of_another_kind_do_not_hide_what_most_rows_are() -> None:
    rows = [{"messages": chat(n)} if n % 4 else {"text": text(n)} for n in range(ROWS)]
    assert recognise(rows, Data(source="x")).format == "messages"


def test_a_format_in_the_recipe_answers_the_question() -> None:
    rows = [{"prompt": q(n), "completion": a(n)} for n in range(ROWS)]
    shape = recognise(rows, Data(source="x", format="prompt_completion"))
    assert (shape.format, shape.sure, shape.candidates) == ("prompt_completion", True, ())


def test_a_system_prompt_beside_the_question_in_an_object_is_shown() -> None:
    rows = [{"prompt": {"system": f"Be brief, {n}.", "user": q(n)}, "answer": a(n)} for n in range(ROWS)]
    data = Data(source="x", columns={"question": "prompt.user", "answer": "answer"})
    for shape in (recognise(rows, data), recognise(rows, Data(source="x"))):
        assert shape.columns["system"] == "prompt.system"
