"""The arrays that a record keeps, with a gallery of each attack's nearest successes."""

import numpy as np

from condgen.audits.adversarial.rows import IMAGES
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays

GALLERY = 3  # adversarial images of each cell that the record keeps for the report


def for_record(scene: Scene, arrays: Arrays, keep_all: bool) -> Arrays:
    """The arrays and a gallery of each attack's nearest successes; all images if ``keep_all``."""
    cells = dict.fromkeys(
        zip(arrays["attack"].tolist(), arrays["detector_aware"].tolist(), strict=True)
    )
    shown = [np.empty(0, np.int64)]
    for name, aware in cells:
        hit = np.flatnonzero(
            (arrays["attack"] == name) & (arrays["detector_aware"] == aware) & arrays["reached"]
        )
        shown.append(hit[np.argsort(arrays["l2"][hit])][:GALLERY])
    rows = np.concatenate(shown)
    place = [int(np.flatnonzero(scene.index == i)[0]) for i in arrays["index"][rows]]
    kept = (
        arrays if keep_all else {key: values for key, values in arrays.items() if key not in IMAGES}
    )
    gallery = {
        "row": rows,
        "original": scene.x[place].numpy(),
        "perturbed": arrays["perturbed"][rows],
    }
    return {**kept, **{f"gallery_{key}": values for key, values in gallery.items()}}
