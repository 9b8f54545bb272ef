import errno
import json
import shutil
import threading
from pathlib import Path

import pytest

from infra.runtime import default_model
from infra.runtime.default_model import MODEL_NAME, ModelUnavailable, ensure_default_model


def _instead(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model, "_convert", write)


def _small(_source: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def test_the_made_model_has_all_that_engines_read(model_dir: Path) -> None:
    """Weights as float32, config, tokenizer, template and end marks lie in one directory."""
    from safetensors import safe_open  # noqa: PLC0415 - only here

    config = json.loads((model_dir / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert {path.name for path in model_dir.iterdir()} >= {
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    with safe_open(model_dir / "model.safetensors", framework="np") as weights:
        assert weights.get_slice("model.layers.29.self_attn.q_proj.weight").get_shape() == [576, 576]
        assert weights.get_slice("model.embed_tokens.weight").get_dtype() == "F32"


def test_a_second_call_makes_nothing_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call says one line; later ones find the directory."""
    _instead(_small, monkeypatch)
    said: list[str] = []
    place = ensure_default_model(tmp_path, said.append)
    assert place == tmp_path / "models" / MODEL_NAME
    assert len(said) == 1
    assert ensure_default_model(tmp_path, said.append) == place
    assert len(said) == 1


def test_two_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that ask at the same time one makes the model, the other waits for it."""
    begun, made = threading.Event(), []

    def slow(source: Path, folder: Path) -> None:
        made.append(folder)
        begun.wait(5)
        _small(source, folder)

    _instead(slow, monkeypatch)
    askers = [threading.Thread(target=ensure_default_model, args=(tmp_path,)) for _ in range(2)]
    for asker in askers:
        asker.start()
    begun.set()
    for asker in askers:
        asker.join(10)
    assert len(made) == 1


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails is one sentence; no half model is found later, and what a dead process left is swept away."""

    def full(_source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    left_behind = tmp_path / "models" / f".{MODEL_NAME}.partial-dead"
    left_behind.mkdir(parents=True)
    _instead(full, monkeypatch)
    with pytest.raises(ModelUnavailable, match="No space left on device"):
        ensure_default_model(tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [f".{MODEL_NAME}.lock"]


def test_too_little_room_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with too little room is named with both figures."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 50 << 20))
    with pytest.raises(ModelUnavailable, match="has 50 MB free and the model needs 572 MB"):
        ensure_default_model(tmp_path)


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base install names the extra, and the engine that needs none."""
    monkeypatch.setattr(default_model, "_WHEEL", "not_installed_here")
    with pytest.raises(ModelUnavailable, match="--engine simulated"):
        ensure_default_model(tmp_path)
