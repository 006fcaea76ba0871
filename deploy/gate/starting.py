"""``edgeq gate init``: the first file of rules, from the files that are there."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.chain import chain, load_target
from edgeq.deploy.evaluation.compare import shorten
from edgeq.deploy.user_code import user_code_of
from edgeq.errors import UsageError
from edgeq.formats.artefact import detect
from edgeq.plan import Planner
from edgeq.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from edgeq.deploy.evaluation.chain import Pair

SUFFIXES = (".onnx", ".tflite")
_MOST = 12  # files that are taken without being named


def found_in(folder: Path) -> list[Path]:
    """The models below a folder, hidden folders left out.

    Raises:
        UsageError: there are none, or so many that nobody can tell which are meant.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES
        and path.is_file()
        and not path.stem.endswith(".before")  # a copy to compare with
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(
            f"there is no ONNX or TFLite file below {folder}", hint="name the files to judge"
        )
    if len(found) > _MOST:
        raise UsageError(
            f"there are {len(found)} models below {folder}", hint="name those to judge"
        )
    return found


def initial(
    artefacts: Sequence[Path],
    data: str,
    targets: Sequence[str],
    folder: Path,
    preprocessing: str | None = None,
    model: str | None = None,
    *,
    judged_by: Callable[[], str] = lambda: "top1",
) -> str:
    """The text of a file of rules that suits some files on the targets that work here.

    Args:
        artefacts: the files.
        data: the data set.
        targets: the runtimes; all that work here where none is named.
        folder: of the file of rules, which paths are told from.
        preprocessing: a name or a TOML file; None for what the files note.
        model: ``package.module:function``, the code of the checkpoints; None for none.
        judged_by: tells the task of the samples' labels, empty where they have none; asked once all
            files may be opened.

    Raises:
        UsageError: a checkpoint is of other code than ``model``, or ``model`` is of none.
        EdgeqError: see :func:`edgeq.deploy.evaluation.chain.chain`.
    """
    pairs = chain(artefacts, tuple(targets))
    _require_code(dict.fromkeys(pair.artefact for pair in pairs), model)
    names = shorten([pair.artefact for pair in pairs])
    stages = [f"{names[pair.artefact]} @ {pair.target}" for pair in pairs]
    files = [os.path.relpath(path, folder) for path in dict.fromkeys(p.artefact for p in pairs)]
    told = os.path.relpath(data, folder) if os.sep in data and ":" not in data else data
    lines = [
        "# What `edgeq gate` judges. Each rule is a line; the guide explains them all.",
        f"artefacts = {_list(files)}",
        '# command = "python export.py"  # what makes them, if they are not committed',
        *([] if model is None else [f"model = {json.dumps(model)}  # the code of checkpoints"]),
        f"data = {json.dumps(told)}",
        *([] if preprocessing is None else [f"preprocessing = {json.dumps(preprocessing)}"]),
        f"stages = {_list(stages)}",
        'baseline = "edgeq-baseline.json"',
        "",
        "[statistics]",
        "alpha = 0.05  # how often nothing but luck may fail a rule",
        "",
        "[rules]",
        _first_rule(judged_by()),
        '# metric = [{ task = "module:meter", max_drop = 2 }]',
        "# that is 2 points of a figure that is a share, and 2 per cent of the value of any other",
        *_rules(pairs, names),
        "",
        "# [[expect]]  # a failure that is known and let pass for a time",
        '# rule = "accuracy.max_drop"',
        '# stage = "*.tflite @ *"',
        '# reason = "issue 12"',
        "# until = 2027-01-31",
    ]
    return "\n".join(lines) + "\n"


def _first_rule(task: str) -> str:
    """How well the stages have to do the task, and what its number counts."""
    if not task:
        return "agreement = { min = 0.99 }  # answers of the first stage; there are no labels"
    what = "points that may be lost"
    if TASKS.load(task).labels == "values":  # of an error there are no points
        what = f"by how many per cent of itself the {task.upper()} may grow"
    return f"accuracy = {{ max_drop = 0.5 }}  # {what}"


def _require_code(artefacts: Iterable[Path], model: str | None) -> None:
    """Return where the gate can open every checkpoint: code runs only where somebody names it."""
    code = {path: user_code_of(path) for path in artefacts}
    for path, own in code.items():
        if own and own != model:
            raise UsageError(
                f"{path} is a network of {own}, which is code of somebody's own",
                hint=f"where you trust it, add --model {own}; else gate the files that edgeq "
                "export makes of it",
            )
    if model is not None and model not in code.values():
        raise UsageError(
            f"none of the artefacts is a checkpoint of {model}",
            hint="name a folder that edgeq train --model made, or leave --model out",
        )


def _rules(pairs: Sequence[Pair], names: dict[Path, str]) -> Iterator[str]:
    """The rules that these stages can be judged by from the start."""
    files = [path for path in names if detect(path) != "checkpoint"]
    if files:
        yield "exactness = true  # every integer in the files is the baseline's"
        yield "size = { max_growth = 0.05 }"
        patterns = [] if len(files) == len(names) else [f"{names[path]} @ *" for path in files]
        stages = f", stages = {_list(patterns)}" if patterns else ""
        yield f'lint = {{ fail_on = ["error"]{stages} }}'
    planned = [
        f"{names[pair.artefact]} @ {pair.target}"
        for pair in pairs
        if pair.artefact in files and _places(pair.target)
    ]
    if planned:
        stages = "" if len(planned) == len(pairs) else f", stages = {_list(planned)}"
        yield f"placement = {{ same = true{stages} }}  # none leaves its integers"


def _places(name: str) -> bool:
    """Whether a target chooses what operators run in, which a reference does not."""
    target = load_target(name)
    return isinstance(target, Planner) and not target.capabilities.reference


def _list(texts: Sequence[str]) -> str:
    if len(texts) < 3:
        return f"[{', '.join(map(json.dumps, texts))}]"
    return "[\n" + "".join(f"    {json.dumps(text)},\n" for text in texts) + "]"
