"""From the description to each output; none of them looks at the graph again."""
