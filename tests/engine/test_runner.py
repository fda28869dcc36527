from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_oracle import PackedSequences, save_random_model

from engine.config import ConfigError, resolve_config
from engine.models.config import UnsupportedModelError
from engine.runner import Runner
from engine.wire import EngineConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_random_model(path, "Llama").half().save_pretrained(path)
    return path


def config(folder: Path, **settings: object) -> EngineConfig:
    return EngineConfig(model=str(folder), **{"device": "cpu", "num_threads": 1, **settings})  # type: ignore[arg-type]


def test_information_tells_what_was_resolved(folder: Path) -> None:
    runner = Runner(resolve_config(config(folder, max_running=3, max_model_len=100)))
    info = runner.info
    assert info.architecture == "LlamaForCausalLM"
    assert (info.device, info.dtype, info.attention_backend) == ("cpu", "float32", "numba")
    assert (info.vocab_size, info.max_model_len) == (131, 100)
    assert info.kv_cache_tokens == runner.pool.num_slots == 300  # three sequences at full length need no more
    assert torch.get_num_threads() == 1


def test_the_pool_has_as_many_slots_as_asked_for(folder: Path) -> None:
    assert Runner(resolve_config(config(folder, kv_cache_tokens=777))).pool.num_slots == 777


def test_the_last_position_of_the_model_can_be_computed(folder: Path) -> None:
    runner = Runner(resolve_config(config(folder, max_running=1)))
    packed = PackedSequences(256)
    packed.add([1] * 256)
    logits = runner.forward(packed.batch([(0, 256)], "last"))
    assert logits.shape == (1, 131)
    assert logits.isfinite().all()


def test_steps_in_any_order_leave_no_trace_in_each_other(folder: Path) -> None:
    runner = Runner(resolve_config(config(folder, kv_cache_tokens=512)))

    def run() -> torch.Tensor:
        packed = PackedSequences(512)
        packed.add(list(range(50)))
        return runner.forward(packed.batch([(0, 50)]))

    first = run()
    other = PackedSequences(512)
    other.add([7] * 200)
    runner.forward(other.batch([(0, 200)]))
    assert torch.equal(run(), first)


@pytest.mark.parametrize("num_tokens", [1, 7, 200])
def test_cores_that_others_keep_busy_are_left_to_them_and_change_no_bit(folder: Path, num_tokens: int) -> None:
    runner = Runner(resolve_config(config(folder, num_threads=2)))
    packed = PackedSequences(512)
    packed.add([3] * num_tokens)
    batch = packed.batch([(0, num_tokens)])
    alone = runner.forward(batch)
    assert torch.get_num_threads() == 2
    for num_taken in (1, 5):
        assert torch.equal(runner.forward(batch, num_taken=num_taken), alone)
        assert torch.get_num_threads() == 1
    assert torch.equal(runner.forward(batch), alone)


def test_auto_dtype_is_the_models_and_float16_becomes_float32_on_a_cpu(folder: Path, tmp_path: Path) -> None:
    assert resolve_config(config(folder)).model.dtype == "float16"
    assert resolve_config(config(folder)).dtype == "float32"
    save_random_model(tmp_path, "Llama").bfloat16().save_pretrained(tmp_path)
    assert resolve_config(config(tmp_path)).dtype == "bfloat16"
    assert resolve_config(config(tmp_path, dtype="float32")).dtype == "float32"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float16"}, "float16 is not computed on cpu"),
        ({"max_model_len": 257}, "256 positions"),
        ({"max_model_len": 0}, "max_model_len must be at least 1"),
        ({"max_running": 0}, "max_running must be at least 1"),
        ({"attention_backend": "flash"}, "attention_backend 'flash' is unknown"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_met_are_refused_by_name(
    folder: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_config(config(folder, **settings))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused_and_auto_takes_the_cpu(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        resolve_config(config(folder, device="cuda"))
    assert resolve_config(config(folder, device="auto")).device == "cpu"


def test_a_pool_too_small_for_one_sequence_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="less than one sequence of max_model_len 256"):
        Runner(resolve_config(config(folder, kv_cache_tokens=255)))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"no config\.json"):
        resolve_config(config(tmp_path))


def test_a_step_of_nothing_sampled_gives_no_logits(folder: Path) -> None:
    runner = Runner(resolve_config(config(folder, kv_cache_tokens=512)))
    packed = PackedSequences(512)
    packed.add([1, 2, 3, 4])
    batch = packed.batch([(0, 2)], "last")
    object.__setattr__(batch, "logits_indices", np.empty(0, np.int64))  # a chunk of a prompt samples nothing
    assert runner.forward(batch).shape == (0, 131)
