"""What an audit can be made of."""

from condgen.classifier import GenerativeClassifier, Prediction, check_classifier
from condgen.data.dataset import ImageDataset, check_fits
from condgen.errors import CondgenError, DataError


def check_auditable(classifier: GenerativeClassifier, data: ImageDataset, classes: int = 1) -> None:
    """Refuse what an audit can say nothing about.

    Raises:
        CondgenError: If they are not a classifier and a data set.
        DataError: If the model is not for the data, there are fewer than two images, or the model knows fewer than ``classes``.
    """
    check_classifier(classifier)
    if not isinstance(data, ImageDataset):
        raise CondgenError(f"the data is a {type(data).__name__}; give ImageDataset(images, labels).")
    check_fits(data, classifier.density)
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} image(s); intervals come from their spread: use 2 or more.")
    if classifier.density.num_classes < classes:
        raise DataError(f"the model knows {classifier.density.num_classes} class, and this audit asks about a wrong one.")


def check_numbers(prediction: Prediction) -> None:
    """Refuse answers from which no mean can be taken; a likelihood of 0 (minus infinity) is an answer."""
    said = prediction.class_log_prob
    if senseless := int((said.isnan() | said.isposinf()).any(1).sum()):
        raise CondgenError(
            f"the model's log-likelihood is NaN or +infinity for {senseless} of {len(said)} images; see testing.check_density."
        )
