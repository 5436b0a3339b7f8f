"""Coverage-guided fuzzing, by atheris, of every parser that reads what others have written: `python -m fuzz`."""
