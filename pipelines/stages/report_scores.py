"""The scores of the page: what was evaluated of the networks, once there are any."""

from label import Scheme
from pipelines.folders import networks_folder, scores_folder
from pipelines.recipe import Recipe
from pipelines.stages.scores import over_runs, source_names, stored_scores


def is_scored(recipe: Recipe) -> bool:
    """Whether there is something to score, on images that the recipe names."""
    return recipe.paths.held_out is not None and networks_folder(recipe).is_dir()


def mean_ious(recipe: Recipe, kept: int) -> list[tuple[str, str]]:
    """mIoU of each source; none where nothing was scored."""
    if not is_scored(recipe):
        return []
    names, scores = source_names(recipe, kept), stored_scores(recipe)
    return [(names[source], over_runs([run["mean_iou"] for run in runs])) for source, runs in scores.items()]


def ious(recipe: Recipe, scheme: Scheme) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """What is scored; and each class with its IoU by each of them."""
    if not is_scored(recipe):
        return [], []
    scores = stored_scores(recipe)
    rows = [[over_runs([run["iou"][i] for run in runs]) for runs in scores.values()] for i in range(len(scheme))]
    return list(scores), list(zip(scheme.names, rows, strict=True))


def figures(recipe: Recipe) -> list[tuple[str, list[bytes]]]:
    """What evaluate drew of each source, as PNG: best and worst images, and the confusion of classes."""
    if not is_scored(recipe):
        return []
    titles = {"images": "Best and worst of the held-out images", "confusion": "What is taken for what"}
    found = []
    for name, title in titles.items():
        paths = [scores_folder(recipe) / f"{name}-{source}.png" for source in stored_scores(recipe)]
        found.append((title, [path.read_bytes() for path in paths if path.is_file()]))
    return found
