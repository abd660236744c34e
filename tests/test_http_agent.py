"""HTTPAgent against a server that fails in every way a server can."""

import asyncio
import json
import time
from array import array

import pytest

pytest.importorskip("aiohttp")

from stub_server import cut, cut_in_body, hangs, raw, says, serving, status
from turngym.agents.endpoint import Prices, Retries, Usage
from turngym.agents.http import HTTPAgent
from turngym.agents.transport import AiohttpTransport, HttpxTransport
from turngym.agents.wire import message_from_wire, message_to_wire
from turngym.errors import ConfigError, ContextOverflow, InfraFailure, InfraTimeout
from turngym.types import Completion, Context, Message, Sampling, ToolCall, Turn, tool, user

QUICK = Retries(attempts=3, timeout_s=0.5, base_s=0.001, max_pause_s=0.002, give_up_s=20)


def httpx_over_aiohttp():
    return HttpxTransport(transport=pytest.importorskip("httpx_aiohttp").AiohttpTransport)


TRANSPORTS = [HttpxTransport, AiohttpTransport]
HELLO = Context(episode="e", new=(user("hi"),))


def ask(agent, context=HELLO, **sampling):
    return asyncio.run(agent.act(context, sampling=Sampling(**sampling), seed=2**62 + 5))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_reply_comes_through_with_ids_and_usage(transport):
    step = says("blue", prompt_ids=[1, 2, 3], ids=[7, 8], logprobs=[-0.5, -0.25])
    with serving(step) as stub:
        agent = HTTPAgent(stub.url + "/", "m", api_key="secret", transport=transport())
        found = ask(agent, max_new_tokens=9, stop=("x",))
    assert found.message == Message(role="assistant", content="blue")
    assert found.new_prompt_ids == array("i", [1, 2, 3]) and found.opens_segment
    assert found.reply_ids == array("i", [7, 8])
    assert found.reply_logprobs == array("f", [-0.5, -0.25])
    (body,) = stub.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "temperature": 1.0,
        "stop": ["x"],
        "seed": 5,
        "logprobs": True,
        "return_token_ids": True,
    }
    assert stub.headers[0]["Authorization"] == "Bearer secret"
    used = agent.usage
    assert used == Usage(requests=1, prompt_tokens=10, cached_prompt_tokens=4, reply_tokens=3)
    # 6 fresh tokens at $2, 4 cached at $0.5, 3 sampled at $8 per million
    assert used.dollars(Prices(prompt=2, cached_prompt=0.5, reply=8)) == pytest.approx(38e-6)


FAULTS = {
    "429": status(429, "slow down"),
    "500": status(500, "boom"),
    "503": status(503),
    "hang": hangs,
    "cut": cut,
    "cut in the body": cut_in_body,
    "no JSON": raw("<html>"),
    "another JSON": raw("[1]"),
    "no choices": raw('{"choices": []}'),
    "no message": raw('{"choices": [{"finish_reason": "stop"}]}'),
    "a user's message": raw('{"choices": [{"message": {"role": "user", "content": "x"}}]}'),
    "content of parts": raw('{"choices": [{"message": {"content": [1]}}]}'),
    "text as ids": says(prompt_ids=[1], ids=["a"], logprobs=[0.0]),
    "negative ids": says(prompt_ids=[1], ids=[-1], logprobs=[0.0]),
    "ids without a log-probability": says(prompt_ids=[1], ids=[1, 2], logprobs=[0.0]),
    "ids beyond int32": says(prompt_ids=[1], ids=[2**40], logprobs=[0.0]),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_tried_again_and_then_named(fault, transport):
    with serving(FAULTS[fault], says("fine")) as stub:
        agent = HTTPAgent(stub.url, "m", transport=transport(), retries=QUICK)
        assert ask(agent).message.content == "fine"
        assert agent.usage.retries == 1 and agent.usage.requests == 1
    with serving(FAULTS[fault]) as stub:
        agent = HTTPAgent(stub.url, "m", transport=transport(), retries=QUICK)
        expected = InfraTimeout if fault == "hang" else InfraFailure
        with pytest.raises(expected, match=r"3 attempts"):
            ask(agent)
        assert len(stub.bodies) == 3


def test_nobody_listening_is_infrastructure():
    for transport in TRANSPORTS:
        agent = HTTPAgent("http://127.0.0.1:9/v1", "m", transport=transport(), retries=QUICK)
        with pytest.raises(InfraFailure, match="127.0.0.1:9"):
            ask(agent)


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [(401, "no", "API key"), (404, "no model", "ends in /v1"), (429, "insufficient_quota", "429")],
)
def test_a_refusal_that_will_not_change_is_not_repeated(code, text, hint):
    with serving(status(code, text)) as stub:
        with pytest.raises(InfraFailure, match=hint) as caught:
            ask(HTTPAgent(stub.url, "m", api_key="hunter2", retries=QUICK))
        assert len(stub.bodies) == 1
    assert "hunter2" not in str(caught.value)


def test_retry_after_holds_back_every_request_of_the_agent():
    with serving(status(429, Retry_After="1"), says()) as stub:
        agent = HTTPAgent(stub.url, "m", retries=QUICK)

        async def two():
            first = asyncio.create_task(agent.act(HELLO, sampling=Sampling(), seed=0))
            await asyncio.sleep(0.4)  # by now the first was refused
            began = time.monotonic()
            await agent.act(HELLO, sampling=Sampling(), seed=1)
            await first
            return time.monotonic() - began

        # A pause of the first request alone would let the second through at once.
        assert asyncio.run(two()) > 0.4
        assert len(stub.bodies) == 3


def test_a_pause_longer_than_the_patience_fails_at_once():
    with serving(status(429, Retry_After="3600")) as stub:
        began = time.monotonic()
        with pytest.raises(InfraFailure, match="429"):
            ask(HTTPAgent(stub.url, "m", retries=QUICK))
        assert time.monotonic() - began < 5 and len(stub.bodies) == 1


@pytest.mark.parametrize("transport", [*TRANSPORTS, httpx_over_aiohttp])
def test_connections_are_used_again_and_closed_with_their_loop(transport):
    with serving(says()) as stub:
        agent = HTTPAgent(stub.url, "m", transport=transport())

        async def many():
            for _ in range(5):
                await agent.act(HELLO, sampling=Sampling(), seed=0)

        asyncio.run(many())
        assert len(stub.peers) == 1
        asyncio.run(many())  # another loop: its own client, and no warning about the first
        assert len(stub.peers) == 2


def turn_after(completion, *new):
    turn = Turn(seen=HELLO.new, completion=completion)
    return Context(episode="e", turns=(turn,), new=new)


@pytest.mark.parametrize(
    ("prompt", "new", "opens"), [([1, 2, 7, 9], [9], False), ([1, 3, 7, 9], [1, 3, 7, 9], True)]
)
def test_only_what_is_new_is_kept_while_the_servers_prompt_extends_the_past(prompt, new, opens):
    first = Completion(message=user("x"), new_prompt_ids=[1, 2], reply_ids=[7], opens_segment=True)
    with serving(says(prompt_ids=prompt, ids=[4], logprobs=[-1.0])) as stub:
        found = ask(HTTPAgent(stub.url, "m"), turn_after(first, user("go on")))
    assert found.new_prompt_ids == array("i", new) and found.opens_segment is opens


def test_fields_that_a_server_does_not_know_are_left_out_from_then_on():
    def picky(request, body):
        for name in ("return_token_ids", "max_tokens", "seed"):
            if name in body:
                text = f"'{name}' is not supported" + ", use 'max_completion_tokens'" * (
                    name[0] == "m"
                )
                return status(400, json.dumps({"error": text}))(request, body)
        return says()(request, body)

    with serving(picky) as stub:
        agent = HTTPAgent(stub.url, "m")
        ask(agent, max_new_tokens=3)
        assert len(stub.bodies) == 4
        assert stub.bodies[-1]["max_completion_tokens"] == 3
        ask(agent)
        assert len(stub.bodies) == 5


def test_a_reply_longer_than_the_model_takes_is_the_settings_mistake_and_said():
    text = "max_tokens=512 cannot be greater than max_model_len=256"
    with serving(status(400, text)) as stub:
        with pytest.raises(InfraFailure, match="max_model_len=256"):
            ask(HTTPAgent(stub.url, "m"))
        assert all("max_tokens" in body for body in stub.bodies)


def test_a_silent_400_drops_the_token_ids_once_and_not_after_an_answer():
    def picky(request, body):
        wrong = "return_token_ids" in body
        return status(400, "Bad Request")(request, body) if wrong else says()(request, body)

    with serving(picky) as stub:
        assert not ask(HTTPAgent(stub.url, "m")).trainable
    with serving(says(prompt_ids=[1], ids=[2], logprobs=[0.0]), status(400, "no")) as stub:
        agent = HTTPAgent(stub.url, "m")
        ask(agent)
        with pytest.raises(InfraFailure, match="status 400"):
            ask(agent)


def test_training_without_ids_is_refused_with_a_way_out():
    with serving(says()) as stub, pytest.raises(ConfigError, match="vLLM 0.10.2"):
        ask(HTTPAgent(stub.url, "m", need_ids=True))


def test_log_probabilities_of_another_temperature_are_never_passed_on():
    step = says(prompt_ids=[1], ids=[2], logprobs=[-1.0])
    with serving(step) as stub:
        assert not ask(HTTPAgent(stub.url, "m"), temperature=0.7).reply_logprobs
        processed = HTTPAgent(stub.url, "m", logprobs_at_temperature=True)
        assert ask(processed, temperature=0.7).reply_logprobs == array("f", [-1.0])
        with pytest.raises(ConfigError, match="sample at 1"):
            ask(HTTPAgent(stub.url, "m", need_ids=True), temperature=0.7)


@pytest.mark.parametrize(
    "text",
    [
        '{"error": {"code": "context_length_exceeded"}}',
        '{"error": {"message": "This model\'s maximum context length is 64 tokens."}}',
    ],
)
def test_a_conversation_that_is_too_long_is_the_agents_end_not_a_failure(text):
    with serving(status(400, text)) as stub, pytest.raises(ContextOverflow):
        ask(HTTPAgent(stub.url, "m"))


def test_a_content_filter_is_no_reply():
    with serving(says("", finish_reason="content_filter")) as stub:
        with pytest.raises(InfraFailure, match="content_filter"):
            ask(HTTPAgent(stub.url, "m", retries=QUICK))


def test_cancelling_leaves_the_connection_pool_usable():
    with serving(hangs, says("later")) as stub:
        agent = HTTPAgent(stub.url, "m")

        async def play():
            task = asyncio.create_task(agent.act(HELLO, sampling=Sampling(), seed=0))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await agent.act(HELLO, sampling=Sampling(), seed=0)

        assert asyncio.run(play()).message.content == "later"


def test_tool_calls_are_text_on_the_wire_and_dicts_here():
    call = ToolCall(id="c1", name="f", arguments={"x": "ä", "n": 1})
    message = Message(role="assistant", tool_calls=(call,))
    wire = message_to_wire(message)
    assert wire["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x": "ä", "n": 1}'}
    assert wire["content"] is None
    assert message_from_wire(wire) == message
    assert message_to_wire(tool("42", "c1", "f")) == {
        "role": "tool",
        "content": "42",
        "tool_call_id": "c1",
    }


@pytest.mark.parametrize("wrong", ['{"x": ', "[1]", '{"x": NaN}', '{"x": "\\ud800"}'])
def test_arguments_that_cannot_be_read_stay_visible_to_the_environment(wrong):
    data = {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": wrong}}]}
    found = message_from_wire(data)
    assert found.tool_calls == () and json.dumps(wrong) in found.content


def test_reasoning_is_read_from_both_names_that_servers_use():
    for name in ("reasoning_content", "reasoning"):
        assert message_from_wire({"content": "a", name: "b"}).reasoning == "b"


def test_bare_function_schemas_are_wrapped_for_the_wire():
    bare = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    with serving(says()) as stub:
        ask(HTTPAgent(stub.url, "m"), Context(episode="e", tools=(bare,), new=(user("hi"),)))
        assert stub.bodies[0]["tools"] == [{"type": "function", "function": bare}]
