"""Chat templates written after what was seen in public models, in other words and marks than theirs."""

HEAD = "{{ '<|turn|>' + m.role + '\n' }}"
TURN = HEAD + "{{ m.content + '<|done|>\n' }}"
EACH = "{% for m in messages %}" + TURN + "{% endfor %}"
ASKS = "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
ANSWERS = "{% if m.role == 'assistant' %}"


def each(answer: str, other: str = TURN) -> str:
    """A template of chats whose answers are written in another way than other messages."""
    return "{% for m in messages %}" + ANSWERS + answer + "{% else %}" + other + "{% endif %}{% endfor %}"


CALL_LINE = "{{ '<|call|>' + c.function.name + ' ' + (c.function.arguments | tojson) + '<|/call|>' }}"
CALLS = "{% for c in m.tool_calls or [] %}" + CALL_LINE + "{% endfor %}"
OWN: dict[str, str] = {
    "opens thoughts, and forgets them": each(
        "{% set said = m.content.split('</think>')[-1] %}" + HEAD + "{{ said + '<|done|>\n' }}"
    )
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\n<think>\n' }}{% endif %}",
    "opens thoughts in tags of its own": EACH
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\n◁think▷\n' }}{% endif %}",
    "closes thoughts at once": EACH
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}",
    "a channel for thoughts, closed unless asked for": each(
        HEAD
        + "{% if m.reasoning and loop.last %}{{ '<|aside|>' + m.reasoning + '<|/aside|>' }}{% endif %}"
        + "{{ m.content }}"
        + CALLS
        + "{{ '<|done|>\n' }}"
    )
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% if not enable_thinking | default(false) %}"
    "{{ '<|aside|><|/aside|>' }}{% endif %}{% endif %}",
    "thoughts only of the newest answers": "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == "
    "'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    + each(
        HEAD
        + "{% if loop.index0 > ns.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
        + "{{ m.content }}"
        + CALLS
        + "{{ '<|done|>\n' }}"
    )
    + ASKS,
    "channels, as harmony": each(
        "{% if m.thinking and loop.last %}{{ '<|turn|>assistant<|on|>analysis<|say|>' + m.thinking + '<|end|>' }}"
        "{% endif %}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ '<|turn|>assistant to=' + c.function.name + "
        "'<|on|>commentary<|say|>' + (c.function.arguments | tojson) + '<|call|>' }}{% endfor %}{% else %}"
        "{{ '<|turn|>assistant<|on|>final<|say|>' + m.content + ('<|return|>' if loop.last else '<|end|>') }}"
        "{% endif %}",
        "{{ '<|turn|>' + m.role + '<|say|>' + m.content + '<|end|>' }}",
    )
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant' }}{% endif %}",
    "a call is what has no words": each(
        "{% if m.content is none %}"
        + HEAD
        + "{% for c in m.tool_calls %}{{ '<|call|>' + c.function.name + '\n' + c.function.arguments + '<|/call|>' }}"
        "{% endfor %}{{ '<|done|>\n' }}{% else %}" + TURN + "{% endif %}"
    )
    + ASKS,
    "a result that is closed late": each(
        HEAD + "{{ m.content }}" + CALLS + "{{ '<|done|>\n' }}",
        "{% if m.role == 'tool' %}{{ '<|turn|>tool\n' + m.content }}{% if not loop.last %}{{ '\n<|done|>' }}{% else %}"
        "{{ '<|done|>' }}{% endif %}{% else %}" + TURN + "{% endif %}",
    )
    + ASKS,
    "no end marks": "{% for m in messages %}{{ '<|turn|>' + m.role + '\n' + m.content }}{% endfor %}" + ASKS,
    "an end mark only where a question follows": "{% for m in messages %}{{ '<|turn|>' + m.role + '\n' + m.content }}"
    "{% if not loop.last %}{{ '<|done|>' }}{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}{{ '<|done|><|turn|>assistant\n' }}{% endif %}",
    "no system role": "{% if messages[0].role == 'system' %}{{ raise_exception('the roles are user and assistant') }}"
    "{% endif %}" + EACH + ASKS,
    "the system prompt in the newest question": "{% set s = messages[0].content if messages[0].role == 'system' %}"
    "{% for m in messages if m.role != 'system' %}{{ '<|turn|>' + m.role + '\n' }}{% if s and m.role == 'user' and "
    "loop.last %}{{ s + '\n\n' }}{% endif %}{{ m.content + '<|done|>\n' }}{% endfor %}" + ASKS,
    "a prompt with words": EACH
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\nHere are my reasoning steps:\n' }}{% endif %}",
    "reads parts alone": "{% for m in messages %}{{ '<|turn|>' + m.role + '\n' }}{% for p in m.content %}{% if p.type "
    "== 'text' %}{{ p.text }}{% endif %}{% endfor %}{{ '<|done|>\n' }}{% endfor %}" + ASKS,
    "trims": "{% for m in messages %}{{ '<|turn|>' + m.role + '\n\n' + (m.content | trim) + '<|done|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n\n' }}{% endif %}",
    "a space before answers, none in the prompt": each(
        "{{ ' ' + m.content + '</s>' }}", "{{ '[Q]' + m.content + '[/Q]' }}"
    ),
    "counts its turns": "{% for m in messages %}{{ '<|turn|>' + m.role + ' ' + (loop.revindex | string) + '\n' }}"
    "{{ m.content + '<|done|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant 1\n' }}{% endif %}",
    "thinks by default, and refuses an effort that it does not know": "{% if reasoning_effort | "
    "default('most') not in ['most', 'least'] %}{{ raise_exception('no such effort') }}"
    "{% endif %}"
    + each(
        HEAD + "{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' + m.content + '<|done|>\n' }}",
    )
    + "{% if add_generation_prompt %}{{ '<|turn|>assistant\n<think>\n' }}{% endif %}",
    "asks at the end of every chat, and for more": EACH
    + "{{ '<|turn|>assistant\n' }}{% if add_generation_prompt %}{{ '<|say|>' }}{% endif %}",
}
