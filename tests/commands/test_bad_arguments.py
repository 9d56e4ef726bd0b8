"""Bad command lines, as a table: one line that names what is wrong, and nothing read or run.

`tests/test_inputs.py` is the same for the functions of the package.
"""

import itertools
import shlex

import pytest

from gradmatch_jax.commands import select
from gradmatch_jax.training import build, loop
from refusals import refused, set_traps
from toys import LONG

# Every option that is a number, with what it may not be beside what none may.
FLOATS = {
    "lam": "-0.1", "eps": "-1e-9", "refresh": "0", "ratio": "1", "kappa": "0", "pool": "1.01",
    "tail": "1", "lr": "0", "momentum": "1", "weight-decay": "-1", "imbalance": "0",
    "imbalance-classes": "2", "validation-fraction": "1", "checkpoint-seconds": "-1",
    "fraction": "0",
}  # fmt: skip
NO_FLOAT = ("-inf", "1e39", "0,5", "one")  # each option has one of them, in turn
INTS = {
    "select-every": "0", "proxy-epochs": "10001", "proxy-runs": "0", "epochs": "0",
    "batch-size": "0", "image-size": "4097", "eval-every": "-5", "checkpoint-steps": "-1",
    "seed": "-1", "read-threads": "-1", "read-ahead": "0", "read-workers": "-1",
}  # fmt: skip
NO_INT = ("nan", "1.5", "1e3")
# Names of a list, another case and another name: the nearest one is told.
NAMES = {
    "strategy": ("GRADMATCH", "gradmatch"), "dataset": ("Digits", "digits"),
    "model": ("LeNet", "lenet"), "proxy": ("Resnet18", "resnet18"),
}  # fmt: skip
CHOICES = {
    "form": "Gram", "fill": "RANDOM", "lam-scale": "rel", "greedy": "Taylor", "reader": "tf",
    "weighting": "mean", "like-by": "joules",
}  # fmt: skip

# What is refused by one line of code for every number: `.ci/more` tries each option with each.
ALIKE = [
    *((f"train --{name} {value}", f"--{name}")
      for name, other in zip(FLOATS, itertools.cycle(NO_FLOAT), strict=False)
      for value in ("nan", other)),
    *((f"train --{name} {value}", f"--{name}")
      for name, other in zip(INTS, itertools.cycle(NO_INT), strict=False)
      for value in (str(10**20), other)),
]  # fmt: skip
TRAIN = [
    *((f"train --{name} {own}", f"--{name}") for name, own in (FLOATS | INTS).items()),
    *ALIKE[::8],
    *((f"train --{name} {value}", f"'{value}'") for name, value in CHOICES.items()),
    *((f"train --{name} {case}", f"Did you mean '{meant}'")
      for name, (case, meant) in NAMES.items()),
    *((f"train --{name}", f"--{name} needs a value") for name in (*INTS, *NAMES, "out", "lam")),
    *((f"train --{name} ''", f"--{name} is given an empty value")
      for name in ("lam", "epochs", "strategy", "dataset", "out", "data-dir", "like", "form")),
    ("train --out=", "--out is given an empty value"),
    ("train --out ' '", "--out is given an empty value"),
    ("train --strategy -warm", "--strategy"),
    ("train --strategy gradmatch-warm-warm", "gradmatch-warm"),
    ("train --strategy 'grad match'", "gradmatch"),
    ("train --strategy 'a\nb'", "a"),
    ("train --strategy '\x1b[31mred'", "red"),
    ("train --strategy \udcff", "strategy"),
    ("train --dataset ../digits", "digits"),
    ("train --warm yes", "yes"),
    ("train --warm=1", "1"),
    ("train --no-nonneg", "did you mean --nonnegative?"),
    ("train --lamb 1", "--lam"),
    ("train -- --lam", "--lam"),
    ("train gradmatch", "gradmatch"),
    ("train --epochs 5 6", "6"),
    ("train --fraction 0.1 0.2", "0.2"),
    ("train --out ~nobody-here/run", "~nobody-here"),
    ("train --data-dir ~nobody-here/x", "~nobody-here"),
    ("train --compilation-cache ~nobody-here/x", "~nobody-here"),
    ("train --compilation-cache file", "compilation cache"),
    ("train --compilation-cache file/below", "compilation cache"),
    ("train --compilation-cache dangling", "compilation cache"),
]  # fmt: skip
# Each is sound alone, and not here.
CONTRADICTIONS = [
    ("--strategy random --lam 0.5", "--lam does not apply to random"),
    ("--strategy random --no-nonnegative", "--nonnegative does not apply to random"),
    ("--strategy craig --form gram", "--form does not apply"),
    ("--strategy craig --fill none", "--fill does not apply"),
    ("--strategy craig --validation-target", "--validation-target does not apply"),
    ("--strategy full --fraction 1", "--fraction does not apply"),
    ("--strategy full --warm", "--warm does not apply"),
    ("--strategy full-warm", "--warm does not apply"),
    ("--strategy full --weighting none", "--weighting does not apply"),
    ("--strategy infobatch --fraction 0.1", "--fraction does not apply"),
    ("--strategy infobatch --select-every 20", "--select-every does not apply"),
    ("--strategy gradmatch --ratio 0.5", "--ratio does not apply"),
    ("--strategy gradmatch --tail 0.125", "--tail does not apply"),
    ("--strategy gradmatch --kappa 0.5", "--kappa needs --warm"),
    ("--strategy gradmatch --greedy taylor", "--greedy does not apply"),
    ("--strategy gradmatch --refresh 0.03", "--refresh does not apply"),
    ("--strategy gradmatch --proxy mlp", "--proxy does not apply"),
    ("--strategy gradmatch --proxy-runs 1", "--proxy-runs does not apply"),
    ("--strategy gradmatch --like finished", "--like does not apply"),
    ("--strategy el2n --select-every 5", "--select-every does not apply"),
    ("--strategy el2n-warm --proxy-epochs 3", "--proxy-epochs needs --proxy"),
    ("--strategy forgetting --pool 0.5", "--pool does not apply"),
    ("--strategy adaptive-random --pool 1", "--pool does not apply"),
    ("--strategy full-earlystop --like-by examples", "--like-by needs --like"),
    ("--strategy full-earlystop --warm", "--warm does not apply"),
    ("--form features --lam 0", "form features needs lam > 0"),
    ("--imbalance-classes 0.3", "--imbalance-classes needs --imbalance"),
    ("--image-size 224", "--image-size needs --dataset imagenet"),
    ("--out file", "--out file is a file"),
    ("--out file/run", "--out file/run"),
    ("--out full-of-things", "is not empty and holds no run"),
    ("--out dangling", "--out dangling"),
    ("--out circle", "--out circle"),
    ("--out another-run", "another configuration"),
    ("--out damaged-run", "is damaged"),
    ("--out /proc/run", "--out /proc/run"),
    (f"--out {'n' * 300}", "File name too long"),
    ("--strategy full-earlystop --like nothing", "--like nothing is no finished run"),
    ("--strategy full-earlystop --like file", "--like file is no finished run"),
    ("--strategy full-earlystop --like bad-json", "is no result"),
    ("--strategy full-earlystop --like not-utf8", "is no result"),
    ("--strategy full-earlystop --like a-list", "is no result"),
    ("--strategy full-earlystop --like nan-seconds", "train_seconds that cannot be"),
    ("--strategy full-earlystop --like negative", "selection_seconds that cannot be"),
    ("--strategy full-earlystop --like words-for-joules", "is no result"),
]
COMPARE = [
    ("--strategies", "--strategies is empty"),
    ("--fractions", "--fractions is empty"),
    ("--seeds", "--seeds is empty"),
    ("--strategies gradmatch rendom", "Did you mean 'random'"),
    ("--strategies Random", "Did you mean 'random'"),
    ("--strategies ''", "--strategies is given an empty value"),
    *((f"--fractions 0.1 {value}", "--fraction") for value in ("0", "1.5", "-0.1", "nan", "x")),
    *((f"--seeds 0 {value}", "--seed") for value in ("-1", "4294967296", "1.5", "nan", "x")),
    ("--seed 3", "--seeds"),
    ("--strategy gradmatch", "--strategies"),
    ("--epochs 0", "--epochs"),
    ("--eval-every 0", "--eval-every"),
    ("--dataset mnst", "Did you mean 'mnist'"),
    ("--model LENET", "Did you mean 'lenet'"),
    ("--lam nan", "--lam"),
    ("--lr -1", "--lr"),
    ("--form gramm", "gramm"),
    ("--strategies random --lam 0.1", "--lam applies to none"),
    ("--strategies random gradmatch --kappa 0.2", "--kappa applies to none"),
    ("--strategies gradmatch --proxy-runs 2", "--proxy-runs applies to none"),
    ("--out file", "file"),
    ("--out dangling", "dangling"),
    ("--out /proc/compare", "/proc/compare"),
    ("--out compared", "another configuration"),
    ("--out ~nobody-here", "~nobody-here"),
]
SELECT = [
    ("", "missing --input, --out"),
    ("--budget 3", "missing --input, --out"),
    ("--input in.npz --out o.npz", "give --budget or --fraction"),
    ("--input in.npz --out o.npz --fraction 1.5", "--fraction"),
]
# What `select --input in.npz --budget 3 --out o.npz` refuses beside.
SELECT_MORE = [
    *((f"--budget {value}", "--budget")
      for value in ("0", "-1", "1.5", "nan", "3000000000", "x", "''")),
    *((f"--{name} {value}", f"--{name}")
      for name in ("lam", "eps") for value in ("nan", "inf", "-1", "x", "''")),
    *((f"--seed {value}", "--seed") for value in ("-1", "4294967296", "0.5", "nan")),
    *((f"--strategy gradmatch-pb --batch-size {value}", "--batch-size")
      for value in ("0", "-1", "1.5", "3000000000")),
    ("--batch-size 7", "--batch-size does not apply to gradmatch"),
    ("--lr 0.1", "--lr does not apply to gradmatch"),
    ("--strategy craig --lam 0.1", "--lam does not apply to craig"),
    ("--method exact", "--method"),
    ("--strategy Per-Class", "Per-Class"),
    ("--strategy gradmatch-warm", "gradmatch-warm"),
    ("--form dense", "dense"),
    ("--fill all", "all"),
    ("--lam-scale Relative", "Relative"),
    ("--nonnegative false", "false"),
    ("--form support --lam 0", "form support needs lam > 0"),
    ("--fraction 0.1", "give --budget or --fraction"),
    ("--strategy random", "--strategy random chooses without a pass"),
    ("--out o.txt", "--out o.txt must end in .npz"),
    ("--out o", "must end in .npz"),
    ("--out in.npz", "exists"),
    ("--out folder.npz", "exists"),
    ("--out dangling.npz", "exists"),
    ("--out nothing/o.npz", "there is no folder nothing"),
    ("--out file/o.npz", "file"),
    ("--out /proc/o.npz", "--out /proc/o.npz"),
    (f"--out {'n' * 300}.npz", "File name too long"),
    ("--out ~nobody-here/o.npz", "~nobody-here"),
    ("--input nothing.npz", "--input nothing.npz is no file"),
    ("--input folder.npz", "--input folder.npz is no file"),
    ("--input dangling.npz", "--input dangling.npz is no file"),
    ("--input circle", "--input circle"),
    ("--input file/in.npz", "--input file/in.npz"),
    (f"--input {'n' * 300}.npz", "--input"),
    ("--input ~nobody-here/in.npz", "~nobody-here"),
    ("--input /proc", "--input /proc is no file"),
    ("--compilation-cache file", "compilation cache"),
]  # fmt: skip
REST = [
    ("", "train, compare, predict, select, runs, strategies"),
    ("trian", "trian"),
    ("TRAIN", "TRAIN"),
    ("''", "empty"),
    ("--vers", "--vers"),
    ("--version train", "--version"),
    ("strategies gradmatch", "gradmatch"),
    ("strategies --lam 1", "--lam"),
    ("--lam 1 train", "--lam"),
    ("train compare", "compare"),
]
# Their files are looked at, and nothing is trained.
FILES = [
    *((f"--dataset {name} --data-dir {where}", where)
      for name in ("mnist", "cifar10", "cifar100", "svhn", "imagenet", "npz", "tsv")
      for where in ("nothing", "file", "dangling")),
    *((f"--dataset {name} --data-dir full-of-things", "full-of-things")
      for name in ("mnist", "cifar10", "cifar100", "svhn", "imagenet", "npz", "tsv")),
    ("--dataset npz", "--data-dir"),
    ("--dataset tsv", "--data-dir"),
    ("--dataset npz --data-dir in.npz", "in.npz"),
    ("--reader tfds", "digits is not read through tfds"),
    ("--dataset mnist --model embedding-bag --data-dir nothing", "nothing"),
    ("--model embedding-bag", "embedding-bag"),
    ("--model resnet18 --strategy el2n --proxy embedding-bag", "embedding-bag"),
    ("--imbalance 0.1 --imbalance-classes 0.01", "raise the share of classes"),
    ("--validation-fraction 1e-9", "leaves nothing"),
]  # fmt: skip
LINES = [
    *TRAIN,
    *((f"train {line}", said) for line, said in CONTRADICTIONS),
    *((f"compare {line}", said) for line, said in COMPARE),
    *((f"select {line}", said) for line, said in SELECT),
    *((f"select --input in.npz --out o.npz --budget 3 {line}", said) for line, said in SELECT_MORE),
    *REST,
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory full of traps."""
    monkeypatch.chdir(tmp_path)
    set_traps(tmp_path)
    return tmp_path


@pytest.fixture
def untouched(monkeypatch):
    """Fail where data are read or anything is trained."""

    def touched(*args, **kwargs):
        raise AssertionError("too late: data are read here, or an epoch is run")

    monkeypatch.setattr(build, "load_dataset", touched)
    monkeypatch.setattr(loop, "advance", touched)
    monkeypatch.setattr(select, "read_arrays", touched)


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name != ".lock")


EVERY = [*LINES, *(pytest.param(*case, marks=LONG) for case in ALIKE if case not in LINES)]


@pytest.mark.thorough
@pytest.mark.parametrize(("line", "said"), EVERY, ids=lambda text: repr(text)[:80])
def test_refused(place, untouched, monkeypatch, capsys, line, said):
    before = tree(place)
    answer = refused(monkeypatch, capsys, *shlex.split(line))
    assert said in answer
    assert tree(place) == before


@pytest.mark.thorough
@pytest.mark.parametrize(("line", "said"), FILES, ids=[line for line, _ in FILES])
def test_unfit_files_and_data_are_refused(place, monkeypatch, capsys, line, said):
    def touched(*args):
        raise AssertionError("too late: an epoch is run")

    monkeypatch.setattr(loop, "advance", touched)
    before = tree(place)
    assert said in refused(monkeypatch, capsys, "train", *shlex.split(line))
    assert tree(place) == before


def test_no_line_is_there_twice():
    assert len(dict(LINES)) == len(LINES)
    assert len(dict(FILES)) == len(FILES)
