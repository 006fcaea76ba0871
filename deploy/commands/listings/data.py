"""``edgeq data``: the data sets that are known, and which of them can be read here."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson, DataDir
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.data import DatasetInfo, DataSource
    from edgeq.data.checks import Look


@with_preprocessing
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Read this one, a name or a folder, and tell its splits.", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
) -> None:
    """List the data sets, or show one."""
    if name is not None:
        _show(name, data_dir, as_json, preprocess)
        return
    _refuse_preprocessing(preprocess, "a listing")
    from edgeq.data import info
    from edgeq.data.dataset import data_root
    from edgeq.deploy import console

    data_root(data_dir)
    console.next_step("edgeq", "data", "NAME")
    rows = info(data_dir)
    if as_json:
        console.write_json("data", {"data": rows})
        return
    columns = ("name", "readable", "classes", "shape", "about")
    console.write_table("Data sets", columns, [_cells(row) for row in rows], numbers=("classes",))


def _cells(row: "DatasetInfo") -> tuple[str, ...]:
    shape = "x".join(map(str, row.shape))
    return (
        row.name,
        "yes" if row.available else "no",
        str(row.classes),
        shape,
        row.summary if row.available else row.why_not,
    )


def _refuse_preprocessing(asked: AskedPreprocessing, what: str) -> None:
    if asked != NOTHING_ASKED:
        raise UsageError(
            f"{what} has no samples to preprocess",
            hint="name a data set of samples, or leave the flags of preprocessing out",
        )


def _show(name: str, data_dir: DataDir, as_json: bool, asked: AskedPreprocessing) -> None:
    from edgeq.data import GRAPHS
    from edgeq.data.checks import doubts, left_out_told, listed, sizes_told
    from edgeq.deploy import console
    from edgeq.deploy.inputs import load_data

    if name in GRAPHS.names():
        _refuse_preprocessing(asked, f"the graph {name}")
        _show_graph(name, data_dir, as_json)
        return
    source = load_data(name, data_dir, asked)
    splits = {part: len(getattr(source, part)) for part in ("train", "validation", "test")}
    looks = _looks(source)
    odd = [*doubts(source), *(told for part, each in looks for told in left_out_told(part, each))]
    if all(look.error is None for _, look in looks):
        console.next_step("edgeq", "compare", "FILE", "--data", name)
    if as_json:
        facts = {
            "name": source.name,
            "classes": source.classes,
            "shapes": source.shapes,
            "splits": splits,
            "task": source.task,
            "preprocessing": source.preprocessing.to_dict(),
            "broken": {part: list(each.broken) for part, each in looks if each.broken},
            "doubts": odd,
        }
        console.write_json("data", {"data": [facts]})
        _refuse(looks)
        return
    rows = [
        (
            "classes",
            (
                f"{len(source.classes)}: "
                f"{', '.join(source.classes[:10])}{', …' if len(source.classes) > 10 else ''}"
            )
            if source.classes
            else "none",
        ),
        *(
            (f"shape of {name}" if name else "shape", "x".join(map(str, shape)))
            for name, shape in source.shapes.items()
        ),
        *((f"{part} samples", f"{size:,}") for part, size in splits.items()),
        *((f"sizes in {part}", told) for part, each in looks if (told := sizes_told(each))),
        *((f"broken in {part}", listed(each.broken)) for part, each in looks if each.broken),
        ("labels", "none" if source.test.labels is None else f"of the task {source.task}"),
        ("preprocessing", source.preprocessing.described()),
        ("augmentation", source.augmentation),
    ]
    console.write_table(source.name, ("", ""), rows)
    for remark in odd:
        console.note(f"edgeq: {remark}")
    _refuse(looks)


def _looks(source: "DataSource") -> "list[tuple[str, Look]]":
    """What is found of each input of each part, by the part's name and the input's."""
    from edgeq.data.checks import looks_at

    parts = {name: getattr(source, name) for name in ("train", "validation", "test")}
    return [
        (f"{part} {name}".rstrip(), look)
        for part, samples in parts.items()
        if len(samples)
        for name, look in looks_at(samples).items()
    ]


def _refuse(looks: "list[tuple[str, Look]]") -> None:
    for _, look in looks:
        if look.error is not None:
            raise look.error


def _show_graph(name: str, data_dir: DataDir, as_json: bool) -> None:
    from edgeq.data import load_graph
    from edgeq.deploy import console

    graph = load_graph(name, data_dir)
    console.next_step("edgeq", "train", "pde-gcn-64", "--data", name, "-o", "runs/first")
    splits = {part: len(getattr(graph, part)) for part in ("train", "validation", "test")}
    nodes, features = graph.shape
    edges = graph.edges.shape[1]
    if as_json:
        facts = {
            "name": graph.name,
            "classes": graph.classes,
            "shape": graph.shape,
            "edges": edges,
            "splits": splits,
        }
        console.write_json("data", {"data": [facts]})
        return
    rows = [
        ("classes", str(len(graph.classes))),
        ("nodes", f"{nodes:,}"),
        ("features of a node", f"{features:,}"),
        ("edges, each direction", f"{edges:,}"),
        *((f"{part} nodes", f"{size:,}") for part, size in splits.items()),
    ]
    console.write_table(graph.name, ("", ""), rows)
