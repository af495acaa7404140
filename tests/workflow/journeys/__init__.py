"""What users do from an empty folder to a result, by the commands as they would type them: one road a module."""
