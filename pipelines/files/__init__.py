"""Files that are there whole or not at all, on disks and in object stores, and who may write. No recipe in it."""
