"""The explorer's look: theme, components, panels of figures, charts, and how errors are shown."""
