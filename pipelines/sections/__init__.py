"""The sections of a recipe, a file each. Every key has its default, the published setting, and its sentence.

docs/RECIPE.md is written from them. Where a field is marked Keys(), the fields of that dataclass, which another room
owns, are keys of the section.
"""
