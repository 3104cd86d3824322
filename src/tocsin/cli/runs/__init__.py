"""run, experiment, folder, ml, exec: runs of a workspace or of a project directory."""
