"""What rule files say: models, templates and checks that every kind shares."""
