"""Small data sets as files in each supported format."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(pixels: np.ndarray, format: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **settings)
    return buffer.getvalue()


def pictures(number: int, shape: tuple[int, ...] = (6, 6), seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (number, *shape), dtype=np.uint8))


def parquet_bytes(
    contents: list[bytes | None],
    labels: list[int | None],
    names: tuple[str, ...] = ("cat", "dog"),
    image: str = "image",
    label: str = "label",
    metadata: bool = True,
) -> bytes:
    table = pa.table(
        {
            image: pa.array(
                [{"bytes": content, "path": None} for content in contents],
                pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            ),
            label: pa.array(labels, pa.int64()),
        }
    )
    if metadata:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def small_hub_set(number: int = 40, **settings: object) -> dict[str, bytes]:
    labels = [i % 2 for i in range(number)]
    return {
        "data/train-00000-of-00001.parquet": parquet_bytes(
            [encoded(p) for p in pictures(number)], labels, **settings
        ),
        "data/test-00000-of-00001.parquet": parquet_bytes(
            [encoded(p) for p in pictures(10, seed=1)], labels[:10], **settings
        ),
    }


def write_folder(
    root: Path, counts: dict[str, int], shape: tuple[int, ...] = (6, 6), format: str = "PNG"
) -> Path:
    for seed, (name, number) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i, pixels in enumerate(pictures(number, shape, seed)):
            (root / name / f"{i:03d}.{format.lower()}").write_bytes(encoded(pixels, format))
    return root
