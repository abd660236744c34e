"""Rendering: what is fed to the model is what the template writes, around what was really sampled."""

from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_agents import after, tokenizer_with, turn_of
from turngym.agents.parse import parse_hermes
from turngym.agents.render import Renderer, past_ids
from turngym.errors import ConfigError
from turngym.types import Completion, Context, Message, ToolCall, Turn, assistant, tool, user

# Ends its turns with a token of its own, as Gemma and Phi do: the end of sequence is another one.
OWN_END = """
{%- for m in messages -%}<tool_call>{{ m.role }}
{{ m.content }}</tool_call>
{% endfor -%}{%- if add_generation_prompt -%}<tool_call>assistant
{% endif -%}"""

# Never shows what was thought, not even in the newest reply.
HIDES_REASONING = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

# Opens the thinking itself, so that history and prompt differ from the first reply on.
OPENS_THINKING = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
<think>
{% endif -%}"""

ALTERNATES = """
{%- for m in messages -%}
{%- if loop.index0 % 2 == 0 and m.role != 'user' %}{{ raise_exception('users first') }}{% endif -%}
<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TURN = st.tuples(TEXT, st.booleans(), st.lists(st.tuples(st.booleans(), TEXT), max_size=2))


def sampled(renderer, context, ids):
    """The turn in which exactly `ids` were sampled."""
    prompt = renderer.prompt(context)
    kept = ids[:-1] if ids[-1] in renderer.stop_ids else ids
    completion = Completion(
        message=parse_hermes(renderer.tokenizer.decode(kept)),
        new_prompt_ids=prompt.new_ids,
        reply_ids=array("i", ids),
        opens_segment=prompt.opens_segment,
    )
    return Turn(seen=context.new, completion=completion)


@pytest.mark.parametrize("template", [None, OWN_END, HIDES_REASONING])
@settings(max_examples=40, deadline=None)
@given(turns=st.lists(TURN, min_size=1, max_size=4))
def test_all_ids_together_spell_the_whole_conversation(template, turns):
    renderer = Renderer(tokenizer_with(template))
    tokenizer, context = renderer.tokenizer, Context(episode="e", new=(user("go"),))
    for said, ended, new in turns:
        ids = tokenizer.encode(said, add_special_tokens=False)
        if ended or not ids:
            ids.append(renderer._end)
        messages = [tool(text, "call_0") if is_tool else user(text) for is_tool, text in new]
        turn = sampled(renderer, context, ids)
        told = replace(turn, completion=replace(turn.completion, message=assistant(said)))
        context = after(context, told, *messages)
    prompt = renderer.prompt(context)
    whole = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in context.messages],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert not prompt.opens_segment
    assert tokenizer.decode(past_ids(context) + prompt.new_ids) == whole


def test_an_end_of_turn_that_is_not_the_end_of_sequence_stops_and_is_not_written_twice():
    renderer = Renderer(tokenizer_with(OWN_END))
    end, eos = renderer.tokenizer.convert_tokens_to_ids(["</tool_call>", "<|im_end|>"])
    assert renderer.stop_ids == {end, eos}
    context = Context(episode="e", new=(user("go"),))
    for last, expected in ((end, "\n<tool_call>"), (eos, "</tool_call>\n<tool_call>")):
        prompt = renderer.prompt(after(context, sampled(renderer, context, [65, last]), user("on")))
        assert renderer.tokenizer.decode(prompt.new_ids).startswith(expected)
    assert renderer.reply(assistant("hi"))[-1] == end


def test_a_template_that_never_shows_reasoning_opens_a_segment_after_each_thought():
    renderer = Renderer(tokenizer_with(HIDES_REASONING))
    context = Context(episode="e", new=(user("go"),))
    thought = turn_of(renderer, context, "<think>hm</think>yes")
    prompt = renderer.prompt(after(context, thought, user("on")))
    assert prompt.opens_segment and "hm" not in renderer.tokenizer.decode(prompt.new_ids)


def test_a_template_that_opens_the_thinking_itself_cannot_be_extended():
    renderer = Renderer(tokenizer_with(OPENS_THINKING))
    context = Context(episode="e", new=(user("go"),))
    turn = turn_of(renderer, context, "hm</think>yes")
    assert turn.completion.message == Message(role="assistant", content="yes", reasoning="hm")
    assert renderer.prompt(after(context, turn, user("on"))).opens_segment
    with pytest.raises(ConfigError, match="between its prompt and its closing"):
        renderer.reply(assistant("yes"))


def test_a_reply_without_ids_is_rendered_as_text_in_a_new_segment():
    renderer = Renderer(tokenizer_with())
    context = Context(episode="e", new=(user("go"),))
    told = Turn(seen=context.new, completion=Completion(message=assistant("told")))
    prompt = renderer.prompt(after(context, told, user("on")))
    assert prompt.opens_segment and "told" in renderer.tokenizer.decode(prompt.new_ids)


def test_an_episode_key_used_again_with_another_past_is_not_taken_for_the_old_one():
    renderer = Renderer(tokenizer_with())
    context = Context(episode="e", new=(user("first"),))
    turn = turn_of(renderer, context, "yes")
    renderer.prompt(replace(context, new=(user("something else"),)))
    prompt = renderer.prompt(after(context, turn, user("on")))
    fresh = Renderer(tokenizer_with()).prompt(after(context, turn, user("on")))
    assert prompt == fresh and not prompt.opens_segment


def test_the_words_of_a_template_that_refuses_reach_the_user():
    renderer = Renderer(tokenizer_with(ALTERNATES))
    with pytest.raises(ConfigError, match=r"refuses the roles tool: users first"):
        renderer.prompt(Context(episode="e", new=(tool("x", "call_0"),)))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", '"\\ud800"'])
def test_arguments_that_no_file_could_hold_stay_in_the_content(number):
    text = f'<tool_call>{{"name": "f", "arguments": {{"x": {number}}}}}</tool_call>'
    assert parse_hermes(text) == assistant(text)


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text('<think>/tool_call{}": '))
def test_parsing_never_raises_and_loses_no_plain_text(text):
    message = parse_hermes(text)
    if "</think>" not in text and "</tool_call>" not in text:
        assert message == assistant(text)


# Drops what was thought as soon as a user has spoken again, and keeps it between tool calls.
FORGETS_REASONING = """
{%- set ns = namespace(last=0) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.reasoning_content and loop.index0 > ns.last %}<think>{{ m.reasoning_content }}</think>{% endif -%}
{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

# Counts its messages: what is appended depends on all that went before.
NUMBERS = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{{ loop.index }} {{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


# Takes white space away, and hides what looks like the answer of a tool.
TOUCHES_WORDS = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.content.startswith('<') %}(hidden){% else %}{{ m.content | trim }}{% endif %}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


# Says of which call each answer is.
NAMES_CALLS = """
{%- for m in messages -%}<|im_start|>{{ m.role }}{% if m.role == 'tool' %} {{ m.name }}{% endif %}{{ '\\n' }}
{{- m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}</tool_call>{% endfor %}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

# Puts answers of tools into quotes, as Llama 3.1 does.
QUOTES_TOOLS = """
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.role == 'tool' %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


def play(renderer, turns):
    """The prompts of a conversation, as (ids, opens_segment)."""
    tokenizer, context, prompts = renderer.tokenizer, Context(episode="e", new=(user("go"),)), []
    for said, thought, ended, new in turns:
        prompt = renderer.prompt(context)
        prompts.append((prompt.new_ids, prompt.opens_segment))
        text = f"<think>{thought}</think>{said}" if thought else said
        ids = tokenizer.encode(text, add_special_tokens=False)
        if ended or not ids:
            ids.append(renderer._end)
        message = replace(assistant(said), reasoning=thought or None)
        completion = Completion(
            message=message,
            new_prompt_ids=prompt.new_ids,
            reply_ids=ids,
            opens_segment=prompt.opens_segment,
        )
        turn = Turn(seen=context.new, completion=completion)
        messages = [tool(text, "call_0") if is_tool else user(text) for is_tool, text in new]
        context = after(context, turn, *messages)
    prompt = renderer.prompt(context)
    return [*prompts, (prompt.new_ids, prompt.opens_segment)]


WORDS = TEXT | st.sampled_from(["plain words", " spaced ", "<tag>", "two\nlines", 'a "quote"'])
LONG_TURN = st.tuples(
    TEXT,
    st.sampled_from(["", "", "hm"]),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), WORDS), min_size=1, max_size=2),
)
EXPERIENCED: dict[str | None, Renderer] = {}


@pytest.mark.parametrize(
    "template",
    [None, OWN_END, FORGETS_REASONING, NUMBERS, ALTERNATES, TOUCHES_WORDS, QUOTES_TOOLS],
)
@settings(max_examples=60, deadline=None)
@given(turns=st.lists(LONG_TURN, min_size=1, max_size=6))
def test_a_renderer_that_knows_a_shape_says_what_a_fresh_one_works_out_in_full(template, turns):
    """A wrong short cut would feed other tokens than the template writes."""
    if template == ALTERNATES:  # refuses other orders of roles
        turns = [(said, thought, ended, [(False, "x")]) for said, thought, ended, _ in turns]
    known = EXPERIENCED.setdefault(template, Renderer(tokenizer_with(template)))
    fresh = Renderer(known.tokenizer)
    fresh._local_tail = lambda context: None  # never takes a short cut
    assert play(known, turns) == play(fresh, turns)


def test_the_short_cut_is_taken_where_the_template_allows_it_and_nowhere_else():
    turns = [("a", "", True, [(False, "b")])] * 3
    # After one exchange the third message is the third, after more it is not.
    for template, taken in ((None, [True, True, True]), (NUMBERS, [True, False, False])):
        renderer = Renderer(tokenizer_with(template))
        play(renderer, turns)
        assert list(renderer._is_local.values()) == taken
        assert [around is not None for around in renderer._around.values()] == [
            local for local in taken if local
        ]


def call_and_answer(renderer, names):
    """The prompts of an episode in which each turn calls a tool and hears its answer."""
    context, prompts = Context(episode="e", new=(user("go"),)), []
    for number, name in enumerate(names):
        prompt = renderer.prompt(context)
        prompts.append((prompt.new_ids, prompt.opens_segment))
        said = assistant("", [ToolCall(id=f"c{number}", name=name, arguments={"n": number})])
        completion = Completion(
            message=said,
            new_prompt_ids=prompt.new_ids,
            reply_ids=[*renderer.tokenizer.encode(name, add_special_tokens=False), renderer._end],
            opens_segment=prompt.opens_segment,
        )
        turn = Turn(seen=context.new, completion=completion)
        context = after(context, turn, tool(f"answer {number}", f"c{number}", name))
    return prompts


@pytest.mark.parametrize(
    ("template", "filled"), [(None, True), (NAMES_CALLS, False), (QUOTES_TOOLS, False)]
)
def test_answers_of_tools_are_filled_in_only_where_nothing_else_of_them_is_written(
    template, filled
):
    """A remembered name would be fed for every later call, an unquoted answer for a quoted one."""
    known, fresh = (Renderer(tokenizer_with(template)) for _ in range(2))
    fresh._local_tail = lambda context: None  # never takes a short cut
    names = ["look", "take", "look", "drop", "go"]
    assert call_and_answer(known, names) == call_and_answer(fresh, names)
    assert {around is not None for around in known._around.values()} == {filled}
