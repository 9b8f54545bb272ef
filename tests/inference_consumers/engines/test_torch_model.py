from pathlib import Path

import pytest
import torch

from inference_consumers.engines.settings import TorchSettings
from inference_consumers.engines.torch_model import TorchModel
from inference_consumers.engines.turn_schedule import Stretch, Turn, blocks
from schemas.errors import EngineDead

IDS = [1, 4093, 198, 504, 3575, 282, 4649, 314, 260, 1123, 284]


@pytest.fixture(scope="module")
def model(model_dir: Path) -> TorchModel:
    return TorchModel(model_dir, TorchSettings(threads=2))


def _turn(ids: list[int]) -> Turn:
    return Turn(id=str(ids), ids=list(ids), prompt_tokens=len(ids), allocated=blocks(len(ids) + 1))


def _read(model: TorchModel, turn: Turn, tokens: int) -> torch.Tensor:
    scores: torch.Tensor = model.compute([Stretch(turn, tokens)])
    turn.computed += tokens
    return scores


def test_scores_are_those_of_transformers_itself(model: TorchModel, model_dir: Path) -> None:
    """A prompt read by our attention scores as transformers' own does, within float noise."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - only here

    plain = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.inference_mode():
        expected = plain(torch.tensor([IDS])).logits[0, -1]
    ours = _read(model, _turn(IDS), len(IDS))[0]
    assert torch.allclose(ours, expected, atol=1e-3)


def test_stretches_read_as_the_whole_does(model: TorchModel) -> None:
    """A prompt in three stretches gives the scores of the prompt in one; no scores come before its end."""
    whole = _read(model, _turn(IDS), len(IDS))
    turn = _turn(IDS)
    assert _read(model, turn, 4).shape[0] == 0
    assert _read(model, turn, 1).shape[0] == 0
    assert torch.allclose(_read(model, turn, len(IDS) - 5), whole, atol=1e-3)


def test_turns_in_one_step_do_not_see_each_other(model: TorchModel) -> None:
    """Three turns of different length in one step score as each alone, in their order."""
    prompts = [IDS, IDS[:5], [*IDS, 17, 900]]
    alone = [_read(model, _turn(prompt), len(prompt))[0] for prompt in prompts]
    together = model.compute([Stretch(_turn(prompt), len(prompt)) for prompt in prompts])
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_a_copied_memory_goes_on_as_its_source_would(model: TorchModel) -> None:
    """Reading on behind a copy of the first tokens gives the scores of reading all."""
    source = _turn(IDS)
    whole = _read(model, source, len(IDS))
    other = _turn(IDS)
    other.memory, other.computed = source.memory.copied(6), 6
    assert torch.allclose(_read(model, other, len(IDS) - 6), whole, atol=1e-3)


def test_a_directory_without_weights_is_one_sentence(model_dir: Path, tmp_path: Path) -> None:
    """A model that transformers can't load is EngineDead with the directory's name."""
    (tmp_path / "config.json").write_bytes((model_dir / "config.json").read_bytes())
    with pytest.raises(EngineDead, match=str(tmp_path)):
        TorchModel(tmp_path, TorchSettings())
