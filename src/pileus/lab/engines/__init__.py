"""The engines a cloud stands on, each as a class that needs a `Place` to run in and nothing else of the lab."""
