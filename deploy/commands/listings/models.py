"""``edgeq models``: the networks that can be trained by name."""

from edgeq.deploy.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the networks of the zoo.

    Each with the published configuration that its size is compared with.
    """
    from edgeq.deploy import console
    from edgeq.models.zoo import describe, names, published

    entries, specs = [describe(name) for name in names()], published()
    if as_json:
        console.write_json("models", {"models": entries, "published": specs})
        return
    console.write_table(
        "Networks", ("name", "what it is"), [(entry.name, entry.summary) for entry in entries]
    )
    console.write_table(
        "Published configurations",
        ("name", "classes", "parameters", "published, M", "MACs", "source"),
        [
            (
                spec.name,
                str(spec.classes),
                f"{spec.params:,}",
                spec.published_params,
                f"{spec.macs:,}",
                spec.source,
            )
            for spec in specs
        ],
        numbers=("classes", "parameters", "published, M", "MACs"),
    )
