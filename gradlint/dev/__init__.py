"""The developer's bench: ``python -m gradlint.dev`` scaffolds rules, prints the analysis, writes generated pages."""
