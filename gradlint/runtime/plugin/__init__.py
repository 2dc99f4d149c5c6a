"""The pytest plugin, once it is asked for; `gradlint.pytest_plugin` is what pytest loads before."""
