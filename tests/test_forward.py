"""The packed forward equals one segment at a time, and neighbours never leak into each other."""

import shutil
from dataclasses import replace

import pytest
import torch
import transformers

from test_batch import trajectory, turn
from turngym.trainers.batch import collate
from turngym.trainers.forward import lay_out, micro_batches, policy_output
from turngym.types import EpisodeStatus

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6, "final_logit_softcapping": 5.0},
}
BACKENDS = [
    (name, attention)
    for name in ARCHITECTURES
    for attention in ("eager", "sdpa")
    if (name, attention) != ("gemma2", "sdpa")  # not offered by transformers
]

# transformers and torch use parts of torch that it is about to drop.
FLEX = pytest.param(
    "llama",
    "flex_attention",
    marks=[  # compiled: half a minute
        pytest.mark.slow,
        pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler"),
    ],
)
FLEX_WARNS = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def model_of(name, attention):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **{**SIZES, **ARCHITECTURES[name]})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    for parameter in model.parameters():  # large weights, so that a leak cannot hide
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def episodes(seed=0):
    """Five trajectories of very different lengths; the third has two segments."""
    draw = torch.Generator().manual_seed(seed)

    def ids(count):
        return torch.randint(1, 50, (count,), generator=draw).tolist()

    return [
        trajectory([turn(ids(3), ids(2), opens=True)]),
        trajectory([turn(ids(5), ids(4), opens=True), turn(ids(4), ids(6)), turn(ids(9), ids(1))]),
        trajectory([turn(ids(2), ids(3), opens=True), turn(ids(7), ids(2), opens=True)]),
        trajectory([turn(ids(1), ids(1), opens=True)]),
        trajectory([turn(ids(8), ids(8), opens=True), turn(ids(1), ids(5))]),
    ]


def by_hand(model, batch):
    """Each segment alone through the model's own forward."""
    result = torch.zeros(batch.num_tokens)
    for start, end in zip(batch.cu_tokens[:-1].tolist(), batch.cu_tokens[1:].tolist(), strict=True):
        ids = batch.token_ids[start:end]
        logprobs = model(ids.unsqueeze(0)).logits[0].float().log_softmax(-1)
        for n in range(start, end):
            if batch.turn_of_token[n] >= 0:
                result[n] = logprobs[n - start - 1, batch.token_ids[n]]
    return result


@FLEX_WARNS
@pytest.mark.parametrize(("name", "attention"), [*BACKENDS, FLEX])
@torch.no_grad()
def test_packed_equals_one_by_one(name, attention):
    model = model_of(name, attention)
    batch = collate(episodes())
    out = policy_output(model, batch)
    torch.testing.assert_close(out.logprobs, by_hand(model, batch), atol=1e-5, rtol=1e-5)
    layout = lay_out(batch)
    assert layout.input_ids.shape[0] < batch.num_segments, "the test must really pack segments"


@FLEX_WARNS
@pytest.mark.parametrize(("name", "attention"), [*BACKENDS, FLEX])
@torch.no_grad()
def test_changing_a_neighbour_changes_nothing(name, attention):
    model = model_of(name, attention)
    batch = collate(episodes())
    before = policy_output(model, batch).logprobs
    segment = 1
    start, end = batch.cu_tokens[segment : segment + 2].tolist()
    changed = batch.token_ids.clone()
    changed[start:end] = (changed[start:end] + 7) % 49 + 1
    after = policy_output(model, replace(batch, token_ids=changed)).logprobs
    outside = torch.ones(batch.num_tokens, dtype=torch.bool)
    outside[start:end] = False
    assert torch.equal(before[outside], after[outside])
    assert not torch.equal(before[start:end], after[start:end])


def test_a_single_row_holds_every_segment_in_order_of_length():
    batch = collate(episodes())
    layout = lay_out(batch, single_row=True)
    assert layout.input_ids.shape == (1, batch.num_tokens)
    assert torch.equal(layout.input_ids.view(-1)[layout.place], batch.token_ids)
    assert int((layout.position_ids == 0).sum()) == batch.num_segments


@torch.no_grad()
def test_temperature_and_entropy():
    model = model_of("llama", "sdpa")
    batch = collate(episodes())
    warm = replace(batch, temperature=torch.full_like(batch.temperature, 2.0))
    out = policy_output(model, warm, entropy=True)
    start, end = 0, int(batch.cu_tokens[1])
    logits = model(batch.token_ids[start:end].unsqueeze(0)).logits[0] / 2.0
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(out.entropy[3:5], expected[2:4], atol=1e-5, rtol=1e-5)
    assert out.logprobs[3] == pytest.approx(
        float(logits.log_softmax(-1)[2, batch.token_ids[3]]), abs=1e-5
    )


@torch.no_grad()
def test_what_nobody_trains_on_gets_zero():
    done = episodes()
    broken = replace(done[1], status=EpisodeStatus.ENV_ERROR)
    batch = collate([done[0], broken])
    out = policy_output(model_of("llama", "sdpa"), batch).logprobs
    assert (out != 0).sum() == 2 and bool((out[:3] == 0).all())
    nothing = collate([broken])
    assert not policy_output(model_of("llama", "sdpa"), nothing).logprobs.any()


def test_a_turn_without_a_prompt_is_refused():
    batch = collate([trajectory([turn([], [3, 4], opens=True)])])
    with pytest.raises(ValueError, match="needs a prompt"):
        policy_output(model_of("llama", "sdpa"), batch)


def test_micro_batches_give_the_same_values_and_gradients():
    model = model_of("llama", "sdpa").double()
    batch = collate(episodes())
    whole = policy_output(model, batch)
    weights = torch.randn(batch.num_tokens, generator=torch.Generator().manual_seed(1))
    (whole.logprobs * weights).sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    parts = micro_batches(batch, max_tokens=20)
    assert len(parts) > 2
    seen = torch.zeros(batch.num_tokens, dtype=torch.int64)
    for part, tokens, _ in parts:
        out = policy_output(model, part).logprobs
        torch.testing.assert_close(out, whole.logprobs[tokens].detach(), atol=1e-5, rtol=1e-5)
        (out * weights[tokens]).sum().backward()
        seen[tokens] += 1
    assert bool((seen == 1).all())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-5)
