"""What each step of a recipe is told. No TensorFlow here: a recipe is checked before it is imported."""
