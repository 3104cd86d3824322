"""Schedulers that report their jobs themselves: Slurm and Airflow. Each file goes without a trace; nothing imports them."""
