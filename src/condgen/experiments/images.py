"""Whether the images under a name are still those that a run was trained on."""

from condgen.config import Images
from condgen.data.dataset import Splits
from condgen.errors import RunError
from condgen.runs import Run


def images_of(splits: Splits) -> Images:
    """What a run notes about its images."""
    data = splits.train
    hashes = {part: images.sha256() for part, images in splits.items()}
    return Images(
        shape=list(data.event_shape),
        classes=data.num_classes,
        levels=data.pixel_levels,
        class_names=list(data.class_names),
        sha256=hashes,
    )


def check_images_of(run: Run, splits: Splits) -> None:
    """Refuse images that only have the name of those that ``run`` was trained on; some of them may be test images now.

    Raises:
        RunError: Naming both.
    """
    before, now = run.config.images, images_of(splits)
    if before is None:
        return
    now = now.model_copy(update={"class_names": before.class_names, "sha256": now.sha256 if before.sha256 else {}})
    if before == now:
        return
    was, found = (f"{'x'.join(map(str, it.shape))}, {it.classes} classes, {it.levels} levels" for it in (before, now))
    differs = f"images of {was}, but {splits.name} now has {found}"
    if was == found:
        parts = [part for part, sha256 in now.sha256.items() if before.sha256.get(part) != sha256]
        differs = f"other images than {splits.name} now has: those for {' and '.join(parts)} differ"
    raise RunError(f"{run.path} was trained on {differs}; put the former back (--data-dir), or train a new run.")
