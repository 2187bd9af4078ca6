"""The known sources: what their samples become, compared with what they must become."""
