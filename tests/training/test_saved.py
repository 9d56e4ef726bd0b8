"""`load_run`: what a run trained, again from its folder, in Python and as a command."""

import json
import sys

import numpy as np
import pytest

from gradmatch_jax import Dataset, TrainConfig, cli, load_run, train
from gradmatch_jax.data import load_dataset
from gradmatch_jax.errors import UserError
from toys import linear, toy, toy_dataset

FIVE = ("full-earlystop", "adaptive-random", "gradmatch", "craig-pb", "infobatch")


def run_of(out, strategy="random", **settings):
    given = {"fraction": 0.1, "epochs": 2, "model": "logistic"} | settings
    if strategy == "infobatch":
        del given["fraction"]
    return train(TrainConfig(strategy=strategy, **given), out)


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", FIVE)
def test_predictions_have_the_accuracy_of_the_result(strategy, tmp_path):
    run_of(tmp_path / "run", strategy)
    saved = load_run(tmp_path / "run")
    test = load_dataset("digits").test
    said = json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"]
    hits = saved.predict(test.inputs).argmax(axis=1) == test.labels
    assert 100 * float(np.mean(hits)) == pytest.approx(said, abs=1e-9)
    assert saved.evaluate("test") == said
    assert saved.result is not None
    assert saved.evaluate("validation") == saved.result["validation_accuracy"]


def test_what_a_folder_holds(tmp_path):
    done = run_of(tmp_path / "run", "adaptive-random", epochs=3)
    saved = load_run(tmp_path / "run")
    assert saved.config == TrainConfig(
        strategy="adaptive-random", fraction=0.1, epochs=3, model="logistic", batch_size=20, lr=0.01
    )
    assert saved.history == done.log
    assert [chosen.epoch for chosen in saved.selections] == [0, 1, 2]
    assert all(len(chosen.rows) == len(chosen.weights) == 129 for chosen in saved.selections)
    trained = done.state.learner.variables.params
    np.testing.assert_array_equal(
        saved.variables.params["head"]["kernel"], trained["head"]["kernel"]
    )
    assert set(saved.parameters()) == {"head.kernel", "head.bias"}
    images = load_dataset("digits").test.inputs[:3]
    np.testing.assert_allclose(saved.predict(images[..., 0]), saved.predict(images))


def test_your_own_model_and_data_are_passed(tmp_path):
    done = toy(tmp_path / "run", strategy="random")
    with pytest.raises(UserError, match="model=it"):
        load_run(tmp_path / "run")
    saved = load_run(tmp_path / "run", dataset=toy_dataset(), model=linear())
    assert saved.evaluate() == done.summary["test_accuracy"]


@pytest.mark.thorough
def test_texts(tmp_path):
    ids = np.array([[2, 3, 0], [4, 2, 0]] * 20, np.int32)
    data = Dataset.from_arrays(
        "words", ids, np.arange(40) % 2, ids[:8], np.arange(8) % 2,
        vocabulary=("", "<unk>", "good", "day", "bad"),
    )  # fmt: skip
    config = TrainConfig(
        strategy="full-earlystop", fraction=1.0, epochs=20, lr=0.5, model="embedding-bag"
    )
    train(config, tmp_path / "run", dataset=data)
    saved = load_run(tmp_path / "run")
    np.testing.assert_array_equal(saved.predict(["Good day", "bad good"]).argmax(axis=1), [0, 1])
    np.testing.assert_allclose(saved.predict(["Good day"]), saved.predict(ids[:1]))


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    run_of(tmp_path / "run")
    saved = load_run(tmp_path / "run")
    saved.export(tmp_path / "m.safetensors")
    read = numpy.load_file(tmp_path / "m.safetensors")
    assert read.keys() == saved.parameters().keys()
    for name, array in saved.parameters().items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.thorough
def test_lenet_in_pytorch_has_the_same_logits(tmp_path):
    """Of the exported file alone: Flax's layouts turned into PyTorch's."""
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    from torch.nn import functional

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    data = Dataset.from_arrays("mine", images, np.arange(40) % 3, images[:9], np.arange(9) % 3)
    config = TrainConfig(strategy="random", fraction=0.5, epochs=1, model="lenet")
    train(config, tmp_path / "run", dataset=data)
    saved = load_run(tmp_path / "run")
    saved.export(tmp_path / "m.safetensors")
    of = load_file(tmp_path / "m.safetensors")

    prepare = saved.network.prepare
    x = torch.tensor((images / 255.0 - prepare.mean[0]) / prepare.std[0], dtype=torch.float32)
    x = x.permute(0, 3, 1, 2)
    for name, padding in (("conv1", 2), ("conv2", 0)):
        kernel = of[f"{name}.kernel"].permute(3, 2, 0, 1)
        x = functional.conv2d(x, kernel, of[f"{name}.bias"], padding=padding)
        x = functional.max_pool2d(functional.relu(x), 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for name in ("fc1", "fc2"):
        x = functional.relu(functional.linear(x, of[f"{name}.kernel"].T, of[f"{name}.bias"]))
    logits = functional.linear(x, of["head.kernel"].T, of["head.bias"])
    np.testing.assert_allclose(saved.predict(images), logits, atol=1e-4)


def test_the_command(tmp_path, monkeypatch, capsys):
    done = run_of(tmp_path / "run")
    test = load_dataset("digits").test
    np.savez(tmp_path / "x.npz", x=test.inputs, y=test.labels)
    np.savez(tmp_path / "short.npz", x=test.inputs, y=test.labels[1:])
    np.savez(tmp_path / "named.npz", x=test.inputs, y=test.labels.astype(str))

    def command(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["gradmatch-jax", "predict", "--run", str(tmp_path / "run"),
                          "--compilation-cache", "off", *map(str, arguments)],
        )  # fmt: skip
        cli.main()
        return capsys.readouterr().out

    said = command("--input", tmp_path / "x.npz", "--out", tmp_path / "p.npz")
    assert f"359 predictions, {done.summary['test_accuracy']:.2f} % right" in said
    found = np.load(tmp_path / "p.npz")
    assert found["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(found["logits"].argmax(axis=1), found["classes"])
    by_name = command("--input", tmp_path / "named.npz", "--out", tmp_path / "n.npz")
    assert f"{done.summary['test_accuracy']:.2f} % right" in by_name
    for arguments in (
        (),
        ("--input", tmp_path / "x.npz"),
        ("--input", tmp_path / "x.npz", "--out", tmp_path / "p.npz"),
        ("--input", tmp_path / "no.npz", "--out", tmp_path / "q.npz"),
        ("--input", tmp_path / "x.npz", "--out", tmp_path / "no" / "q.npz"),
        ("--input", tmp_path / "short.npz", "--out", tmp_path / "q.npz"),
    ):
        with pytest.raises(SystemExit) as stop:
            command(*arguments)
        assert stop.value.code == 2
        assert not (tmp_path / "q.npz").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "holds no run"),
        (lambda run: (run / "network.json").write_text("{"), "no whole network.json"),
        (lambda run: (run / "network.json").write_text("{}"), "is damaged"),
        (lambda run: (run / "checkpoints" / "2" / "log.jsonl").write_text(""), "no whole check"),
    ],
)
def test_damage_is_said(spoil, message, tmp_path):
    run_of(tmp_path / "run")
    spoil(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        load_run(tmp_path / "run")


def test_inputs_that_do_not_fit(tmp_path):
    run_of(tmp_path / "run")
    saved = load_run(tmp_path / "run")
    for x, message in (
        (np.zeros((2, 9, 9), np.uint8), "x: images are"),
        (np.zeros((2, 8, 8), np.float32), "expected uint8"),
        (["a text"], "trained on arrays"),
        (np.zeros(0), "x"),
    ):
        with pytest.raises(UserError, match=message):
            saved.predict(x)
    with pytest.raises(UserError, match="Did you mean 'test'"):
        saved.evaluate("tset")
