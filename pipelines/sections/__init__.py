"""The sections of a recipe, a file each; beside them what keys are, and the bounds of all values.

Every key has its sentence, and most have a default, the published setting where the docs do not say otherwise;
docs/RECIPE.md is written from them. Where a field is marked Keys(), the fields of that dataclass, which another room
owns, are keys of the section. A key that comes later is left out of what a record or a dataset says of its settings
while it has its default: what was made before would be of other settings otherwise, and be made again.
"""
