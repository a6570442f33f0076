"""What a package is made of, and under which terms: pure documents from what binaries say of themselves."""
