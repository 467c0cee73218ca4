"""`mtlab data info`: the content of a folder of shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mtlab.cli.data.shared import Location, PipeOption, open_shards, print_index
from mtlab.cli.options import JsonOption
from mtlab.cli.output import format_bytes, print_json

if TYPE_CHECKING:
    from mtlab.data.shards.folder import ShardFolder


def info(location: Location, as_json: JsonOption = False, allow_pipe: PipeOption = False) -> None:
    """Show what a folder of shards holds: splits, counts, answers, where it came from."""
    shards = open_shards(location, allow_pipe=allow_pipe)
    index = shards.index
    if as_json:
        print_json(_as_data(shards))
        return
    print_index(index)
    pieces = [shard.bytes for part in index.parts.values() for shard in part.shards]
    typer.echo(f"\n{len(pieces)} shards, {format_bytes(sum(pieces))} · digest {shards.digest[:16]}")
    if shards.answers:
        shown = ", ".join(shards.answers[:8])
        typer.echo(f"{len(shards.answers):,} answers: {shown}{', …' if len(shards.answers) > 8 else ''}")
    options = ", ".join(f"{key}={value}" for key, value in index.options.items())
    typer.echo(f"converter {index.name}, version {index.version}{f', {options}' if options else ''}")
    typer.echo(f"made from: {', '.join(index.sources)}")


def _as_data(shards: ShardFolder) -> dict[str, Any]:
    index = shards.index
    return {
        "format": 1,
        "name": index.name,
        "kind": index.kind,
        "digest": shards.digest,
        "converter": {"version": index.version, "options": dict(index.options)},
        "sources": index.sources,
        "answers": list(shards.answers),
        "parts": {
            name: {
                "images": part.images,
                "texts": part.texts(),
                "subsets": {subset: part.texts(subset) for subset in part.subsets},
                "bad": part.bad,
                "missing": part.missing,
                "shards": len(part.shards),
                "bytes": sum(shard.bytes for shard in part.shards),
            }
            for name, part in index.parts.items()
        },
    }
