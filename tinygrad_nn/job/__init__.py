"""What the command line does: tables to models, losses from files, figures, the demonstration.

Nothing here is imported by the rest of the package, and matplotlib, click and rich are imported
only where they are needed.
"""
