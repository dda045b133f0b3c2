"""Fig. 5, bottom: samples of each class."""

from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.images import image_grid
from condgen.reports.sections.section import Part, Section

AUDIT = "samples"


def class_samples(model: Audited) -> Figure:
    """Fig. 5, bottom: samples, a row for each class."""
    arrays = model.record(AUDIT).arrays
    names = [model.class_name(label) for label in range(arrays["label"].max() + 1)]
    return image_grid(arrays["images"], names)


SECTION = Section(
    AUDIT,
    (
        Part(
            "Fig. 5: samples of each class",
            figure=class_samples,
            words=lambda model: f"Fig. 5: {model.name}",
        ),
    ),
    order=5,
)
