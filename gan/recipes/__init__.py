"""Training recipes: what each loss was found to need on each kind of data, by the name it has on a command line."""

from gan.recipes.recipe import Players, Recipe, kind_of, recipe

__all__ = ["Players", "Recipe", "kind_of", "recipe"]
