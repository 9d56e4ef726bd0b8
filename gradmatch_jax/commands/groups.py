"""Help in groups, what is needed first: a command's flat settings as groups of flags, and back.

The settings stay one flat dataclass; only the command line sees groups. Each flag's help is the
field's own docstring, with the range that its annotation allows.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from gradmatch_jax.inputs.values import Range
from gradmatch_jax.solvers.options import MatchingOptions

REST = "other"  # the group of what no other names
# What `train` and `compare` share; a field that a command has not is passed over.
MAIN = (
    "strategy", "strategies", "fraction", "fractions", "warm", "dataset", "data_dir", "out", "seed",
    "seeds", "config",
)  # fmt: skip
NETWORK = (
    "model", "epochs", "batch_size", "lr", "optimizer", "schedule", "momentum", "weight_decay",
    "augment", "bf16",
)  # fmt: skip
RIVALS = (
    "greedy", "refresh", "ratio", "tail", "proxy", "proxy_epochs", "proxy_runs", "like", "like_by",
)  # fmt: skip
DATA = (
    "reader", "validation_fraction", "imbalance", "imbalance_classes", "label_noise", "image_size",
    "read_threads", "read_ahead", "read_workers",
)  # fmt: skip
GROUPS = (
    ("main", MAIN),
    ("network", NETWORK),
    (
        "selection",
        (
            "select_every",
            "pool",
            "pass_dtype",
            "kappa",
            "weighting",
            "validation_target",
            "target_shares",
        ),
    ),
    ("matching", tuple(field.name for field in dataclasses.fields(MatchingOptions))),
    ("rivals", RIVALS),
    ("data", DATA),
    ("processes", ("distributed", "coordinator", "processes", "process_id")),
)
OF_A_FILE = (
    ("main", ("strategy", "input", "budget", "fraction", "out", "seed")),
    *GROUPS[3:4],
    (
        "strategies",
        ("batch_size", "lr", "validation_target", "target_shares", "greedy", "refresh", "ratio"),
    ),
    ("losses", ("loss", "label_smoothing")),
)


def field_docs(cls: type) -> dict[str, str]:
    """The docstring of each field of a dataclass, its bases' among them, each in one line."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = getattr(tree, "body", [])
        for node, after in itertools.pairwise(body):
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[node.target.id] = " ".join(str(after.value.value).split())
    return docs


@functools.cache
def in_groups(cls: type, groups: tuple[tuple[str, tuple[str, ...]], ...]) -> type:
    """A dataclass of dataclasses, one a group, that parses to the fields of `cls`.

    Args:
        cls: the flat settings.
        groups: titles and the fields of each, in the order of the help; fields that are not there
          come last, as `REST`.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints, docs = typing.get_type_hints(cls, include_extras=True), field_docs(cls)
    named = {name for _, names in groups for name in names}
    rest = tuple(name for name in fields if name not in named)
    parts = []
    for title, names in (*groups, (REST, rest)):
        own = [name for name in names if name in fields]
        if not own:
            continue
        made = [_field(fields[name], hints[name], docs.get(name, "")) for name in own]
        part = dataclasses.make_dataclass(title, made, frozen=True, kw_only=True)
        part.__doc__ = ""
        required = any(_is_required(fields[name]) for name in own)
        made_of = dataclasses.field() if required else dataclasses.field(default_factory=part)
        parts.append((title, part, made_of))
    whole = dataclasses.make_dataclass(cls.__name__, parts, frozen=True, kw_only=True)
    whole.__doc__ = cls.__doc__
    return whole


def flat(cls: type, parsed: Any) -> Any:
    """The settings of class `cls` that were parsed in groups."""
    values: dict[str, Any] = {}
    for group in dataclasses.fields(parsed):
        part = getattr(parsed, group.name)
        values |= {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    return cls(**values)


def described(cls: type, *examples: str) -> str:
    """A command's description, with examples behind."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return "\n\n".join((text, "Examples:", *examples)) if examples else text


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """Settings as the command line writes them.

    >>> flags_of({"lr": 0.1, "warm": True, "augment": False, "proxy": None, "seeds": [0, 1]})
    ['--lr', '0.1', '--warm', '--no-augment', '--seeds', '0', '1']
    """
    words: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            several = value if isinstance(value, (list, tuple)) else (value,)
            words += [f"--{flag}", *map(str, several)]
    return words


def named(arguments: Sequence[str], of: type) -> frozenset[str]:
    """The settings of this class that a command line names, at whatever value.

    Example:
        >>> sorted(named(["train", "--out", "a", "--no-nonnegative", "--lam=1"], MatchingOptions))
        ['lam', 'nonnegative']
    """
    flags = (a[2:].split("=")[0].replace("-", "_") for a in arguments if a.startswith("--"))
    known = {field.name for field in dataclasses.fields(of)}
    return frozenset({f if f in known else f.removeprefix("no_") for f in flags} & known)


def _field(field: Any, hint: Any, doc: str) -> tuple[str, Any, Any]:
    annotated = typing.get_origin(hint) is Annotated
    kind, *known = typing.get_args(hint) if annotated else (hint,)
    ranges = [one for one in known if isinstance(one, Range)]
    said = "".join(f" {str(one)[0].upper()}{str(one)[1:]}." for one in ranges)
    help_ = next((x.help for x in known if getattr(x, "help", None)), doc)
    typed = Annotated[kind, tyro.conf.arg(help=f"{help_}{said}".strip())]  # type: ignore[valid-type]
    if _is_required(field):
        return field.name, typed, dataclasses.field()
    return field.name, typed, dataclasses.field(default=field.default)


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING
