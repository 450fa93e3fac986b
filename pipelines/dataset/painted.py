"""How the images of a dataset were painted, in words, by what dataset.json says."""

from typing import Any


def painted_how(recipe: dict[str, Any]) -> str:
    """As "dpmsolver++, 20 steps"; `recipe` is a dataset's."""
    painter = recipe.get("painter") or {}
    match painter.get("kind"):
        case "consistency":
            asked = ", ".join(map(str, painter["ts"]))
            return f"a consistency model at noise levels {asked} of {painter['levels']}"
        case "latent" if painter.get("prompts"):
            prompts, guidance = len(painter["prompts"]), painter["guidance"]
            how = f"{recipe['solver']}, {recipe['steps']} steps"
            return f"latent diffusion from {prompts} prompts, guidance {guidance:g}, {how}"
        case "latent":
            return f"latent diffusion without words, {recipe['solver']}, {recipe['steps']} steps"
        case "edm":
            return f"heun, {recipe['steps']} steps"
    spaced = ", even in log SNR" if recipe.get("spacing") == "log_snr" else ""
    return f"{recipe['solver']}, {recipe['steps']} steps{spaced}"
