"""Fig. 5, bottom: samples of each class."""

import numpy as np
from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.images import image_grid
from condgen.reports.sections.section import Part, Section

AUDIT = "samples"


def class_samples(model: Audited) -> Figure:
    """Fig. 5, bottom: samples, a row for each class; white where there is none."""
    arrays = model.record(AUDIT).arrays
    names = [model.class_name(label) for label in range(arrays["label"].max() + 1)]
    return image_grid(np.nan_to_num(arrays["images"], nan=1.0), names)


def caption(model: Audited) -> str:
    """The caption; it names the classes whose images overflow."""
    missing = [model.class_name(each) for each in model.record(AUDIT).summary.get("not_drawn", [])]
    words = f". Not drawn, because images overflow: {', '.join(missing)}" if missing else ""
    return f"Fig. 5: {model.name}{words}"


SECTION = Section(
    AUDIT,
    (
        Part(
            "Fig. 5: samples of each class",
            figure=class_samples,
            words=caption,
        ),
    ),
    order=5,
)
